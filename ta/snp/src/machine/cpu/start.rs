// SPDX-License-Identifier: MIT
//! Brings the boot processor into the state that the kernel runs in.

use super::descriptors::{self, KERNEL_CODE, SYSRET_BASE};
use super::features::Features;
use super::{BOOT_CPU, Cpu};
use core::arch::asm;
use x86_64::VirtAddr;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::model_specific::{GsBase, KernelGsBase, LStar, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

unsafe extern "C" {
    fn enter_system_call();
}

/// Loads control registers, segments, gates and the system call entry. Page tables come later: until
/// then those of `boot.s` are in use.
///
/// # Safety
///
/// Called once, by the boot processor.
pub(crate) unsafe fn start(features: &Features) {
    GsBase::write(VirtAddr::from_ptr(&raw const BOOT_CPU));
    KernelGsBase::write(VirtAddr::zero());
    control_registers(features);
    let task = BOOT_CPU.tss.get();
    // SAFETY: nobody else knows of the task state before it is loaded. It is packed, hence the copy.
    let mut filled = unsafe { task.read_unaligned() };
    descriptors::fill_task_state(&mut filled);
    // SAFETY: as above.
    unsafe { task.write_unaligned(filled) };
    // SAFETY: the task state is a static of this processor. Loading the null selector into gs is
    // not part of it, so the base that was set above stays.
    unsafe { descriptors::load(task) };
    system_calls();
}

fn control_registers(features: &Features) {
    let mut cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION
        | Cr4Flags::PAGE_GLOBAL
        | Cr4Flags::OSFXSR
        | Cr4Flags::OSXMMEXCPT_ENABLE
        | Cr4Flags::OSXSAVE
        | Cr4Flags::FSGSBASE
        | Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION
        | Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION;
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.umip);
    // SAFETY: `features` has what is set here, and no kernel code depends on what is not.
    unsafe { Cr4::write_raw(cr4.bits()) };
    let cr0 = Cr0Flags::PROTECTED_MODE_ENABLE
        | Cr0Flags::MONITOR_COPROCESSOR
        | Cr0Flags::EXTENSION_TYPE
        | Cr0Flags::NUMERIC_ERROR
        | Cr0Flags::WRITE_PROTECT
        | Cr0Flags::ALIGNMENT_MASK
        | Cr0Flags::PAGING;
    // SAFETY: protected mode with paging goes on; caches are on.
    unsafe { Cr0::write_raw(cr0.bits()) };
    let components = XCr0Flags::from_bits_truncate(features.extended.components);
    // SAFETY: the processor offers these components; the kernel itself uses none of them.
    unsafe { XCr0::write(components) };
    let efer = EferFlags::SYSTEM_CALL_EXTENSIONS
        | EferFlags::LONG_MODE_ENABLE
        | EferFlags::LONG_MODE_ACTIVE
        | EferFlags::NO_EXECUTE_ENABLE;
    // SAFETY: long mode goes on, with the extensions that `features` has.
    unsafe { Efer::write(efer) };
}

/// Whether the registers that were switched on still are, now that the host has had its turns. A
/// hypervisor that does not notice the change undoes it, and threads would see each other's vectors:
/// KVM is one on processors that QEMU emulates.
pub(crate) fn components_stay(features: &Features) -> bool {
    XCr0::read().bits() == features.extended.components
}

fn system_calls() {
    // SAFETY: the selectors are in the order that the instructions want, see `descriptors`.
    unsafe { Star::write_raw(SYSRET_BASE, KERNEL_CODE) };
    let entry: unsafe extern "C" fn() = enter_system_call;
    LStar::write(VirtAddr::from_ptr(entry as *const ()));
    SFMask::write(
        RFlags::INTERRUPT_FLAG
            | RFlags::TRAP_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::IOPL_LOW
            | RFlags::IOPL_HIGH
            | RFlags::NESTED_TASK
            | RFlags::RESUME_FLAG
            | RFlags::ALIGNMENT_CHECK,
    );
}

impl Cpu {
    /// Which `MXCSR` bits exist.
    pub(crate) fn mxcsr_mask() -> u32 {
        #[repr(C, align(16))]
        struct Area([u32; 128]);
        let mut area = Area([0; 128]);
        // SAFETY: the area has the size and alignment that the instruction wants.
        unsafe { asm!("fxsave64 [{}]", in(reg) &raw mut area, options(nostack)) };
        match area.0.get(7) {
            None | Some(0) => crate::extended::MXCSR_MASK_DEFAULT,
            Some(mask) => *mask,
        }
    }
}
