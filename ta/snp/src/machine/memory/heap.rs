// SPDX-License-Identifier: MIT
//! The kernel's heap.
//!
//! Up to 2 KiB: free lists by power of two, refilled a page at a time and never shrunk. Above:
//! `linked_list_allocator` over a range of addresses of its own that grows at its end. Both take
//! frames, the reserve included. Allocation fails when no frame is left; code that can say so to a
//! guest allocates through [`try_box`] and [`try_arc`].

use super::table::{ACCESSED, DIRTY, GLOBAL, Level, NO_EXECUTE, PAGE, PRESENT, WRITABLE, private};
use super::{direct, frames, image};
use crate::frame_table::Owner;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap as List;
use spin::Mutex;
use strongroom_south::OutOfMemory;

/// Where the list of large blocks lies.
pub(crate) const START: u64 = 0xffff_d000_0000_0000;
/// Most bytes of it.
const LENGTH_MAX: u64 = 1 << 36;
/// Bytes by which it grows at least.
const GROWTH: u64 = 64 * 1024;

const SMALLEST_SHIFT: u32 = 4;
const LARGEST_SHIFT: u32 = 11;
const CLASSES: usize = 8;

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(Blocks {
    small: [ptr::null_mut(); CLASSES],
    large: List::empty(),
    end: START,
}));

struct Heap(Mutex<Blocks>);

/// A free block of a class begins with the address of the next one.
struct Blocks {
    small: [*mut Link; CLASSES],
    large: List,
    /// End of the mapped range of large blocks.
    end: u64,
}

struct Link(*mut Link);

// SAFETY: the pointers are to memory that the heap owns, which is the same for every processor.
unsafe impl Send for Blocks {}

// SAFETY: blocks come from frames that were allocated for the heap and are in no other list; a
// class has blocks of at least its size, aligned to their size because pages are cut evenly; the
// lock makes every operation exclusive. `linked_list_allocator` vouches for large blocks.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut blocks = self.0.lock();
        match class(layout) {
            Some((class, shift)) => blocks.take_small(class, shift),
            None => blocks.take_large(layout),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mut blocks = self.0.lock();
        match class(layout) {
            Some((class, _)) => blocks.give_small(class, block.cast()),
            None => blocks.give_large(block, layout),
        }
    }
}

/// The class for a layout, and the logarithm of its size.
#[inline]
const fn class(layout: Layout) -> Option<(usize, u32)> {
    let size = if layout.size() > layout.align() { layout.size() } else { layout.align() };
    let shift = usize::BITS.wrapping_sub(size.wrapping_sub(1).leading_zeros());
    let shift = if shift < SMALLEST_SHIFT { SMALLEST_SHIFT } else { shift };
    if size == 0 || shift > LARGEST_SHIFT {
        return None;
    }
    Some((shift.wrapping_sub(SMALLEST_SHIFT) as usize, shift))
}

impl Blocks {
    #[inline]
    fn take_small(&mut self, class: usize, shift: u32) -> *mut u8 {
        let Some(head) = self.small.get_mut(class) else { return ptr::null_mut() };
        if head.is_null() {
            let Some(page) = frames::raw(Owner::Kernel { reserve: true }) else {
                return ptr::null_mut();
            };
            *head = cut(page, shift);
        }
        let block = *head;
        // SAFETY: a block in the list is free and begins with the link that was written to it.
        *head = unsafe { (*block).0 };
        block.cast()
    }

    #[inline]
    fn give_small(&mut self, class: usize, block: *mut Link) {
        let Some(head) = self.small.get_mut(class) else { return };
        // SAFETY: the block was handed out by this class and comes back to it (the contract of
        // `dealloc`): at least 16 bytes, aligned, nobody else's.
        unsafe { block.write(Link(*head)) };
        *head = block;
    }

