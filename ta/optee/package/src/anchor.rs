// SPDX-License-Identifier: MIT
//! The one place where the library OS and its package meet.

/// Symbol of the library OS that the packer fills in with an [`Anchor`].
pub const ANCHOR_SYMBOL: &str = "strongroom_anchor";
/// Bytes of it.
pub const ANCHOR_LENGTH: usize = 48;
const MAGIC: u64 = u64::from_le_bytes(*b"SRANCHOR");

/// The entries of the library OS that stubs branch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// A system call.
    Call,
    /// A spin hint.
    Pause,
    /// A breakpoint.
    Breakpoint,
    /// A read of the counter.
    Counter,
}

/// The gates with their symbols.
pub const GATES: [(Gate, &str); 4] = [
    (Gate::Call, "strongroom_gate_call"),
    (Gate::Pause, "strongroom_gate_pause"),
    (Gate::Breakpoint, "strongroom_gate_breakpoint"),
    (Gate::Counter, "strongroom_gate_counter"),
];

/// Where things are, as distances from the TA's load address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// Of the anchor itself.
    pub own: u64,
    /// The information block, and its length in bytes.
    pub information: (u32, u32),
    /// The first stub.
    pub stubs: u64,
    /// The table of sites.
    pub sites: u64,
    /// Number of sites.
    pub count: u64,
}

impl Anchor {
    /// The words that the library OS reads.
    pub const fn encode(self) -> [u64; ANCHOR_LENGTH / 8] {
        let (at, length) = self.information;
        let [a, b, c, d] = at.to_le_bytes();
        let [e, f, g, h] = length.to_le_bytes();
        let information = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        [MAGIC, self.own, information, self.stubs, self.sites, self.count]
    }

    /// Reads them back; none while no packer has filled them in.
    pub const fn decode(words: [u64; ANCHOR_LENGTH / 8]) -> Option<Self> {
        let [MAGIC, own, information, stubs, sites, count] = words else { return None };
        if own == 0 {
            return None;
        }
        let [a, b, c, d, e, f, g, h] = information.to_le_bytes();
        let information = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        Some(Self { own, information, stubs, sites, count })
    }

    /// What the library OS is built with.
    pub const EMPTY: [u64; ANCHOR_LENGTH / 8] = [MAGIC, 0, 0, 0, 0, 0];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_survives_encoding_and_an_empty_one_is_none() {
        let anchor = Anchor { own: 0x40, information: (1, 2), stubs: 3, sites: 4, count: u64::MAX };
        assert_eq!(Anchor::decode(anchor.encode()), Some(anchor));
        assert_eq!(Anchor::decode(Anchor::EMPTY), None);
        assert_eq!(Anchor::decode([0; 6]), None);
    }
}
