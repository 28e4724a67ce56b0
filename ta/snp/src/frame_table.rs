// SPDX-License-Identifier: MIT
//! The books of physical frames: who holds how many references, and what is free.
//!
//! One 32-bit entry a frame. Frames that were never handed out lie behind a cursor and cost nothing
//! at start; released ones form a list through their own entries. A frame is not zeroed when it is
//! handed out: it is *stale* until somebody asks for its contents. Whoever overwrites all of it, as
//! copy-on-write does, saves the zeroing.

use crate::ranges::Ranges;
use strongroom_south::{Frame, FrameCounts};

const FREE: u32 = 1 << 31;
const STALE: u32 = 1 << 30;
const PRIVATE: u32 = 1 << 29;
const COUNT: u32 = PRIVATE - 1;
/// The end of the free list; frame 0 is never handed out.
const NONE: u32 = 0;

/// Who asks for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A guest or the page cache: kept off the reserve.
    Guest,
    /// The platform itself: page tables, heap. May use the reserve if it must.
    Kernel {
        /// Whether the last frames may go too.
        reserve: bool,
    },
}

/// References and free list.
#[derive(Debug)]
pub struct FrameTable<'memory> {
    entries: &'memory mut [u32],
    /// Frames that were never handed out, in frame numbers.
    fresh: Ranges,
    cursor: u32,
    cursor_end: u32,
    free_head: u32,
    free: usize,
    total: usize,
    reserve: usize,
    /// Frames of the kernel's own.
    private: usize,
}

impl<'memory> FrameTable<'memory> {
    /// Over the frames in `fresh`, all below `entries.len()`; entries must be zero. `reserve`
    /// frames are kept for the kernel.
    pub fn new(entries: &'memory mut [u32], fresh: Ranges, reserve: usize) -> Self {
        let mut fresh = fresh;
        let end = u64::try_from(entries.len()).unwrap_or(u64::MAX).min(u64::from(COUNT));
        // Cannot be refused: nothing is split at the ends.
        let _ = fresh.remove(&(end..u64::MAX));
        let _ = fresh.remove(&(0..1));
        let total = usize::try_from(fresh.total()).unwrap_or(0);
        let reserve = reserve.min(total);
        Self {
            entries,
            fresh,
            cursor: 0,
            cursor_end: 0,
            free_head: NONE,
            free: total,
            total,
            reserve,
            private: 0,
        }
    }

    /// A stale frame with one reference.
    pub fn allocate(&mut self, owner: Owner) -> Option<Frame> {
        let (kept, flags) = match owner {
            Owner::Guest => (self.reserve, STALE),
            Owner::Kernel { reserve: false } => (self.reserve, STALE | PRIVATE),
            Owner::Kernel { reserve: true } => (0, STALE | PRIVATE),
        };
        if self.free <= kept {
            return None;
        }
        let frame = self.take_free().or_else(|| self.take_fresh())?;
        *self.entry(frame)? = flags | 1;
        self.free = self.free.saturating_sub(1);
        if flags & PRIVATE != 0 {
            self.private = self.private.saturating_add(1);
        }
        Some(Frame(frame))
    }

