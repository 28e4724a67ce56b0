// SPDX-License-Identifier: MIT
//! The direct map: physical memory at a fixed distance.

use super::table::PAGE;

/// Where physical address 0 appears.
pub(crate) const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Memory behind this physical address is not used.
pub(crate) const PHYSICAL_END: u64 = 1 << 39;

/// Where a physical address appears.
#[inline]
pub(crate) const fn pointer<T>(physical: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(DIRECT_MAP.wrapping_add(physical) as usize)
}

/// Zeroes a page.
///
/// # Safety
///
/// `physical` is a page of memory in the direct map that the caller owns.
#[inline]
pub(crate) unsafe fn zero_page(physical: u64) {
    // SAFETY: the caller owns the whole page.
    unsafe { zero(pointer(physical), PAGE as usize) }
}

/// Zeroes whole 8-byte words.
///
/// # Safety
///
/// The words are the caller's to write.
#[inline]
pub(crate) unsafe fn zero(start: *mut u8, length: usize) {
    // SAFETY: the direction flag is clear in kernel code, and the caller owns the bytes.
    unsafe {
        core::arch::asm!("rep stosq", inout("rcx") length >> 3 => _, inout("rdi") start => _,
            in("rax") 0_u64, options(nostack, preserves_flags));
    }
}
