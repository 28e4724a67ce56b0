// SPDX-License-Identifier: MIT
//! Which pages are the guest's, validated, and which are shared with the host.
//!
//! A host may give a guest another page of memory than the one it had; the processor then clears
//! its validated mark, and the next access raises an exception that nobody survives. That holds
//! only as long as the guest validates no page twice: it would accept the page that took the
//! place of its own. So each page of 4 KiB is in the books, and one that is in them is not
//! validated again (AMD64 Architecture Programmer's Manual, volume 2, 15.36.6).

use super::msr_protocol::State;
use super::state_change::{Block, ENTRIES_MAX, Size};
use crate::ranges::{Ranges, Refused};
use core::ops::Range;

/// What `PVALIDATE` said (AMD64 Architecture Programmer's Manual, volume 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validated {
    /// The mark was changed.
    Changed,
    /// The page had the mark already, or had it not: the carry flag.
    Unchanged,
    /// The page is kept in another size (`FAIL_SIZEMISMATCH`).
    SizeMismatch,
    /// Another status.
    Failed(u32),
}

/// What changes pages.
pub trait Changer {
    /// Has the host change the state of these blocks, at most [`ENTRIES_MAX`]; false where it did
    /// not.
    fn change(&mut self, blocks: &[Block], to: State) -> bool;

    /// `PVALIDATE`.
    fn validate(&mut self, block: Block, validated: bool) -> Validated;

    /// Overwrites a page of 4 KiB that is private with zeros.
    fn zero(&mut self, address: u64);
}

/// Why a change did not take place. The state of the pages is not known then: a guest that sees
/// one of these stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPages {
    /// The range is not whole pages, or is empty.
    Range,
    /// Some of it is validated, or shared, already.
    Twice,
    /// The books are full.
    Full,
    /// The host refused.
    Host,
    /// `PVALIDATE` found that the mark was set, or missing, against the books.
    Mark,
    /// `PVALIDATE` failed otherwise.
    Failed(u32),
}

impl From<Refused> for BadPages {
    fn from(_: Refused) -> Self {
        Self::Full
    }
}

/// The books. Pages that are in none of them are the host's still.
#[derive(Debug, Default)]
pub struct Pages {
    private: Ranges,
    shared: Ranges,
}

const SMALL: u64 = Size::Small.bytes();
const LARGE: u64 = Size::Large.bytes();

impl Pages {
    /// No page is the guest's.
    #[must_use]
    pub const fn new() -> Self {
        Self { private: Ranges::new(), shared: Ranges::new() }
    }

    /// Notes pages that were validated at launch.
    ///
    /// # Errors
    ///
    /// [`BadPages`] where they are in the books already.
    pub fn launched(&mut self, range: Range<u64>) -> Result<(), BadPages> {
        self.check(&range)?;
        Ok(self.private.merge(range)?)
    }

    /// Makes pages private and validates them. What they hold is the host's choice still.
    ///
    /// # Errors
    ///
    /// [`BadPages`].
    pub fn accept(
        &mut self,
        range: Range<u64>,
        changer: &mut impl Changer,
    ) -> Result<(), BadPages> {
        self.check(&range)?;
        // In the books before it happens: what fails half-way is not tried again.
        self.private.merge(range.clone())?;
        in_batches(range, |blocks| {
            if !changer.change(blocks, State::Private) {
                return Err(BadPages::Host);
            }
            blocks.iter().try_for_each(|block| validate(*block, true, changer))
        })
    }

    /// Gives pages that were not the guest's yet to both sides. What they hold is the host's
    /// choice, then and ever after.
    ///
    /// # Errors
    ///
    /// [`BadPages`].
    pub fn share_fresh(
        &mut self,
        range: Range<u64>,
        changer: &mut impl Changer,
    ) -> Result<(), BadPages> {
        self.check(&range)?;
        self.shared.merge(range.clone())?;
        in_batches(range, |blocks| change_to_shared(blocks, changer))
    }

    /// Gives private pages to both sides; they are overwritten with zeros first.
    ///
    /// # Errors
    ///
    /// [`BadPages`], also where not all of them are private.
    pub fn share_own(
        &mut self,
        range: Range<u64>,
        changer: &mut impl Changer,
    ) -> Result<(), BadPages> {
        whole(&range)?;
        if !self.private.iter().any(|own| own.start <= range.start && range.end <= own.end) {
            return Err(BadPages::Twice);
        }
        self.private.remove(&range)?;
        self.shared.merge(range.clone())?;
        in_batches(range, |blocks| {
            for block in blocks {
                for address in small_pages(*block) {
                    changer.zero(address);
                }
                validate(*block, false, changer)?;
            }
            change_to_shared(blocks, changer)
        })
    }

    /// Whether every page of the range is shared.
    #[must_use]
    pub fn is_shared(&self, range: &Range<u64>) -> bool {
        self.shared.iter().any(|own| own.start <= range.start && range.end <= own.end)
    }

