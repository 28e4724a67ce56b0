// SPDX-License-Identifier: MIT
//! The kernel's own memory.
//!
//! A start heap is part of the library OS's image (`build.rs`); the rest is memory of the System PTA,
//! which is handed to the dev kit's allocator piece by piece, as it is needed: OP-TEE fills it with
//! zeroes, which takes as long as all else that starts a small program. An allocation of the kernel that
//! fails ends the trusted application; so [`is_short`] says early that it is time for the next piece,
//! or to refuse what programs ask for, while [`RESERVE`] is left for what a call may take on its way.

use super::StartError;
use super::memory::map;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering};
use strongroom_south::PAGE_SIZE;

/// The program's memory is so many times the kernel's at most.
const SHARE: usize = 8;
/// Least of what the kernel may have, besides the start heap.
const LEAST: usize = 3 << 20;
/// Most of it.
const MOST: usize = 256 << 20;
/// It comes in so many pieces.
const PIECES: usize = 4;
/// The smallest: less would not hold the reserve beside what a kernel starts with.
const PIECE_LEAST: usize = 1 << 20;
/// What is left, in one piece, when the kernel's memory is short. The largest allocations of the
/// kernel's that cannot fail are messages of the host, and less than half of this.
const RESERVE: usize = 512 << 10;

/// Bytes that were handed to the allocator.
static ADDED: AtomicUsize = AtomicUsize::new(0);
/// Bytes that may be.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    /// Gives memory to the allocator, for ever (OP-TEE 4.5 and 4.10, `lib/libutils/isoc/include/malloc.h`).
    fn malloc_add_pool(buffer: *mut core::ffi::c_void, length: usize);
}

/// Gives the heap its first piece, and as much as it may have for a program's memory.
pub(super) fn start(memory: usize) -> Result<(), StartError> {
    LIMIT.store((memory / SHARE).clamp(LEAST, MOST), Ordering::Relaxed);
    if grow() { Ok(()) } else { Err(StartError::NoMemory) }
}

/// Adds a piece; says whether there was one.
fn grow() -> bool {
    let (limit, added) = (LIMIT.load(Ordering::Relaxed), ADDED.load(Ordering::Relaxed));
    let piece = (limit / PIECES).max(PIECE_LEAST).min(limit.saturating_sub(added));
    let piece = piece & !PAGE_SIZE.wrapping_sub(1);
    if piece == 0 {
        return false;
    }
    let Some(start) = map(piece) else { return false };
    // SAFETY: zeroed memory that was mapped just now, for this; nobody unmaps it.
    unsafe { malloc_add_pool(core::ptr::with_exposed_provenance_mut(start), piece) };
    ADDED.store(added.saturating_add(piece), Ordering::Relaxed);
    true
}

/// Bytes besides the start heap.
pub(super) fn added() -> usize {
    ADDED.load(Ordering::Relaxed)
}

/// Whether less than the reserve is left in one piece, and no further piece to be had.
pub(super) fn is_short() -> bool {
    while !has_reserve() {
        if !grow() {
            return true;
        }
    }
    false
}

/// Whether the reserve is left in one piece: found out by asking for it.
fn has_reserve() -> bool {
    let mut reserve: Vec<u8> = Vec::new();
    let granted = reserve.try_reserve_exact(RESERVE).is_ok();
    // Nobody uses it: the compiler would take that for a reason to ask for nothing.
    black_box(&mut reserve);
    granted
}
