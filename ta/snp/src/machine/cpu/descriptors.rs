// SPDX-License-Identifier: MIT
//! Segments, the task state, and gates.

use crate::machine::memory::table::PAGE;
use core::cell::UnsafeCell;
use core::mem::size_of;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, SS, Segment as _};
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

/// Selectors. The order is what `syscall` and `sysret` want, with the values that Linux programs
/// see: `sysret` takes ss from 8 and cs from 16 behind the base in `STAR`.
pub(crate) const KERNEL_CODE: u16 = 0x10;
pub(crate) const SYSRET_BASE: u16 = 0x23;
pub(crate) const USER_DATA: u16 = 0x2b;
pub(crate) const USER_CODE: u16 = 0x33;

/// Vectors below are exceptions.
pub(crate) const FIRST_INTERRUPT: u8 = 32;

const NON_MASKABLE: usize = 2;
const BREAKPOINT: usize = 3;
const DOUBLE_FAULT: usize = 8;
const MACHINE_CHECK: usize = 18;
pub(crate) const HYPERVISOR_INJECTION: usize = 28;
const VMM_COMMUNICATION: usize = 29;
/// Exceptions that may come when the stack pointer is not a stack's, each with its own stack.
const OWN_STACKS: [usize; 5] =
    [DOUBLE_FAULT, NON_MASKABLE, MACHINE_CHECK, VMM_COMMUNICATION, HYPERVISOR_INJECTION];

#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; PAGE as usize]>);

// SAFETY: only the processor writes here, when it takes one of the exceptions.
unsafe impl Sync for Stack {}

static STACKS: [Stack; OWN_STACKS.len()] =
    [const { Stack(UnsafeCell::new([0; PAGE as usize])) }; OWN_STACKS.len()];

static SEGMENTS: Once<GlobalDescriptorTable<10>> = Once::new();
static GATES: Once<[Gate; 256]> = Once::new();

unsafe extern "C" {
    static trap_stubs: [u8; 16];
}

/// An interrupt gate (AMD64 Architecture Programmer's Manual volume 2, 4.8.4).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    low: u64,
    high: u64,
}

impl Gate {
    /// To a stub, with interrupts off; `stack` is 0 for the stack as it is.
    const fn new(stub: u64, stack: u64, from_user: bool) -> Self {
        let privilege = if from_user { 3 << 45 } else { 0 };
        let low = stub & 0xffff
            | (KERNEL_CODE as u64) << 16
            | stack << 32
            | 0x8e << 40
            | privilege
            | (stub >> 16 & 0xffff) << 48;
        Self { low, high: stub >> 32 }
    }
}

/// Gives the task state its stacks.
pub(crate) fn fill_task_state(task: &mut TaskStateSegment) {
    // The structure is packed: its table is set as a whole.
    let mut tops = [VirtAddr::zero(); 7];
    for (slot, stack) in tops.iter_mut().zip(&STACKS) {
        *slot = VirtAddr::new_truncate((stack.0.get() as u64).wrapping_add(PAGE));
    }
    task.interrupt_stack_table = tops;
    task.iomap_base = size_of::<TaskStateSegment>() as u16;
}

/// Loads segments, task state and gates.
///
/// # Safety
///
/// `task` is the processor's for good.
pub(crate) unsafe fn load(task: *const TaskStateSegment) {
    let segments = SEGMENTS.call_once(|| segments(task));
    segments.load();
    // SAFETY: the selector is that of a 64-bit code segment in the table that was just loaded.
    unsafe { CS::set_reg(SegmentSelector(KERNEL_CODE)) };
    // SAFETY: the null selector is good for ss in 64-bit kernel code.
    unsafe { SS::set_reg(SegmentSelector(0)) };
    // SAFETY: the selector is that of the task state.
    unsafe { load_tss(SegmentSelector(0x40)) };
    let gates = GATES.call_once(gates);
    let pointer = DescriptorTablePointer {
        limit: size_of::<[Gate; 256]>().wrapping_sub(1) as u16,
        base: VirtAddr::from_ptr(gates),
    };
    // SAFETY: the gates are static and lead to the stubs of `entry.s`.
    unsafe { lidt(&pointer) };
}

fn segments(task: *const TaskStateSegment) -> GlobalDescriptorTable<10> {
    let mut table = GlobalDescriptorTable::empty();
    table.append(Descriptor::UserSegment(0));
    table.append(Descriptor::kernel_code_segment());
    table.append(Descriptor::kernel_data_segment());
    // Where `sysret` would look for 32-bit code: user programs have none.
    table.append(Descriptor::UserSegment(0));
    table.append(Descriptor::user_data_segment());
    table.append(Descriptor::user_code_segment());
    table.append(Descriptor::UserSegment(0));
    // SAFETY: the caller of `load` gives the task state away for good.
    table.append(unsafe { Descriptor::tss_segment_unchecked(task) });
    table
}

fn gates() -> [Gate; 256] {
    let stubs = (&raw const trap_stubs).addr() as u64;
    core::array::from_fn(|vector| {
        let stub = stubs.wrapping_add((vector as u64).wrapping_mul(16));
        let own = OWN_STACKS.iter().position(|own| *own == vector);
        let stack = own.map_or(0, |index| (index as u64).wrapping_add(1));
        Gate::new(stub, stack, vector == BREAKPOINT)
    })
}
