// SPDX-License-Identifier: MIT
//! Pages that the host reads and writes at any time.

use crate::machine::host::pool;
use crate::machine::memory::direct;
use crate::sev::{PAGE_LEN, Page};
use core::sync::atomic::AtomicU32;

const WORDS: usize = PAGE_LEN / 8;

/// A page of the pool. No reference leads into it: words go in and out one by one, each once.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedPage(u64);

impl SharedPage {
    /// Pages of the pool that nobody else has, one behind the other.
    pub(super) fn take<const COUNT: usize>() -> Option<[Self; COUNT]> {
        let (physical, _) = pool::take(COUNT)?;
        Some(core::array::from_fn(|index| {
            Self(physical.wrapping_add((index as u64).wrapping_mul(PAGE_LEN as u64)))
        }))
    }

    pub(super) const fn physical(self) -> u64 {
        self.0
    }

    /// A word by its number, which wraps at the page's end.
    pub(super) fn read(self, word: usize) -> u64 {
        let at = direct::pointer::<u64>(self.0).wrapping_add(word % WORDS);
        // SAFETY: within a page of the pool, which `take` made this value's own and which the
        // direct map reaches; volatile, for the host writes there too.
        unsafe { at.read_volatile() }
    }

    /// As [`SharedPage::read`].
    pub(super) fn write(self, word: usize, value: u64) {
        let at = direct::pointer::<u64>(self.0).wrapping_add(word % WORDS);
        // SAFETY: as in `read`.
        unsafe { at.write_volatile(value) }
    }

    /// Its first four bytes, which guest and host exchange.
    pub(super) fn first_word(self) -> &'static AtomicU32 {
        // SAFETY: within a page of the pool, aligned, mapped and this value's own for good. Rust code
        // reaches these bytes atomically or volatile, and holds no reference of another kind.
        unsafe { AtomicU32::from_ptr(direct::pointer(self.0)) }
    }

    /// Copies a whole page in.
    pub(super) fn fill(self, from: &Page) {
        for (word, bytes) in from.as_chunks().0.iter().enumerate() {
            self.write(word, u64::from_le_bytes(*bytes));
        }
    }

    /// Copies the whole page out, once.
    pub(super) fn copy(self, to: &mut Page) {
        for (word, bytes) in to.as_chunks_mut().0.iter_mut().enumerate() {
            *bytes = self.read(word).to_le_bytes();
        }
    }
}