    /// Adds a reference to a frame that somebody holds. Says whether somebody does.
    pub fn retain(&mut self, frame: Frame) -> bool {
        match self.entry(frame.0) {
            Some(entry) if held(*entry) && *entry & COUNT < COUNT => {
                *entry = entry.wrapping_add(1);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Drops a reference. Says whether there was one.
    pub fn release(&mut self, frame: Frame) -> bool {
        let head = self.free_head;
        let Some(entry) = self.entry(frame.0) else { return false };
        if !held(*entry) {
            return false;
        }
        if *entry & COUNT > 1 {
            *entry = entry.wrapping_sub(1);
        } else {
            let private = *entry & PRIVATE != 0;
            *entry = FREE | head;
            if private {
                self.private = self.private.saturating_sub(1);
            }
            self.free_head = frame.0;
            self.free = self.free.saturating_add(1);
        }
        true
    }

    /// References that are held; 0 for frames of nobody and of the kernel.
    pub fn references(&self, frame: Frame) -> u32 {
        match self.load(frame) {
            Some(entry) if held(entry) && entry & PRIVATE == 0 => entry & COUNT,
            Some(_) | None => 0,
        }
    }

    /// Whether guests or caches hold the frame, so that its contents may be reached by number.
    pub fn is_shared_out(&self, frame: Frame) -> bool {
        self.references(frame) > 0
    }

    /// Whether the frame has still to be zeroed; from now on it counts as not.
    pub fn take_stale(&mut self, frame: Frame) -> bool {
        match self.entry(frame.0) {
            Some(entry) if held(*entry) => {
                let stale = *entry & STALE != 0;
                *entry &= !STALE;
                stale
            }
            Some(_) | None => false,
        }
    }

    /// Totals, without the reserve.
    pub const fn counts(&self) -> FrameCounts {
        FrameCounts {
            total: self.total.saturating_sub(self.reserve),
            free: self.free.saturating_sub(self.reserve),
        }
    }

    /// Frames of the kernel's own.
    pub const fn private(&self) -> usize {
        self.private
    }

    fn take_free(&mut self) -> Option<u32> {
        let head = self.free_head;
        if head == NONE {
            return None;
        }
        let next = *self.entry(head)?;
        self.free_head = next & !FREE;
        Some(head)
    }

    fn take_fresh(&mut self) -> Option<u32> {
        if self.cursor == self.cursor_end {
            let next = self.fresh.iter().next()?;
            // Cannot be refused: a whole range goes.
            let _ = self.fresh.remove(&next);
            self.cursor = u32::try_from(next.start).ok()?;
            self.cursor_end = u32::try_from(next.end).ok()?;
        }
        let frame = self.cursor;
        self.cursor = frame.wrapping_add(1);
        Some(frame)
    }

    #[inline]
    fn entry(&mut self, frame: u32) -> Option<&mut u32> {
        self.entries.get_mut(usize::try_from(frame).ok()?)
    }

    #[inline]
    fn load(&self, frame: Frame) -> Option<u32> {
        self.entries.get(usize::try_from(frame.0).ok()?).copied()
    }
}

/// Whether an entry stands for a frame with references.
const fn held(entry: u32) -> bool {
    entry & FREE == 0 && entry & COUNT != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    fn table(entries: &mut [u32], reserve: usize) -> FrameTable<'_> {
        let mut fresh = Ranges::new();
        fresh.insert(0..4).unwrap();
        fresh.insert(8..12).unwrap();
        fresh.insert(14..100).unwrap();
        FrameTable::new(entries, fresh, reserve)
    }

    #[test]
    fn every_frame_is_handed_out_once() {
        let mut entries = [0; 16];
        let mut table = table(&mut entries, 0);
        assert_eq!(table.counts(), FrameCounts { total: 9, free: 9 });
        let frames: Vec<_> =
            core::iter::from_fn(|| table.allocate(Owner::Guest)).map(|frame| frame.0).collect();
        assert_eq!(frames, [1, 2, 3, 8, 9, 10, 11, 14, 15]);
        for frame in &frames {
            assert!(table.release(Frame(*frame)));
        }
        let again: BTreeSet<_> =
            core::iter::from_fn(|| table.allocate(Owner::Guest)).map(|frame| frame.0).collect();
        assert_eq!(again, frames.into_iter().collect());
        assert_eq!(table.counts().free, 0);
    }

    #[test]
    fn the_last_release_frees() {
        let mut entries = [0; 16];
        let mut table = table(&mut entries, 0);
        let frame = table.allocate(Owner::Guest).unwrap();
        assert!(table.retain(frame));
        assert_eq!(table.references(frame), 2);
        assert!(table.release(frame));
        assert!(table.is_shared_out(frame));
        assert!(table.release(frame));
        assert!(!table.is_shared_out(frame));
        assert!(!table.release(frame), "a second release is no release");
        assert!(!table.retain(frame), "nobody holds it");
        assert!(!table.retain(Frame(5)), "no memory");
        assert!(!table.retain(Frame(500)), "out of range");
    }

    #[test]
    fn a_frame_is_stale_once_each_time_it_is_handed_out() {
        let mut entries = [0; 16];
        let mut table = table(&mut entries, 0);
        let frame = table.allocate(Owner::Guest).unwrap();
        assert!(table.take_stale(frame));
        assert!(!table.take_stale(frame));
        assert_eq!(table.references(frame), 1);
        table.release(frame);
        assert!(!table.take_stale(frame), "nobody's");
        assert_eq!(table.allocate(Owner::Guest), Some(frame));
        assert!(table.take_stale(frame));
    }

    #[test]
    fn guests_leave_the_reserve_to_the_kernel() {
        let mut entries = [0; 16];
        let mut table = table(&mut entries, 4);
        let count = core::iter::from_fn(|| table.allocate(Owner::Guest)).count();
        assert_eq!(count, 5);
        assert_eq!(table.counts(), FrameCounts { total: 5, free: 0 });
        assert_eq!(table.allocate(Owner::Kernel { reserve: false }), None);
        let own = table.allocate(Owner::Kernel { reserve: true }).unwrap();
        assert_eq!(table.references(own), 0, "not reachable by number");
        assert_eq!(table.private(), 1);
        assert!(table.release(own));
        assert_eq!(table.private(), 0);
    }
}
