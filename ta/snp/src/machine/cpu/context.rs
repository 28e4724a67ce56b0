// SPDX-License-Identifier: MIT
//! Threads: what user mode leaves in the processor, and how it is exchanged.

use super::descriptors::{self, USER_CODE, USER_DATA};
use super::{Cpu, State, features};
use crate::extended::{self, AREA_MAX};
use crate::machine::halt::{Code, halt};
use crate::machine::memory::space::PagedSpace;
use crate::machine::memory::user::USER_END;
use crate::machine::{sev, time};
use crate::sev::doorbell;
use crate::sev::intercept::{Reason, cpuid_length};
use alloc::sync::Arc;
use core::arch::{asm, global_asm};
use core::mem::{offset_of, size_of};
use core::ptr;
use strongroom_abi::arch::{ENTRY_FULL, ENTRY_SYSTEM_CALL, FLAGS_FIXED, FLAGS_USER, Registers};
use strongroom_south::{Answer, BadState, Context, Exception, Space as _, Trap};
use x86_64::registers::control::Cr2;

global_asm!(
    include_str!("entry.s"),
    FRAME_LENGTH = const size_of::<Registers>(),
    KERNEL_STACK = const offset_of!(Cpu, kernel_stack),
    SCRATCH = const offset_of!(Cpu, scratch),
    FRAME_END = const offset_of!(Cpu, tss) + 4,
    ENTRY_SYSTEM_CALL = const ENTRY_SYSTEM_CALL,
    FLAGS_USER = const FLAGS_USER,
    FLAGS_FIXED = const FLAGS_FIXED,
    DOORBELL = const offset_of!(Cpu, doorbell),
    PENDING = const doorbell::PENDING,
    ENTRY_INJECTION = const HYPERVISOR_INJECTION,
);

unsafe extern "C" {
    fn enter_thread_after_call(registers: *mut Registers);
    fn enter_thread(registers: *mut Registers);
}

/// Vector of `#VC`.
const VMM_COMMUNICATION: u64 = 29;
/// Vector of `#HV`, which is also what user mode that was not entered is left by.
const HYPERVISOR_INJECTION: u64 = descriptors::HYPERVISOR_INJECTION as u64;

/// The processor aligns the stack pointer to 16 before it pushes.
const _: () = assert!(size_of::<Registers>().is_multiple_of(16));

/// A thread's registers.
#[repr(C, align(64))]
pub(crate) struct Frame {
    registers: Registers,
    fs_base: u64,
    gs_base: u64,
    extended: Area,
}

#[repr(C, align(64))]
struct Area([u8; AREA_MAX]);

/// A thread in an address space.
pub(crate) struct PagedContext {
    frame: Frame,
    space: Arc<PagedSpace>,
}

impl PagedContext {
    /// With all registers zero.
    pub(crate) fn new(space: Arc<PagedSpace>) -> Self {
        let registers =
            Registers { entry: ENTRY_FULL, rflags: FLAGS_FIXED, ..Registers::default() };
        let extended = Area(extended::initial());
        Self { frame: Frame { registers, fs_base: 0, gs_base: 0, extended }, space }
    }

    /// Whether the processor holds this thread's extended state and segment bases.
    fn is_owner(&self) -> bool {
        ptr::eq(Cpu::current().state().owner, &raw const self.frame)
    }

    /// Loads what is not loaded of this thread.
    #[cold]
    #[inline(never)]
    fn make_ready(&mut self) {
        let cpu = Cpu::current();
        cpu.load_root(self.space.root());
        let frame = &raw mut self.frame;
        let owner = cpu.state().owner;
        if owner != frame {
            if !owner.is_null() {
                // SAFETY: an owner is a live frame, see `drop`; it is another one than `self`'s.
                unsafe { save(owner) };
            }
            // SAFETY: this frame is live, and its extended state was checked or saved.
            unsafe { restore(frame) };
            let end = frame as u64;
            cpu.set_trap_stack(end.wrapping_add(size_of::<Registers>() as u64));
        }
        cpu.set_state(State { ready: frame, owner: frame, ..cpu.state() });
    }

