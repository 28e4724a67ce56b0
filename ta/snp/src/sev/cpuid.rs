// SPDX-License-Identifier: MIT
//! The CPUID page (AMD 56860, section 8.17.2.6, table of the CPUID page; layout as in Linux,
//! `struct snp_cpuid_table`). The host proposes it, the security processor refuses values that the
//! processor does not have.

use super::{Page, long, word};

const HEADER_LEN: usize = 16;
const ENTRY_LEN: usize = 48;
/// Most entries of the page.
pub const ENTRIES_MAX: u32 = 64;

/// Leaf of the extended state: its first two subleaves depend on what is switched on.
const EXTENDED_STATE: u32 = 0xd;
/// Leaf of memory encryption.
const ENCRYPTION: u32 = 0x8000_001f;
/// Leaves whose values depend on ECX (Intel's and AMD's manuals; as Linux has them).
const INDEXED: [u32; 10] =
    [0x4, 0x7, 0xb, EXTENDED_STATE, 0xf, 0x10, 0x12, 0x14, 0x8000_001d, 0x8000_0026];

/// The four registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// A page, copied.
#[derive(Clone, Debug)]
pub struct CpuidPage {
    page: Page,
    count: u32,
}

/// The page has more entries than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCount;

impl CpuidPage {
    /// Takes a copy of the page.
    ///
    /// # Errors
    ///
    /// [`BadCount`].
    pub fn parse(page: Page) -> Result<Self, BadCount> {
        let count = word(&page, 0);
        if count > ENTRIES_MAX { Err(BadCount) } else { Ok(Self { page, count }) }
    }

    /// The values of a leaf; zeros where the page has none, as for leaves that do not exist.
    #[must_use]
    pub fn leaf(&self, leaf: u32, subleaf: u32) -> Values {
        let entries = self.page.get(HEADER_LEN..).unwrap_or_default().chunks_exact(ENTRY_LEN);
        let count = usize::try_from(self.count).unwrap_or(0);
        let found = entries.take(count).find(|entry| {
            let sub = !INDEXED.contains(&leaf) || word(entry, 4) == subleaf;
            let plain = leaf != EXTENDED_STATE
                || subleaf > 1
                || (long(entry, 8) <= 1 && long(entry, 16) == 0);
            word(entry, 0) == leaf && sub && plain
        });
        found.map_or_else(Values::default, |entry| Values {
            eax: word(entry, 24),
            ebx: word(entry, 28),
            ecx: word(entry, 32),
            edx: word(entry, 36),
        })
    }

    /// The bit that makes a page private, where the page says that there is one.
    #[must_use]
    pub fn private_bit(&self) -> Option<u32> {
        let bit = self.leaf(ENCRYPTION, 0).ebx & 0x3f;
        (bit != 0).then_some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::put;
    use super::*;

    /// Entries of leaf, subleaf, XCR0, EAX, EBX.
    fn page(entries: &[(u32, u32, u64, u32, u32)]) -> Page {
        let mut page = [0; 4096];
        put(&mut page, 0, &u32::try_from(entries.len()).unwrap().to_le_bytes());
        for (index, (leaf, subleaf, xcr0, eax, ebx)) in entries.iter().enumerate() {
            let at = 16 + 48 * index;
            put(&mut page, at, &leaf.to_le_bytes());
            put(&mut page, at + 4, &subleaf.to_le_bytes());
            put(&mut page, at + 8, &xcr0.to_le_bytes());
            put(&mut page, at + 24, &eax.to_le_bytes());
            put(&mut page, at + 28, &ebx.to_le_bytes());
        }
        page
    }

    #[test]
    fn leaves_are_found_by_number_and_index() {
        let page = page(&[
            (1, 7, 0, 10, 0),
            (7, 1, 0, 20, 0),
            (7, 0, 0, 30, 0),
            (0xd, 0, 7, 40, 0),
            (0xd, 0, 1, 50, 0),
        ]);
        let page = CpuidPage::parse(page).unwrap();
        assert_eq!(page.leaf(1, 0).eax, 10, "the index does not count there");
        assert_eq!(page.leaf(7, 0).eax, 30);
        assert_eq!(page.leaf(7, 2), Values::default());
        assert_eq!(page.leaf(0xd, 0).eax, 50, "for what is switched on after a reset");
        assert_eq!(page.leaf(0x4000_0000, 0), Values::default());
    }

    #[test]
    fn the_private_bit_is_in_its_leaf() {
        let with = CpuidPage::parse(page(&[(0x8000_001f, 0, 0, 0, 0x173)])).unwrap();
        assert_eq!(with.private_bit(), Some(51));
        let without = CpuidPage::parse(page(&[(1, 0, 0, 0, 51)])).unwrap();
        assert_eq!(without.private_bit(), None);
    }

    #[test]
    fn no_more_entries_than_fit() {
        let mut bytes = page(&[]);
        bytes[0] = 64;
        assert!(CpuidPage::parse(bytes).is_ok());
        bytes[0] = 65;
        assert_eq!(CpuidPage::parse(bytes).map(|_| ()), Err(BadCount));
    }
}
