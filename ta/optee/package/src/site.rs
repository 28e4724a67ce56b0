// SPDX-License-Identifier: MIT
//! The instructions that the packer has replaced, and what stands for them.

/// Bytes of a stub: four instructions.
pub const STUB_LENGTH: usize = 16;
/// Bytes of an entry in the table of sites.
pub const SITE_LENGTH: usize = 8;

/// What a stub does in place of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A system call.
    Call,
    /// A spin hint: others may run.
    Pause,
    /// A breakpoint.
    Breakpoint,
    /// Reads the counter of nanoseconds into `x0` to `x30`; 31 throws it away.
    Counter(u8),
    /// Loads a constant, without the library OS.
    Constant,
}

/// One replaced instruction. The table is sorted by place; the stub of entry `n` is the `n`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Where the instruction was, as a distance from the load address.
    pub place: u32,
    /// What its stub does.
    pub action: Action,
}

impl Site {
    /// Place, then action and register, little-endian.
    pub const fn encode(self) -> [u8; SITE_LENGTH] {
        let [a, b, c, d] = self.place.to_le_bytes();
        let (action, register) = match self.action {
            Action::Call => (0, 0),
            Action::Pause => (1, 0),
            Action::Breakpoint => (2, 0),
            Action::Counter(register) => (3, register),
            Action::Constant => (4, 0),
        };
        [a, b, c, d, action, register, 0, 0]
    }

    /// Reads an entry; none for an action that does not exist.
    pub const fn decode(bytes: [u8; SITE_LENGTH]) -> Option<Self> {
        let [a, b, c, d, action, register, 0, 0] = bytes else { return None };
        let action = match (action, register) {
            (0, 0) => Action::Call,
            (1, 0) => Action::Pause,
            (2, 0) => Action::Breakpoint,
            (3, 0..=31) => Action::Counter(register),
            (4, 0) => Action::Constant,
            _ => return None,
        };
        Some(Self { place: u32::from_le_bytes([a, b, c, d]), action })
    }
}

/// The number of the entry for a place.
pub fn find(table: &[[u8; SITE_LENGTH]], place: u32) -> Option<usize> {
    let place_of = |entry: &[u8; SITE_LENGTH]| {
        let [a, b, c, d, ..] = *entry;
        u32::from_le_bytes([a, b, c, d])
    };
    table.binary_search_by_key(&place, place_of).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_encoding_and_nonsense_is_refused() {
        for action in [
            Action::Call,
            Action::Pause,
            Action::Breakpoint,
            Action::Counter(0),
            Action::Counter(31),
            Action::Constant,
        ] {
            let site = Site { place: 0x1234, action };
            assert_eq!(Site::decode(site.encode()), Some(site));
        }
        for bad in [[0, 0, 0, 0, 5, 0, 0, 0], [0, 0, 0, 0, 3, 32, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]] {
            assert_eq!(Site::decode(bad), None);
        }
    }

    #[test]
    fn places_are_found_by_halving() {
        let places = [4_u32, 8, 100, 1 << 20];
        let table = places.map(|place| Site { place, action: Action::Call }.encode());
        for (number, place) in places.into_iter().enumerate() {
            assert_eq!(find(&table, place), Some(number));
            assert_eq!(find(&table, place + 1), None);
        }
        assert_eq!(find(&[], 4), None);
    }
}
