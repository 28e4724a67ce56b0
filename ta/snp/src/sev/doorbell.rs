// SPDX-License-Identifier: MIT
//! The doorbell page (AMD 56421, chapter 5; layout as in Linux's and SVSM's public sources).
//!
//! Under Restricted Injection a host can interrupt its guest by `#HV` only, which says nothing. What
//! it is about stands in the first four bytes of a shared page: the vector of an interrupt, flags, and
//! whether the interrupt ends by itself.

use core::num::NonZeroU8;

const VECTOR: u32 = 0xff;
const NON_MASKABLE: u32 = 1 << 8;
const MACHINE_CHECK: u32 = 1 << 9;
/// Bits of the first four bytes with which something is pending.
pub const PENDING: u32 = VECTOR | NON_MASKABLE | MACHINE_CHECK;
/// The host rings no more until this is cleared.
const NO_FURTHER_SIGNAL: u32 = 1 << 15;
const NO_END_REQUIRED: u32 = 1 << 16;

/// What was pending, out of a word that was exchanged for zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// The vector of an interrupt.
    pub vector: Option<NonZeroU8>,
    /// The host reports broken hardware.
    pub machine_check: bool,
    /// The interrupt need not be ended.
    pub ended: bool,
}

impl Events {
    /// Out of the page's first four bytes. Non-maskable interrupts mean nothing here.
    #[must_use]
    pub const fn of(word: u32) -> Self {
        let [vector, ..] = word.to_le_bytes();
        Self {
            vector: NonZeroU8::new(vector),
            machine_check: word & MACHINE_CHECK != 0,
            ended: word & NO_END_REQUIRED != 0,
        }
    }
}

/// The page's first four bytes as a host leaves them that has an interrupt for its guest.
#[must_use]
#[expect(clippy::as_conversions, reason = "`From` is not const")]
pub const fn interrupt(vector: u8) -> u32 {
    vector as u32 | NO_FURTHER_SIGNAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        let nothing = Events { vector: None, machine_check: false, ended: false };
        assert_eq!(Events::of(0), nothing);
        assert_eq!(Events::of(NO_FURTHER_SIGNAL | NON_MASKABLE | 0xff00_0000), nothing);
        let timer = Events { vector: NonZeroU8::new(0x20), ..nothing };
        assert_eq!(Events::of(interrupt(0x20)), timer);
        assert_eq!(Events::of(0x0001_0020), Events { ended: true, ..timer });
        assert_eq!(Events::of(0x0000_0220), Events { machine_check: true, ..timer });
    }

    #[test]
    fn what_only_stops_the_host_from_ringing_is_not_pending() {
        for (word, pending) in [(0, false), (NO_FURTHER_SIGNAL, false), (NON_MASKABLE, true)] {
            assert_eq!(word & PENDING != 0, pending, "{word:#x}");
        }
        assert_ne!(interrupt(1) & PENDING, 0);
    }
}
