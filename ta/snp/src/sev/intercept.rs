// SPDX-License-Identifier: MIT
//! Exceptions of the hypervisor's making in user mode (`#VC`; AMD64 Architecture Programmer's Manual
//! volume 2, 15.35.5 and appendix C).
//!
//! The processor raises one where it would have left the guest. The host chooses when that is, and could
//! raise one where nothing was to be left for; so the reason that it gives counts only as far as the
//! instruction itself, in the guest's own memory, says the same.

/// Why there was an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `CPUID` (`VMEXIT_CPUID`).
    Cpuid,
    /// A page that is not validated was touched: the host has exchanged it.
    NotValidated,
    /// Something else, which no program of ours does without a fault.
    Other,
}

impl Reason {
    /// From the exception's error code, which is an exit code.
    #[must_use]
    pub const fn of(error: u64) -> Self {
        match error {
            0x72 => Self::Cpuid,
            0x404 => Self::NotValidated,
            _ => Self::Other,
        }
    }
}

/// Most bytes of an instruction.
const INSTRUCTION_MAX: usize = 15;

/// The length of the `CPUID` instruction that begins where `byte` reads from, prefixes included; none
/// where there is another instruction, or none that can be read.
pub fn cpuid_length(byte: impl Fn(usize) -> Option<u8>) -> Option<usize> {
    let mut at = 0;
    let mut previous = 0;
    while at < INSTRUCTION_MAX {
        let found = byte(at)?;
        at = at.saturating_add(1);
        match (previous, found) {
            (0x0f, 0xa2) => return Some(at),
            (0x0f, _) => return None,
            // The opcode's first byte; segment, operand size, address size, REP; REX at the end.
            (_, 0x0f) => {}
            (0x40..=0x4f, _) => return None,
            (_, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf2 | 0xf3 | 0x40..=0x4f) => {}
            _ => return None,
        }
        previous = found;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(bytes: &[u8]) -> Option<usize> {
        cpuid_length(|at| bytes.get(at).copied())
    }

    #[test]
    fn the_instruction_is_known_with_its_prefixes() {
        assert_eq!(length(&[0x0f, 0xa2]), Some(2));
        assert_eq!(length(&[0x0f, 0xa2, 0x0f]), Some(2));
        assert_eq!(length(&[0x66, 0xf2, 0x0f, 0xa2]), Some(4));
        assert_eq!(length(&[0x48, 0x0f, 0xa2]), Some(3));
        assert_eq!(length(&[&[0x2e; 13][..], &[0x0f, 0xa2]].concat()), Some(15));
    }

    #[test]
    fn another_instruction_is_none() {
        let too_long = [&[0x2e; 14][..], &[0x0f, 0xa2]].concat();
        for bytes in [
            &[][..],
            &[0x0f],
            &[0x90],
            &[0xa2],
            &[0x0f, 0x05],
            &[0x0f, 0x0f, 0xa2],
            &[0x48, 0x66, 0x0f, 0xa2],
            &[0xf0, 0x0f, 0xa2],
            &[0xcd, 0x0f, 0xa2],
            &too_long,
        ] {
            assert_eq!(length(bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn reasons_are_exit_codes() {
        assert_eq!(Reason::of(0x72), Reason::Cpuid);
        assert_eq!(Reason::of(0x404), Reason::NotValidated);
        for other in [0, 0x7b, 0x7c, 0x400, 0x8000_0003, u64::MAX] {
            assert_eq!(Reason::of(other), Reason::Other);
        }
    }
}
