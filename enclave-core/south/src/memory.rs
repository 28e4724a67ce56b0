// SPDX-License-Identifier: MIT
//! Physical frames and address spaces.
//!
//! A frame is a number with a reference count that the platform keeps. The kernel retains and
//! releases; an address space holds one reference for every page it maps and gives it back when
//! the page is unmapped or the space is dropped.

use crate::Context;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;

/// Bytes in a page and in a frame.
pub const PAGE_SIZE: usize = 4096;

/// The lowest address that is mapped without being asked for (`vm.mmap_min_addr`).
pub const LOWEST: usize = 0x1_0000;

/// The number of a 4 KiB physical frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(pub u32);

/// No frame is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// How many frames there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameCounts {
    /// Frames that guests and page caches may use, in all.
    pub total: usize,
    /// Frames that nobody holds.
    pub free: usize,
}

/// The machine's frames.
///
/// Offsets and lengths are clipped to the frame: the number of bytes moved is what is left of the
/// frame behind `offset`, or the buffer's length if that is less.
pub trait Frames {
    /// A zeroed frame with one reference, the caller's.
    fn allocate(&self) -> Option<Frame>;
    /// Adds a reference.
    fn retain(&self, frame: Frame);
    /// Drops a reference; the last one frees the frame.
    fn release(&self, frame: Frame);
    /// References held at this moment.
    fn references(&self, frame: Frame) -> u32;
    /// Copies out of a frame.
    fn read(&self, frame: Frame, offset: usize, to: &mut [u8]);
    /// Copies into a frame.
    fn write(&self, frame: Frame, offset: usize, from: &[u8]);
    /// Zeroes part of a frame.
    fn clear(&self, frame: Frame, range: Range<usize>);
    /// Copies a whole frame.
    fn duplicate(&self, from: Frame, to: Frame);
    /// Totals.
    fn counts(&self) -> FrameCounts;
    /// Bytes that kernel and platform use themselves: image, heap, tables.
    fn overhead(&self) -> usize;
}

/// The two kinds of address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Own page tables: demand paging, copy-on-write, fork.
    Paged,
    /// One space shared with the trusted application: populated eagerly, protection that copies keep to
    /// and the program need not, a frame mapped once at most, no fork.
    Flat,
}

/// What may be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Access {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
    /// The page stays common to parent and child at fork, instead of becoming copy-on-write.
    pub shared: bool,
}

/// A user address that could not be reached. Resolve it and try again, or report `EFAULT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first address that failed.
    pub address: usize,
    /// Whether it was to be written.
    pub write: bool,
}

/// A page as it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The frame behind it.
    pub frame: Frame,
    /// What the hardware allows at this moment.
    pub access: Access,
    /// Whether it was written since it was mapped.
    pub dirty: bool,
}

/// One guest address space. User addresses only; the kernel's half is the platform's business.
pub trait Space: Send + Sync {
    /// First address behind user space.
    fn user_end(&self) -> usize;

    /// Addresses at which pages can be mapped. A flat space has other pages too: what the machine
    /// itself has placed.
    fn mappable(&self) -> Range<usize> {
        LOWEST..self.user_end()
    }

    /// A processor state that runs in this space, with all registers zero.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no room for its extended state.
    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>, OutOfMemory>;

    /// A copy for `fork`: pages without [`Access::shared`] become copy-on-write in both.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when tables do not fit, or always on [`Form::Flat`].
    fn fork(&self) -> Result<Arc<dyn Space>, OutOfMemory>;

    /// Maps `frame` at the page that holds `address` and takes over one reference to it. A page
    /// that was there is released.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when no page table could be had, or on [`Form::Flat`] when the frame is mapped
    /// elsewhere; the reference stays the caller's.
    fn map(&self, address: usize, frame: Frame, access: Access) -> Result<(), OutOfMemory>;

    /// Unmaps and releases all pages of a page-aligned range. Holes are fine.
    fn unmap(&self, range: Range<usize>);

    /// Takes access away from the pages of a range at once. Access that is granted becomes
    /// effective at once only on frames with a single reference; elsewhere the next access faults.
    fn protect(&self, range: Range<usize>, access: Access);

    /// Moves the pages of `from` to the range of the same length at `to`, which is unmapped and
    /// does not overlap.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when a table could not be had: pages moved so far stay moved.
    fn relocate(&self, from: Range<usize>, to: usize) -> Result<(), OutOfMemory>;

    /// What is mapped at an address.
    fn lookup(&self, address: usize) -> Option<Mapped>;

    /// Pages mapped at this moment.
    fn resident(&self) -> usize;

    /// Copies from the guest, all or as far as the first fault.
    ///
    /// # Errors
    ///
    /// [`Fault`] at the first address that cannot be read.
    fn copy_in(&self, from: usize, to: &mut [u8]) -> Result<(), Fault>;

    /// Copies to the guest.
    ///
    /// # Errors
    ///
    /// [`Fault`] at the first address that cannot be written; bytes before it were written.
    fn copy_out(&self, to: usize, from: &[u8]) -> Result<(), Fault>;

    /// Zeroes guest memory.
    ///
    /// # Errors
    ///
    /// [`Fault`] as for [`Space::copy_out`].
    fn zero(&self, to: usize, length: usize) -> Result<(), Fault>;

    /// Copies from a frame to the guest; `offset + length` lies within the frame, else a fault at
    /// `to` is reported.
    ///
    /// # Errors
    ///
    /// [`Fault`] as for [`Space::copy_out`].
    fn copy_out_frame(
        &self,
        to: usize,
        frame: Frame,
        offset: usize,
        length: usize,
    ) -> Result<(), Fault>;

    /// Copies from the guest to a frame; otherwise as [`Space::copy_out_frame`].
    ///
    /// # Errors
    ///
    /// [`Fault`] as for [`Space::copy_in`].
    fn copy_in_frame(
        &self,
        from: usize,
        frame: Frame,
        offset: usize,
        length: usize,
    ) -> Result<(), Fault>;

    /// Loads an aligned 32-bit word in one access.
    ///
    /// # Errors
    ///
    /// [`Fault`] when it cannot be read or is misaligned.
    fn load_u32(&self, from: usize) -> Result<u32, Fault>;

    /// Stores `new` into an aligned 32-bit word if it holds `old`, atomically; returns what it
    /// held.
    ///
    /// # Errors
    ///
    /// [`Fault`] when it cannot be written or is misaligned.
    fn compare_exchange_u32(&self, at: usize, old: u32, new: u32) -> Result<u32, Fault>;
}