    /// The first run of pages in the range that is in none of the books; empty at the range's end
    /// without any.
    #[must_use]
    pub fn next_unknown(&self, range: Range<u64>) -> Range<u64> {
        let mut start = range.start;
        let known = || self.private.iter().chain(self.shared.iter());
        while let Some(covering) = known().find(|own| own.contains(&start)) {
            start = covering.end;
        }
        let next = known().map(|own| own.start).filter(|next| *next >= start).min();
        let end = next.map_or(range.end, |next| next.min(range.end));
        start.min(range.end)..end
    }

    fn check(&self, range: &Range<u64>) -> Result<(), BadPages> {
        whole(range)?;
        if self.private.overlaps(range) || self.shared.overlaps(range) {
            return Err(BadPages::Twice);
        }
        Ok(())
    }
}

fn whole(range: &Range<u64>) -> Result<(), BadPages> {
    let whole = range.start.is_multiple_of(SMALL) && range.end.is_multiple_of(SMALL);
    if whole && range.start < range.end { Ok(()) } else { Err(BadPages::Range) }
}

fn change_to_shared(blocks: &[Block], changer: &mut impl Changer) -> Result<(), BadPages> {
    if changer.change(blocks, State::Shared) { Ok(()) } else { Err(BadPages::Host) }
}

fn validate(block: Block, validated: bool, changer: &mut impl Changer) -> Result<(), BadPages> {
    match (changer.validate(block, validated), block.size) {
        (Validated::Changed, _) => Ok(()),
        (Validated::Unchanged, _) => Err(BadPages::Mark),
        (Validated::SizeMismatch, Size::Large) => small_pages(block).try_for_each(|address| {
            validate(Block { address, size: Size::Small }, validated, changer)
        }),
        (Validated::SizeMismatch, Size::Small) => Err(BadPages::Failed(6)),
        (Validated::Failed(status), _) => Err(BadPages::Failed(status)),
    }
}

fn small_pages(block: Block) -> impl Iterator<Item = u64> {
    let count = block.size.bytes() / SMALL;
    (0..count).map(move |page| block.address.saturating_add(page.saturating_mul(SMALL)))
}

