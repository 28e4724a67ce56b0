// SPDX-License-Identifier: MIT
//! The kernel's own memory.
//!
//! A start heap is part of the library OS's image (`build.rs`); the rest is memory of the System PTA,
//! in proportion to the program's, which is handed to the dev kit's allocator. An allocation of the
//! kernel that fails ends the trusted application; so [`is_short`] says early that it is time to
//! refuse what programs ask for, while [`RESERVE`] is left for what a call may take on its way.

use super::StartError;
use super::memory::map;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering};
use strongroom_south::PAGE_SIZE;

/// The program's memory is so many times the kernel's.
const SHARE: usize = 8;
/// Least memory of the kernel, besides the start heap.
const LEAST: usize = 3 << 20;
/// Most of it.
const MOST: usize = 256 << 20;
/// What is left, in one piece, when the kernel's memory is short. The largest allocations of the
/// kernel's that cannot fail are messages of the host, and less than half of this.
const RESERVE: usize = 512 << 10;

/// Bytes that were handed to the allocator.
static ADDED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    /// Gives memory to the allocator, for ever (OP-TEE 4.5 and 4.10, `lib/libutils/isoc/include/malloc.h`).
    fn malloc_add_pool(buffer: *mut core::ffi::c_void, length: usize);
}

/// Makes the heap as large as it has to be for a program's memory.
pub(super) fn start(memory: usize) -> Result<(), StartError> {
    let length = (memory / SHARE).clamp(LEAST, MOST) & !PAGE_SIZE.wrapping_sub(1);
    let start = map(length).ok_or(StartError::NoMemory)?;
    // SAFETY: zeroed memory that was mapped just now, for this; nobody unmaps it.
    unsafe { malloc_add_pool(core::ptr::with_exposed_provenance_mut(start), length) };
    ADDED.store(length, Ordering::Relaxed);
    Ok(())
}

/// Bytes besides the start heap.
pub(super) fn added() -> usize {
    ADDED.load(Ordering::Relaxed)
}

/// Whether less than the reserve is left in one piece: found out by asking for it.
pub(super) fn is_short() -> bool {
    let mut reserve: Vec<u8> = Vec::new();
    let refused = reserve.try_reserve_exact(RESERVE).is_err();
    // Nobody uses it: the compiler would take that for a reason to ask for nothing.
    black_box(&mut reserve);
    refused
}
