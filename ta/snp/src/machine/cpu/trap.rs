// SPDX-License-Identifier: MIT
//! Traps out of kernel code: faults in user copies, and interrupts while waiting for one.

use super::descriptors::FIRST_INTERRUPT;
use crate::machine::halt::{Code, halt};
use crate::machine::{log, memory, time};
use x86_64::registers::control::Cr2;

const PAGE_FAULT: u64 = 14;

/// What `entry.s` saves.
#[repr(C)]
struct KernelFrame {
    saved: [u64; 9],
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Called by `entry.s` with the frame on the kernel's stack.
#[unsafe(no_mangle)]
extern "C" fn kernel_trap(frame: &mut KernelFrame) {
    if frame.vector >= u64::from(FIRST_INTERRUPT) {
        time::apic::acknowledge(frame.vector);
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
