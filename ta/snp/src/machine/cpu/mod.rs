// SPDX-License-Identifier: MIT
//! The processor: its features, its tables, and the way into user mode and back.

pub(crate) mod context;
pub(crate) mod descriptors;
pub(crate) mod features;
pub(crate) mod start;
pub(crate) mod trap;

use super::memory::{image, table};
use context::Frame;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use x86_64::PhysAddr;
use x86_64::VirtAddr;
use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;
use x86_64::structures::tss::TaskStateSegment;

/// What belongs to one processor. `gs` points here while the kernel runs, and the first fields are
/// known to `entry.s` by their offsets.
#[repr(C, align(64))]
pub(crate) struct Cpu {
    this: *const Cpu,
    /// The user's stack pointer, between entry and save.
    scratch: u64,
    /// The kernel's stack pointer while user mode runs.
    kernel_stack: u64,
    padding: u32,
    /// At 28, so that its `rsp0` is aligned.
    tss: UnsafeCell<TaskStateSegment>,
    state: UnsafeCell<State>,
    /// The host's pending events, in the doorbell page if there is one.
    doorbell: AtomicPtr<u32>,
}

/// What is pending where there is no doorbell page.
static NOTHING: AtomicU32 = AtomicU32::new(0);

const _: () = assert!(core::mem::offset_of!(Cpu, tss) == 28);

/// What is loaded into the processor at this moment.
#[derive(Clone, Copy)]
struct State {
    /// The thread for which everything is loaded: registers beyond the general ones, and the
    /// address space. Null when some of that was exchanged since.
    ready: *const Frame,
    /// The thread whose extended state and segment bases the processor holds.
    owner: *mut Frame,
    /// The root of the loaded address space.
    root: u64,
}

// SAFETY: a processor reaches its own only, through `gs`; what runs there is not interrupted by
// code that would reach it too.
unsafe impl Sync for Cpu {}

static BOOT_CPU: Cpu = Cpu {
    this: &raw const BOOT_CPU,
    scratch: 0,
    kernel_stack: 0,
    padding: 0,
    tss: UnsafeCell::new(TaskStateSegment::new()),
    state: UnsafeCell::new(State { ready: ptr::null(), owner: ptr::null_mut(), root: 0 }),
    doorbell: AtomicPtr::new(NOTHING.as_ptr()),
};

impl Cpu {
    /// The processor that runs this.
    #[inline]
    pub(crate) fn current() -> &'static Self {
        let this: *const Self;
        // SAFETY: `gs` points at a `Cpu` from `start` on, and its first field at itself.
        unsafe { asm!("mov {}, gs:[0]", out(reg) this, options(nostack, pure, readonly)) };
        // SAFETY: `this` is one of the statics of this module.
        unsafe { &*this }
    }

    #[inline]
    fn state(&self) -> State {
        // SAFETY: no reference to the state is ever kept; this processor alone uses it.
        unsafe { *self.state.get() }
    }

    #[inline]
    fn set_state(&self, state: State) {
        // SAFETY: as in `state`.
        unsafe { *self.state.get() = state };
    }

    /// Does not enter user mode while events are pending there, from now on.
    pub(crate) fn set_doorbell(&self, events: &'static AtomicU32) {
        self.doorbell.store(events.as_ptr(), Ordering::Relaxed);
    }

    /// The root of the loaded address space.
    #[inline]
    pub(crate) fn loaded_root(&self) -> u64 {
        self.state().root
    }

    /// Loads an address space, unless it is loaded. The root is that of a live space or the
    /// kernel's own.
    #[inline]
    pub(crate) fn load_root(&self, root: u64) {
        if self.state().root != root {
            self.set_state(State { ready: ptr::null(), root, ..self.state() });
            let frame = PhysFrame::containing_address(PhysAddr::new_truncate(table::private(root)));
            // SAFETY: every root shares the kernel's half, so code, stack and data stay where they
            // are; user memory is reached through checked copies only.
            unsafe { Cr3::write(frame, Cr3Flags::empty()) };
        }
    }

    /// Makes sure that a root that is about to go is not loaded.
    pub(crate) fn leave_root(&self, root: u64) {
        if self.state().root == root {
            self.load_root(image::root().physical());
        }
    }

    /// Forgets one translation.
    pub(crate) fn flush(&self, at: usize) {
        tlb::flush(VirtAddr::new_truncate(at as u64));
    }

    /// Forgets all translations of user addresses.
    pub(crate) fn flush_all(&self) {
        tlb::flush_all();
    }
}
