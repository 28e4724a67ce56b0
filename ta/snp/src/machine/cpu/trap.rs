// SPDX-License-Identifier: MIT
//! Traps out of kernel code: faults in user copies, and interrupts while waiting for one.

use super::descriptors::FIRST_INTERRUPT;
use crate::machine::halt::{Code, halt};
use crate::machine::{log, memory, time};
use spin::Once;
use x86_64::registers::control::Cr2;

const ILLEGAL_INSTRUCTION: u64 = 6;
const PAGE_FAULT: u64 = 14;

/// Carries out an instruction that the processor does not know; says whether it did.
pub type Handler = fn(&mut Trapped) -> bool;

static ILLEGAL: Once<Handler> = Once::new();

/// From now on `handler` is asked about instructions of the kernel that the processor refuses.
pub(crate) fn on_illegal_instruction(handler: Handler) {
    ILLEGAL.call_once(|| handler);
}

/// Kernel code that was stopped, as `entry.s` saves it.
#[derive(Debug)]
#[repr(C)]
pub struct Trapped {
    /// r11 to r8, rdi, rsi, rdx, rcx, rax.
    saved: [u64; 9],
    vector: u64,
    error: u64,
    pub(crate) rip: u64,
    cs: u64,
    pub(crate) rflags: u64,
    rsp: u64,
    ss: u64,
}

impl Trapped {
    pub(crate) const fn rax(&self) -> u64 {
        let [.., rax] = self.saved;
        rax
    }

    pub(crate) const fn rcx(&self) -> u64 {
        let [.., rcx, _] = self.saved;
        rcx
    }

    pub(crate) const fn rdx(&self) -> u64 {
        let [.., rdx, _, _] = self.saved;
        rdx
    }

    pub(crate) const fn set_rax(&mut self, value: u64) {
        let [.., rax] = &mut self.saved;
        *rax = value;
    }

    pub(crate) const fn set_rdx(&mut self, value: u64) {
        let [.., rdx, _, _] = &mut self.saved;
        *rdx = value;
    }
}

/// Called by `entry.s` with the frame on the kernel's stack.
#[unsafe(no_mangle)]
extern "C" fn kernel_trap(frame: &mut Trapped) {
    if frame.vector >= u64::from(FIRST_INTERRUPT) {
        time::apic::acknowledge(frame.vector);
        return;
    }
    if frame.vector == ILLEGAL_INSTRUCTION
        && let Some(handler) = ILLEGAL.get()
        && handler(frame)
    {
        return;
    }
    if frame.vector == PAGE_FAULT
        && let Some(resume) = memory::user::fixup(frame.rip)
    {
        frame.rip = resume;
        return;
    }
    log::line(format_args!(
        "trap {} in the payload: error {:#x}, rip {:#x}, rsp {:#x}, cr2 {:#x}",
        frame.vector,
        frame.error,
        frame.rip,
        frame.rsp,
        Cr2::read_raw(),
    ));
    halt(Code::Trap)
}