    /// Registers that were edited become what user mode may have.
    #[inline]
    fn sanitise(registers: &mut Registers) {
        registers.cs = u64::from(USER_CODE);
        registers.ss = u64::from(USER_DATA);
        registers.rflags = registers.rflags & FLAGS_USER | FLAGS_FIXED;
    }

    /// What a vector means.
    #[cold]
    fn trap(registers: &Registers) -> Trap {
        match registers.entry {
            0 => Trap::Exception(Exception::IntegerDivide),
            1 => Trap::Exception(Exception::Step),
            3 => Trap::Exception(Exception::Breakpoint),
            6 | 7 => Trap::Exception(Exception::IllegalInstruction),
            14 => Trap::PageFault {
                address: Cr2::read_raw() as usize,
                write: registers.error & 2 != 0,
                fetch: registers.error & 16 != 0,
            },
            16 | 19 => Trap::Exception(Exception::FloatingPoint),
            17 => Trap::Exception(Exception::Alignment),
            4 | 5 | 9..=13 | 15 | 18 | 20..=27 | 30 | 31 => Trap::Exception(Exception::Protection),
            HYPERVISOR_INJECTION => {
                sev::injection::take();
                Trap::Interrupt
            }
            vector => {
                time::apic::acknowledge(vector);
                Trap::Interrupt
            }
        }
    }
}

/// Does what the processor has left to us, and lets the thread go on behind it.
#[cold]
fn intercepted(space: &PagedSpace, registers: &mut Registers) -> Result<(), Exception> {
    match Reason::of(registers.error) {
        Reason::Cpuid => {}
        // Nothing can be relied on any more.
        Reason::NotValidated => halt(Code::BadPages),
        Reason::Other => return Err(Exception::IllegalInstruction),
    }
    let length = cpuid_length(|at| {
        let mut byte = [0];
        let address = usize::try_from(registers.rip).ok()?.checked_add(at)?;
        space.copy_in(address, &mut byte).ok().map(|()| byte[0])
    });
    let length = length.ok_or(Exception::IllegalInstruction)?;
    // The upper halves of the registers count for nothing, and are zero afterwards.
    let values = features::for_programs(registers.rax as u32, registers.rcx as u32);
    registers.rax = u64::from(values.eax);
    registers.rbx = u64::from(values.ebx);
    registers.rcx = u64::from(values.ecx);
    registers.rdx = u64::from(values.edx);
    registers.rip = registers.rip.wrapping_add(length as u64);
    Ok(())
}

impl Cpu {
    /// Where the processor pushes when user mode traps.
    fn set_trap_stack(&self, end: u64) {
        let slot = self.tss.get().wrapping_byte_add(4).cast::<u64>();
        // SAFETY: `rsp0` is at offset 4 of the task state (AMD64 Architecture Programmer's Manual
        // volume 2, figure 12-8), which is this processor's; 8-aligned, see `Cpu`.
        unsafe { slot.write_volatile(end) };
    }
}

/// Saves what `frame`'s thread has in the processor.
///
/// # Safety
///
/// `frame` is live and owns the processor's state.
unsafe fn save(frame: *mut Frame) {
    // SAFETY: the caller's frame is live.
    let area = unsafe { &raw mut (*frame).extended };
    let (fs_base, gs_base): (u64, u64);
    // SAFETY: the area is aligned to 64 and as large as the enabled components need. Between the
    // two `swapgs`, the base is the user's and nothing uses it.
    unsafe {
        asm!("xsave64 [{area}]", "rdfsbase {fs}", "swapgs", "rdgsbase {gs}", "swapgs",
            area = in(reg) area, fs = out(reg) fs_base, gs = out(reg) gs_base,
            in("eax") u32::MAX, in("edx") u32::MAX, options(nostack));
    }
    // SAFETY: the caller's frame is live.
    unsafe { (*frame).fs_base = fs_base };
    // SAFETY: the caller's frame is live.
    unsafe { (*frame).gs_base = gs_base };
}

