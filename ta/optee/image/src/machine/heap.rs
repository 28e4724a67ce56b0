// SPDX-License-Identifier: MIT
//! The kernel's own memory.
//!
//! A start heap is part of the library OS's image (`build.rs`); the rest is memory of the System PTA,
//! which is handed to the dev kit's allocator piece by piece, as it is needed: OP-TEE fills it with
//! zeroes, which takes as long as all else that starts a small program. Whatever allocates gets a further
//! piece when the present ones cannot serve it: the linker leads the allocator's calls of `memalign` here
//! (`build.rs`), since `optee-utee` names the allocator. An allocation of the kernel that fails even so,
//! and cannot be refused, ends the trusted application; so [`is_short`] says early that it is time to
//! refuse what programs ask for, while [`RESERVE`] is left for what a call may take on its way.

use super::StartError;
use super::memory::map;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::hint::black_box;
use core::ptr;
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

/// What the allocator keeps of a piece for itself, and more: two heads, and the space up to an
/// alignment.
const OVERHEAD: usize = 256;

unsafe extern "C" {
    /// Gives memory to the allocator, for ever (OP-TEE 4.5 and 4.10, `lib/libutils/isoc/include/malloc.h`).
    fn malloc_add_pool(buffer: *mut c_void, length: usize);
    /// The dev kit's `memalign(3)`; null when no piece has as many bytes together.
    safe fn __real_memalign(alignment: usize, length: usize) -> *mut c_void;
}

/// What Rust's allocator calls for `memalign(3)`.
#[unsafe(no_mangle)]
extern "C" fn __wrap_memalign(alignment: usize, length: usize) -> *mut c_void {
    let first = __real_memalign(alignment, length);
    let wanted = length.checked_add(alignment).and_then(|bytes| bytes.checked_add(OVERHEAD));
    match wanted {
        Some(wanted) if first.is_null() && grow(wanted) => __real_memalign(alignment, length),
        Some(_) | None => first,
    }
}

/// Decides how much the heap may have for a program's memory, and gets its first piece.
pub(super) fn start(memory: usize) -> Result<(), StartError> {
    LIMIT.store((memory / SHARE).clamp(LEAST, MOST), Ordering::Relaxed);
    if is_short() { Err(StartError::NoMemory) } else { Ok(()) }
}

/// Adds a piece of so many bytes at least; says whether there was one. It allocates nothing itself.
fn grow(wanted: usize) -> bool {
    let (limit, added) = (LIMIT.load(Ordering::Relaxed), ADDED.load(Ordering::Relaxed));
    let left = limit.saturating_sub(added) & !PAGE_SIZE.wrapping_sub(1);
    if wanted > left {
        return false;
    }
    let piece = (limit / PIECES).max(PIECE_LEAST).max(wanted).next_multiple_of(PAGE_SIZE).min(left);
    let Some(start) = map(piece) else { return false };
    // SAFETY: zeroed memory that was mapped just now, for this; nobody unmaps it.
    unsafe { malloc_add_pool(ptr::with_exposed_provenance_mut(start), piece) };
    ADDED.store(added.saturating_add(piece), Ordering::Relaxed);
    true
}

/// Bytes besides the start heap.
pub(super) fn added() -> usize {
    ADDED.load(Ordering::Relaxed)
}

/// Whether less than the reserve is left in one piece, and no further piece to be had: found out by
/// asking for it.
pub(super) fn is_short() -> bool {
    let mut reserve: Vec<u8> = Vec::new();
    let refused = reserve.try_reserve_exact(RESERVE).is_err();
    // Nobody uses it: the compiler would take that for a reason to ask for nothing.
    black_box(&mut reserve);
    refused
}