    #[cold]
    fn take_large(&mut self, layout: Layout) -> *mut u8 {
        if let Ok(block) = self.large.allocate_first_fit(layout) {
            return block.as_ptr();
        }
        // Room for the block, its alignment and the list's own links.
        let room = (layout.size() as u64).saturating_add(layout.align() as u64);
        if self.grow(room.saturating_add(PAGE)).is_none() {
            return ptr::null_mut();
        }
        self.large.allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[cold]
    fn give_large(&mut self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        // SAFETY: handed out by this list with this layout (the contract of `dealloc`).
        unsafe { self.large.deallocate(block, layout) }
    }

    /// Maps more pages at the end of the range of large blocks.
    fn grow(&mut self, room: u64) -> Option<()> {
        let length = room.max(GROWTH).checked_next_multiple_of(PAGE)?;
        let grown = self.end.checked_add(length)?;
        if grown.wrapping_sub(START) > LENGTH_MAX {
            return None;
        }
        let start = self.end;
        let mapped = self.map(length);
        // What was mapped is used even when the rest could not be had.
        let added = mapped.wrapping_sub(start) as usize;
        if added == 0 {
            return None;
        }
        if self.large.bottom().is_null() {
            let bottom = ptr::with_exposed_provenance_mut(START as usize);
            // SAFETY: the first `added` bytes from `START` were mapped just now, for the list.
            unsafe { self.large.init(bottom, added) };
        } else {
            // SAFETY: the bytes behind the list's end were mapped just now, for the list.
            unsafe { self.large.extend(added) };
        }
        (mapped == grown).then_some(())
    }

    fn map(&mut self, length: u64) -> u64 {
        let target = self.end.wrapping_add(length);
        while self.end < target {
            let at = self.end;
            let flags = PRESENT | WRITABLE;
            let Some(table) = image::root().make(at, Level::Page, flags, &mut frames::table) else {
                break;
            };
            let Some(page) = frames::raw(Owner::Kernel { reserve: true }) else { break };
            let rights = flags | NO_EXECUTE | GLOBAL | ACCESSED | DIRTY;
            table.set(Level::Page.index(at), private(page) | rights);
            self.end = at.wrapping_add(PAGE);
        }
        self.end
    }
}

/// Cuts a page into a list of free blocks of `1 << shift` bytes.
fn cut(page: u64, shift: u32) -> *mut Link {
    let mut list = ptr::null_mut();
    let size = 1_u64.wrapping_shl(shift);
    let mut at = PAGE;
    while at != 0 {
        at = at.wrapping_sub(size);
        let block = direct::pointer::<Link>(page.wrapping_add(at));
        // SAFETY: inside a page that was allocated for the heap; blocks are at least 16 bytes and
        // aligned to their size.
        unsafe { block.write(Link(list)) };
        list = block;
    }
    list
}

/// A box, or the truth about why not.
pub(crate) fn try_box<T>(value: T) -> Result<Box<T>, OutOfMemory> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the type has a size.
    let block = unsafe { alloc::alloc::alloc(Layout::new::<T>()) }.cast::<T>();
    if block.is_null() {
        return Err(OutOfMemory);
    }
    // SAFETY: fresh memory with the layout of `T`.
    unsafe { block.write(value) };
    // SAFETY: allocated by the global allocator with the layout of `T`, and initialised.
    Ok(unsafe { Box::from_raw(block) })
}

/// An `Arc`. The standard library has no way to try; so a block of the same layout is tried first,
/// and it is the one that the `Arc` then gets.
pub(crate) fn try_arc<T>(value: T) -> Result<Arc<T>, OutOfMemory> {
    let layout = Layout::new::<(usize, usize, T)>();
    // SAFETY: the layout has a size.
    let block = unsafe { alloc::alloc::alloc(layout) };
    if block.is_null() {
        return Err(OutOfMemory);
    }
    // SAFETY: allocated just above with this layout.
    unsafe { alloc::alloc::dealloc(block, layout) };
    Ok(Arc::new(value))
}