/// Cuts a range into the largest blocks, and those into lists.
fn in_batches(
    range: Range<u64>,
    mut with: impl FnMut(&[Block]) -> Result<(), BadPages>,
) -> Result<(), BadPages> {
    let mut blocks = [Block { address: 0, size: Size::Small }; ENTRIES_MAX];
    let mut next = range.start;
    while next < range.end {
        let mut count = 0_usize;
        for slot in &mut blocks {
            if next >= range.end {
                break;
            }
            let large = next.is_multiple_of(LARGE) && next.saturating_add(LARGE) <= range.end;
            let size = if large { Size::Large } else { Size::Small };
            *slot = Block { address: next, size };
            next = next.saturating_add(size.bytes());
            count = count.saturating_add(1);
        }
        with(blocks.get(..count).unwrap_or_default())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    /// An RMP as the processor keeps it, and a host.
    #[derive(Default)]
    struct Machine {
        /// Assigned to the guest, and validated.
        table: BTreeMap<u64, (bool, bool)>,
        small_only: bool,
        refuses: bool,
        /// A host that gives another page as soon as the guest has its own.
        remaps: Option<u64>,
        zeroed: Vec<u64>,
        lists: Vec<usize>,
    }

    impl Changer for Machine {
        fn change(&mut self, blocks: &[Block], to: State) -> bool {
            self.lists.push(blocks.len());
            for address in blocks.iter().copied().flat_map(small_pages) {
                self.table.insert(address, (to == State::Private, false));
            }
            !self.refuses
        }

        fn validate(&mut self, block: Block, validated: bool) -> Validated {
            if self.small_only && block.size == Size::Large {
                return Validated::SizeMismatch;
            }
            let mut changed = false;
            for address in small_pages(block) {
                let entry = self.table.entry(address).or_default();
                assert!(entry.0, "{address:#x} is not assigned");
                changed |= entry.1 != validated;
                entry.1 = validated;
                if self.remaps == Some(address) {
                    *entry = (true, false);
                }
            }
            if changed { Validated::Changed } else { Validated::Unchanged }
        }

        fn zero(&mut self, address: u64) {
            assert_eq!(self.table.get(&address), Some(&(true, true)), "{address:#x}");
            self.zeroed.push(address);
        }
    }

    #[test]
    fn pages_are_accepted_once() {
        let (mut pages, mut machine) = (Pages::new(), Machine::default());
        pages.launched(0x10_0000..0x20_0000).unwrap();
        pages.accept(0x1f_f000..0x21_0000, &mut machine).unwrap_err();
        pages.accept(0x20_0000..0x60_3000, &mut machine).unwrap();
        assert_eq!(machine.lists, [5], "two large blocks and three small ones");
        assert!(machine.table.values().all(|entry| *entry == (true, true)));
        let twice = pages.accept(0x40_0000..0x40_1000, &mut machine);
        assert_eq!(twice, Err(BadPages::Twice));
        assert_eq!(pages.launched(0x50_0000..0x50_1000), Err(BadPages::Twice));
        for bad in [0x60_3001..0x60_4000, 0x60_3000..0x60_4001, 0x70_0000..0x70_0000] {
            assert_eq!(pages.accept(bad, &mut machine), Err(BadPages::Range));
        }
    }

    #[test]
    fn a_page_that_was_exchanged_is_not_taken_again() {
        let (mut pages, mut machine) = (Pages::new(), Machine::default());
        machine.remaps = Some(0x30_1000);
        pages.accept(0x30_0000..0x30_4000, &mut machine).unwrap();
        assert_eq!(machine.table[&0x30_1000], (true, false), "an access would raise an exception");
        let again = pages.accept(0x30_1000..0x30_2000, &mut machine);
        assert_eq!(again, Err(BadPages::Twice));
        assert_eq!(machine.table[&0x30_1000], (true, false), "and still would");
    }

    #[test]
    fn a_mark_against_the_books_is_noticed() {
        /// A host that has the first page validated by other means, by a second alias of it.
        struct Marked;
        impl Changer for Marked {
            fn change(&mut self, _: &[Block], _: State) -> bool {
                true
            }
            fn validate(&mut self, _: Block, _: bool) -> Validated {
                Validated::Unchanged
            }
            fn zero(&mut self, _: u64) {}
        }
        let mut pages = Pages::new();
        assert_eq!(pages.accept(0x1000..0x2000, &mut Marked), Err(BadPages::Mark));
        assert_eq!(pages.accept(0x1000..0x2000, &mut Marked), Err(BadPages::Twice));
    }

    #[test]
    fn a_host_that_refuses_is_noticed() {
        let (mut pages, mut machine) =
            (Pages::new(), Machine { refuses: true, ..Machine::default() });
        assert_eq!(pages.accept(0x1000..0x2000, &mut machine), Err(BadPages::Host));
        assert_eq!(pages.share_fresh(0x3000..0x4000, &mut machine), Err(BadPages::Host));
    }

    #[test]
    fn what_is_kept_in_small_pages_is_validated_in_small_pages() {
        let (mut pages, mut machine) =
            (Pages::new(), Machine { small_only: true, ..Machine::default() });
        pages.accept(0x20_0000..0x40_0000, &mut machine).unwrap();
        assert_eq!(machine.table.len(), 512);
        assert!(machine.table.values().all(|entry| *entry == (true, true)));
    }

    #[test]
    fn own_pages_are_zeroed_before_they_are_shared() {
        let (mut pages, mut machine) = (Pages::new(), Machine::default());
        pages.accept(0x1000..0x5000, &mut machine).unwrap();
        pages.share_own(0x2000..0x4000, &mut machine).unwrap();
        assert_eq!(machine.zeroed, [0x2000, 0x3000]);
        assert_eq!(machine.table[&0x2000], (false, false));
        assert_eq!(machine.table[&0x1000], (true, true));
        assert!(pages.is_shared(&(0x2000..0x4000)) && !pages.is_shared(&(0x1000..0x3000)));
        assert_eq!(pages.share_own(0x2000..0x3000, &mut machine), Err(BadPages::Twice));
        assert_eq!(pages.accept(0x2000..0x3000, &mut machine), Err(BadPages::Twice));
        pages.share_fresh(0x8000..0x9000, &mut machine).unwrap();
        assert_eq!(machine.zeroed.len(), 2, "what was never ours has nothing of ours");
    }

    #[test]
    fn what_is_left_is_found() {
        let (mut pages, mut machine) = (Pages::new(), Machine::default());
        pages.launched(0x2000..0x4000).unwrap();
        pages.share_fresh(0x4000..0x5000, &mut machine).unwrap();
        pages.accept(0x8000..0x9000, &mut machine).unwrap();
        assert_eq!(pages.next_unknown(0x1000..0x9000), 0x1000..0x2000);
        assert_eq!(pages.next_unknown(0x2000..0x9000), 0x5000..0x8000);
        assert_eq!(pages.next_unknown(0x6000..0x7000), 0x6000..0x7000);
        assert_eq!(pages.next_unknown(0x8000..0x9000), 0x9000..0x9000);
        assert_eq!(pages.next_unknown(0x3000..0x4800), 0x4800..0x4800);
    }

    #[test]
    fn long_ranges_go_in_lists() {
        let (mut pages, mut machine) = (Pages::new(), Machine::default());
        pages.accept(0x1000..0x20_0000, &mut machine).unwrap();
        assert_eq!(machine.lists, [253, 253, 5]);
    }
}
