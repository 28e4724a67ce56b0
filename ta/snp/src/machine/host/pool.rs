// SPDX-License-Identifier: MIT
//! Memory that the device may reach: one range, taken at boot and never returned. On SNP this is
//! the range whose pages are made shared.

use crate::machine::halt::{Code, halt};
use crate::machine::memory::direct::{self, DIRECT_MAP};
use core::ops::Range;
use core::ptr::NonNull;
use spin::Mutex;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Bytes of the pool.
pub(crate) const LENGTH: u64 = 1 << 20;

struct Pool {
    start: u64,
    next: u64,
    end: u64,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { start: 0, next: 0, end: 0 });

/// Gives the pool its memory, whole pages in the direct map that nobody else uses.
pub(crate) fn start(range: Range<u64>) {
    *POOL.lock() = Pool { start: range.start, next: range.start, end: range.end };
}

/// Zeroed pages.
pub(crate) fn take(pages: usize) -> Option<(PhysAddr, NonNull<u8>)> {
    let length = pages.checked_mul(PAGE_SIZE)?;
    let mut pool = POOL.lock();
    let physical = pool.next;
    let end = physical.checked_add(length as u64).filter(|end| *end <= pool.end)?;
    pool.next = end;
    let start = direct::pointer::<u8>(physical);
    // SAFETY: these pages are the pool's, and were not given away before.
    unsafe { direct::zero(start, length) };
    Some((physical, NonNull::new(start)?))
}

/// The physical address of pool memory.
fn physical(buffer: NonNull<[u8]>) -> Option<u64> {
    let start = (buffer.cast::<u8>().addr().get() as u64).checked_sub(DIRECT_MAP)?;
    let end = start.checked_add(buffer.len() as u64)?;
    let pool = POOL.lock();
    (pool.start <= start && end <= pool.next).then_some(start)
}

/// The pool, as `virtio_drivers` wants to see it.
#[derive(Debug)]
pub(crate) struct PoolHal;

// SAFETY: `take` gives zeroed, page-aligned pages of the direct map, each once. Buffers are shared
// where they are, which is in the pool, or not at all.
unsafe impl Hal for PoolHal {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // Address 0 is how the crate is told that there is none.
        take(pages).unwrap_or((0, NonNull::dangling()))
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // Queues live as long as the machine; what a failed start leaves is not worth a list.
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        // The crate's own PCI transport is not used, see `device`.
        halt(Code::Panic)
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        physical(buffer).unwrap_or_else(|| halt(Code::Panic))
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
