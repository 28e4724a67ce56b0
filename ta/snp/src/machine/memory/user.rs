// SPDX-License-Identifier: MIT
//! Access to the user memory of the loaded address space.
//!
//! No Rust reference to user memory ever exists. The assembly behind these functions checks
//! nothing: [`reach`] and the callers in `space` do.

use core::arch::global_asm;
use strongroom_south::Fault;

global_asm!(include_str!("user.s"));

unsafe extern "C" {
    fn user_copy(to: usize, from: usize, length: usize) -> usize;
    fn user_zero(to: usize, length: usize) -> usize;
    fn user_load(from: usize) -> i64;
    fn user_compare_exchange(at: usize, old: u32, new: u32) -> i64;
    static fixups_start: [u64; 2];
    static fixups_end: [u64; 2];
}

/// First address behind user space. The page in front of the hole in the address space is never
/// mapped, so that `syscall` cannot be its last instruction and `sysret` never meets an address
/// that is not canonical.
pub(crate) const USER_END: usize = 0x7fff_ffff_f000;

/// A user range: where it begins, and how much of it lies in user space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    start: usize,
    within: usize,
    whole: bool,
    write: bool,
}

/// Clips a user range to user space.
#[inline]
pub(crate) const fn reach(start: usize, length: usize, write: bool) -> Reach {
    let room = USER_END.saturating_sub(start);
    let within = if length < room { length } else { room };
    Reach { start, within, whole: within == length, write }
}

impl Reach {
    /// Bytes to move.
    pub(crate) const fn within(&self) -> usize {
        self.within
    }

    /// What it means that `left` bytes were not moved.
    #[inline]
    pub(crate) const fn outcome(&self, left: usize) -> Result<(), Fault> {
        if left == 0 && self.whole {
            return Ok(());
        }
        let moved = self.within.saturating_sub(left);
        Err(Fault { address: self.start.wrapping_add(moved), write: self.write })
    }

    /// Copies out of user memory to `to`, and says how many bytes are left.
    ///
    /// # Safety
    ///
    /// `to` has room for [`Reach::within`] bytes that the caller may write.
    #[inline]
    pub(crate) unsafe fn copy_in(&self, to: *mut u8) -> usize {
        // SAFETY: the source lies in user space, where faults are fixed up; the target is the
        // caller's.
        unsafe { user_copy(to.expose_provenance(), self.start, self.within) }
    }

    /// Copies to user memory from `from`, and says how many bytes are left.
    ///
    /// # Safety
    ///
    /// [`Reach::within`] bytes can be read at `from`.
    #[inline]
    pub(crate) unsafe fn copy_out(&self, from: *const u8) -> usize {
        // SAFETY: the target lies in user space, where no Rust object is and faults are fixed up.
        unsafe { user_copy(self.start, from.expose_provenance(), self.within) }
    }

    /// Zeroes user memory, and says how many bytes are left.
    #[inline]
    pub(crate) fn zero(&self) -> usize {
        // SAFETY: the target lies in user space, where no Rust object is and faults are fixed up.
        unsafe { user_zero(self.start, self.within) }
    }
}

const fn aligned_word(at: usize) -> bool {
    at & 3 == 0 && at < USER_END
}

/// Loads an aligned word.
#[inline]
pub(crate) fn load(from: usize) -> Result<u32, Fault> {
    let fault = Fault { address: from, write: false };
    if !aligned_word(from) {
        return Err(fault);
    }
    // SAFETY: in user space, where faults are fixed up.
    u32::try_from(unsafe { user_load(from) }).map_err(|_| fault)
}

/// Exchanges an aligned word.
#[inline]
pub(crate) fn compare_exchange(at: usize, old: u32, new: u32) -> Result<u32, Fault> {
    let fault = Fault { address: at, write: true };
    if !aligned_word(at) {
        return Err(fault);
    }
    // SAFETY: in user space, where no Rust object is and faults are fixed up.
    u32::try_from(unsafe { user_compare_exchange(at, old, new) }).map_err(|_| fault)
}

/// Where to go on after a fault at a kernel instruction, if it was one of those above.
pub(crate) fn fixup(instruction: u64) -> Option<u64> {
    let end = &raw const fixups_end;
    let mut at = &raw const fixups_start;
    while at < end {
        // SAFETY: the linker script puts `.fixups`, pairs of addresses, between the two symbols.
        let [faulting, resume] = unsafe { at.read() };
        if faulting == instruction {
            return Some(resume);
        }
        at = at.wrapping_add(1);
    }
    None
}