/// Loads what `frame` holds.
///
/// # Safety
///
/// `frame` is live, and its extended state loads without a fault.
unsafe fn restore(frame: *mut Frame) {
    // SAFETY: the caller's frame is live.
    let area = unsafe { &raw mut (*frame).extended };
    // SAFETY: the caller's frame is live.
    let fs_base = unsafe { (*frame).fs_base };
    // SAFETY: the caller's frame is live.
    let gs_base = unsafe { (*frame).gs_base };
    // SAFETY: the caller vouches for the area; bases are those of user space or what user mode
    // itself had set, hence canonical. `swapgs` as in `save`.
    unsafe {
        asm!("xrstor64 [{area}]", "wrfsbase {fs}", "swapgs", "wrgsbase {gs}", "swapgs",
            area = in(reg) area, fs = in(reg) fs_base, gs = in(reg) gs_base,
            in("eax") u32::MAX, in("edx") u32::MAX, options(nostack));
    }
}

impl Context for PagedContext {
    #[inline]
    fn registers(&mut self) -> &mut Registers {
        &mut self.frame.registers
    }

    fn enter(&mut self, answer: Answer<'_>) -> (Trap, &mut Registers) {
        if !ptr::eq(Cpu::current().state().ready, &raw const self.frame) {
            self.make_ready();
        }
        let registers = &mut self.frame.registers;
        if registers.rip >= USER_END as u64 {
            return (Trap::Exception(Exception::Protection), registers);
        }
        loop {
            if registers.entry == ENTRY_SYSTEM_CALL {
                // SAFETY: the thread's space is loaded and its frame's end is where traps go; the
                // address to go on at is canonical: checked above, or the processor's.
                unsafe { enter_thread_after_call(registers) };
            } else {
                Self::sanitise(registers);
                // SAFETY: as above, and selectors and flags are those of user mode.
                unsafe { enter_thread(registers) };
            }
            if registers.entry == VMM_COMMUNICATION {
                if let Err(exception) = intercepted(&self.space, registers) {
                    return (Trap::Exception(exception), registers);
                }
                continue;
            }
            if registers.entry != ENTRY_SYSTEM_CALL {
                return (Self::trap(registers), registers);
            }
            if !answer(registers) {
                return (Trap::SystemCall, registers);
            }
        }
    }

    fn thread_pointer(&mut self) -> u64 {
        if !self.is_owner() {
            return self.frame.fs_base;
        }
        let base;
        // SAFETY: reading the base has no effect; `fs` is the user's throughout.
        unsafe { asm!("rdfsbase {}", out(reg) base, options(nostack, nomem)) };
        base
    }

    fn set_thread_pointer(&mut self, address: u64) {
        let base = if address < USER_END as u64 { address } else { 0 };
        self.frame.fs_base = base;
        if self.is_owner() {
            // SAFETY: the address is canonical, and the kernel does not use `fs`.
            unsafe { asm!("wrfsbase {}", in(reg) base, options(nostack, nomem)) };
        }
    }

    fn extended_state(&mut self) -> &[u8] {
        if self.is_owner() {
            // SAFETY: this frame is live and the owner.
            unsafe { save(&raw mut self.frame) };
        }
        let length = features::extended().length;
        self.frame.extended.0.get(..length).unwrap_or(&[])
    }

    fn set_extended_state(&mut self, state: &[u8]) -> Result<(), BadState> {
        extended::check(state, &features::extended())?;
        if self.is_owner() {
            // The bases stay; what else is in the processor is void.
            // SAFETY: this frame is live and the owner.
            unsafe { save(&raw mut self.frame) };
            disown(&raw const self.frame);
        }
        let area = self.frame.extended.0.get_mut(..state.len()).ok_or(BadState)?;
        area.copy_from_slice(state);
        Ok(())
    }
}

/// Makes the processor forget whose state it holds, if it is this frame's.
fn disown(frame: *const Frame) {
    let cpu = Cpu::current();
    let state = cpu.state();
    if ptr::eq(state.owner, frame) {
        cpu.set_state(State { ready: ptr::null(), owner: ptr::null_mut(), ..state });
    }
}

impl Drop for PagedContext {
    fn drop(&mut self) {
        disown(&raw const self.frame);
    }
}
