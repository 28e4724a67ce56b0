// SPDX-License-Identifier: MIT
//! Frames: the frame table over real memory.

use super::direct;
use super::table::PAGE;
use crate::frame_table::{FrameTable, Owner};
use crate::machine::Payload;
use crate::machine::halt::{Code, halt};
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use spin::{Mutex, MutexGuard};
use strongroom_south::{Frame, FrameCounts, Frames, PAGE_SIZE};

static TABLE: Mutex<Option<FrameTable<'static>>> = Mutex::new(None);
/// Bytes of image, first page tables, frame table and pool.
static FIXED: AtomicUsize = AtomicUsize::new(0);

/// Puts the table into service. `fixed` is what the platform took before there was one, in bytes.
pub(crate) fn start(table: FrameTable<'static>, fixed: usize) {
    *TABLE.lock() = Some(table);
    FIXED.store(fixed, Ordering::Relaxed);
}

/// The frame table, locked.
pub(crate) struct Books(MutexGuard<'static, Option<FrameTable<'static>>>);

impl Books {
    #[inline]
    pub(crate) fn open() -> Self {
        Self(TABLE.lock())
    }

    #[inline]
    pub(crate) fn table(&mut self) -> &mut FrameTable<'static> {
        match self.0.as_mut() {
            Some(table) => table,
            None => halt(Code::BadFrame),
        }
    }

    /// Where the contents of a frame are, whatever they are.
    #[inline]
    fn pointer(&mut self, frame: Frame) -> *mut u8 {
        if !self.table().is_shared_out(frame) {
            halt(Code::BadFrame);
        }
        direct::pointer(physical(frame))
    }

    /// Where the contents of a frame are, zeroed if they are nobody's yet.
    #[inline]
    pub(crate) fn contents(&mut self, frame: Frame) -> *mut u8 {
        let pointer = self.pointer(frame);
        if self.table().take_stale(frame) {
            // SAFETY: `pointer` is the direct map of a frame that guests hold, so no Rust object
            // is in it; the lock keeps other users of frames out.
            unsafe { direct::zero(pointer, PAGE_SIZE) };
        }
        pointer
    }

    /// As [`Books::contents`] for a caller that overwrites all of it: no zeroing. Says whether it
    /// was due; then the caller has to zero what it does not write after all.
    #[inline]
    pub(crate) fn overwritten(&mut self, frame: Frame) -> (*mut u8, bool) {
        let pointer = self.pointer(frame);
        let stale = self.table().take_stale(frame);
        (pointer, stale)
    }
}

/// The physical address of a frame.
#[inline]
pub(crate) const fn physical(frame: Frame) -> u64 {
    (frame.0 as u64).wrapping_mul(PAGE)
}

/// The frame at a physical address. All memory in use lies below 2⁴⁴.
#[inline]
pub(crate) const fn frame_at(physical: u64) -> Frame {
    Frame((physical >> 12) as u32)
}

/// A zeroed page for a page table of the kernel.
pub(crate) fn table() -> Option<u64> {
    zeroed(Owner::Kernel { reserve: true })
}

/// A zeroed page for a page table of a guest.
pub(crate) fn guest_table() -> Option<u64> {
    zeroed(Owner::Kernel { reserve: false })
}

/// A page of the kernel's own, with whatever is in it.
pub(crate) fn raw(owner: Owner) -> Option<u64> {
    let frame = Books::open().table().allocate(owner)?;
    Some(physical(frame))
}

/// Gives the page of a guest's page table back.
pub(crate) fn release_table(physical: u64) {
    Books::open().table().release(frame_at(physical));
}

fn zeroed(owner: Owner) -> Option<u64> {
    let page = raw(owner)?;
    // SAFETY: the page was allocated for this caller alone.
    unsafe { direct::zero_page(page) };
    Some(page)
}

/// The part of a frame from `offset` on that `length` bytes reach.
fn clip(offset: usize, length: usize) -> (usize, usize) {
    let start = offset.min(PAGE_SIZE);
    (start, length.min(PAGE_SIZE.wrapping_sub(start)))
}

impl Frames for Payload {
    fn allocate(&self) -> Option<Frame> {
        Books::open().table().allocate(Owner::Guest)
    }

    fn retain(&self, frame: Frame) {
        if !Books::open().table().retain(frame) {
            halt(Code::BadFrame);
        }
    }

    fn release(&self, frame: Frame) {
        if !Books::open().table().release(frame) {
            halt(Code::BadFrame);
        }
    }

    fn references(&self, frame: Frame) -> u32 {
        Books::open().table().references(frame)
    }

    fn read(&self, frame: Frame, offset: usize, to: &mut [u8]) {
        let (start, length) = clip(offset, to.len());
        let from = Books::open().contents(frame).wrapping_add(start);
        // SAFETY: `clip` keeps the source inside the frame and the target inside `to`; a frame
        // holds no Rust object, so they do not overlap. Guests do not run meanwhile.
        unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), length) };
    }

    fn write(&self, frame: Frame, offset: usize, from: &[u8]) {
        let (start, length) = clip(offset, from.len());
        let mut books = Books::open();
        let base =
            if length == PAGE_SIZE { books.overwritten(frame).0 } else { books.contents(frame) };
        let to = base.wrapping_add(start);
        // SAFETY: as in `read`, with the roles exchanged.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, length) };
    }

    fn clear(&self, frame: Frame, range: Range<usize>) {
        let (start, length) = clip(range.start, range.end.saturating_sub(range.start));
        let to = Books::open().contents(frame).wrapping_add(start);
        // SAFETY: `clip` keeps the bytes inside the frame, which holds no Rust object.
        unsafe { ptr::write_bytes(to, 0, length) };
    }

    fn duplicate(&self, from: Frame, to: Frame) {
        if from == to {
            return;
        }
        let mut books = Books::open();
        let source = books.contents(from);
        let (target, _) = books.overwritten(to);
        // SAFETY: two different frames, each a whole page without Rust objects.
        unsafe { ptr::copy_nonoverlapping(source, target, PAGE_SIZE) };
    }

    fn counts(&self) -> FrameCounts {
        Books::open().table().counts()
    }

    fn overhead(&self) -> usize {
        let own = Books::open().table().private().saturating_mul(PAGE_SIZE);
        own.saturating_add(FIXED.load(Ordering::Relaxed))
    }
}
