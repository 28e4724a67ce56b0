// SPDX-License-Identifier: MIT
//! The list of a page state change (AMD 56421, section 4.1.6; layout as in Linux,
//! `struct snp_psc_desc`).
//!
//! The list is in memory that the host writes too. The guest keeps its own copy, and takes from the
//! host one number only: how far it came.

use super::ghcb::SHARED_BUFFER_LEN;
use super::msr_protocol::State;

/// Most pages of a list.
pub const ENTRIES_MAX: usize = 253;
/// Words of 8 bytes of a list: a header and entries.
pub const WORDS: usize = 254;

const _: () = assert!(WORDS * 8 == SHARED_BUFFER_LEN && WORDS == ENTRIES_MAX + 1);

const LARGE: u64 = 1 << 56;
const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;

/// A page of either size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its physical address.
    pub address: u64,
    /// Its size.
    pub size: Size,
}

/// How large a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 4 KiB.
    Small,
    /// 2 MiB.
    Large,
}

impl Size {
    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Small => 4 << 10,
            Self::Large => 2 << 20,
        }
    }
}

/// A list under way.
#[derive(Clone, Debug)]
pub struct List {
    words: [u64; WORDS],
    last: u16,
    next: u16,
}

/// The host's header is none, or did not come further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHeader;

impl List {
    /// A list of blocks; what does not fit is left out, and how many fit is returned.
    #[must_use]
    pub fn new(blocks: &[Block], to: State) -> (Self, usize) {
        let mut list = Self { words: [0; WORDS], last: 0, next: 0 };
        let mut count = 0_u16;
        for (word, block) in list.words.iter_mut().skip(1).zip(blocks) {
            let large = if block.size == Size::Large { LARGE } else { 0 };
            *word = large | to.operation() << 52 | block.address & FRAME_MASK;
            count = count.saturating_add(1);
        }
        list.last = count.saturating_sub(1);
        list.write_header();
        (list, usize::from(count))
    }

    /// The words, to be copied to the host.
    #[must_use]
    pub const fn words(&self) -> &[u64; WORDS] {
        &self.words
    }

    /// Takes the header as the host left it; says whether all is done.
    ///
    /// # Errors
    ///
    /// [`BadHeader`] when it has another end, went back, or stayed where it was.
    pub fn advance(&mut self, header: u64) -> Result<bool, BadHeader> {
        let [next0, next1, last0, last1, reserved @ ..] = header.to_le_bytes();
        let next = u16::from_le_bytes([next0, next1]);
        let same_end = u16::from_le_bytes([last0, last1]) == self.last && reserved == [0; 4];
        if !same_end || next <= self.next || next > self.last.saturating_add(1) {
            return Err(BadHeader);
        }
        self.next = next;
        self.write_header();
        Ok(next > self.last)
    }

    fn write_header(&mut self) {
        let header = u64::from(self.next) | u64::from(self.last) << 16;
        if let Some(first) = self.words.first_mut() {
            *first = header;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: [Block; 2] = [
        Block { address: 0x20_0000, size: Size::Large },
        Block { address: 0x40_3000, size: Size::Small },
    ];

    #[test]
    fn lists_have_their_published_form() {
        let (list, count) = List::new(&BLOCKS, State::Private);
        assert_eq!(count, 2);
        let expected = [0x1_0000, 0x0110_0000_0020_0000, 0x0010_0000_0040_3000, 0];
        assert_eq!(list.words()[..4], expected);
        let many = [BLOCKS[1]; 300];
        let (list, count) = List::new(&many, State::Shared);
        assert_eq!((count, list.words()[0]), (253, 252 << 16));
        assert_eq!(list.words()[253], 0x0020_0000_0040_3000);
    }

    #[test]
    fn the_host_says_how_far_it_came_and_nothing_else() {
        let (mut list, _) = List::new(&BLOCKS, State::Private);
        assert_eq!(list.advance(0x1_0001), Ok(false));
        assert_eq!(list.words()[0], 0x1_0001);
        assert_eq!(list.advance(0x1_0001), Err(BadHeader), "no progress");
        assert_eq!(list.advance(0x1_0000), Err(BadHeader), "back");
        assert_eq!(list.advance(0x1_0003), Err(BadHeader), "behind the end");
        assert_eq!(list.advance(0x0_0002), Err(BadHeader), "another end");
        assert_eq!(list.advance(0x1_0001_0002), Err(BadHeader), "reserved");
        assert_eq!(list.advance(0x1_0002), Ok(true));
    }
}
