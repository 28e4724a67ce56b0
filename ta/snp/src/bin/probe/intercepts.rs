// SPDX-License-Identifier: MIT
//! Exceptions of the hypervisor's making, which no emulated processor raises: a gate that user mode may
//! use pushes the error code that hardware would have pushed, and goes on to the payload's own stub.

use crate::program::{enter, space, thread};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::arch::global_asm;
use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicU64, Ordering};
use strongroom_snp::machine::Payload;
use strongroom_south::{Exception, Trap};
use x86_64::VirtAddr;
use x86_64::instructions::tables::{lidt, sidt};
use x86_64::structures::DescriptorTablePointer;

/// Vector of `#VC`, and where its gate is in the table.
const VECTOR: usize = 29;
const ENTRIES: usize = 256;
/// `VMEXIT_CPUID`, `VMEXIT_IOIO`.
const CPUID: u64 = 0x72;
const PORT: u64 = 0x7b;

global_asm!(
    ".globl probe_exception",
    "probe_exception:",
    "push qword ptr [rip + {code}]",
    "jmp qword ptr [rip + {stub}]",
    code = sym EXIT_CODE,
    stub = sym STUB,
);

unsafe extern "C" {
    static probe_exception: [u8; 1];
}

/// The error code that the gate pushes, and where it goes on.
static EXIT_CODE: AtomicU64 = AtomicU64::new(0);
static STUB: AtomicU64 = AtomicU64::new(0);

/// A gate's two words.
type Gate = [u64; 2];

/// What came of it, a line each.
pub(crate) fn run(machine: &'static Payload) -> String {
    redirect();
    let space = space(machine);
    let try_one = |slot: usize, code: u64, leaf: u32| {
        EXIT_CODE.store(code, Ordering::Relaxed);
        let mut thread = thread(&space, slot);
        thread.registers().rax = 0xffff_ffff_0000_0000 | u64::from(leaf);
        thread.registers().rcx = 0;
        thread.registers().r12 = 0x1234;
        let (trap, registers) = enter(&mut thread);
        (trap, [registers.rax, registers.rbx, registers.rcx, registers.rdx], registers.r12)
    };
    let mut text = String::new();
    // The call behind the instruction is reached, and the registers have the leaf's values.
    let (trap, values, kept) = try_one(9, CPUID, 0);
    let truth = __cpuid_count(0, 0);
    let truth = [truth.eax, truth.ebx, truth.ecx, truth.edx].map(u64::from);
    // The system call's number and its return address are in two of them.
    let same = values[1] == truth[1] && values[3] == truth[3] && kept == 0x1234;
    text += &format!("intercepted-cpuid {}\n", trap == Trap::SystemCall && same);
    let illegal = Trap::Exception(Exception::IllegalInstruction);
    text += &format!("forged-reason {}\n", try_one(10, CPUID, 0).0 == illegal);
    text += &format!("other-reason {}\n", try_one(9, PORT, 0).0 == illegal);
    text
}

/// Lets user mode through the gate, by way of the error code.
fn redirect() {
    let loaded = sidt();
    let gates: *const [Gate; ENTRIES] = loaded.base.as_ptr();
    // SAFETY: the payload's table of gates, all of it.
    let table = Box::leak(Box::new(unsafe { gates.read() }));
    let [low, high] = &mut table[VECTOR];
    let stub = *low & 0xffff | *low >> 48 << 16 | *high << 32;
    STUB.store(stub, Ordering::Relaxed);
    let here = (&raw const probe_exception) as u64;
    // Segment, stack and kind stay.
    *low = *low & 0x0000_ffff_ffff_0000 | here & 0xffff | 3 << 45 | (here >> 16 & 0xffff) << 48;
    *high = here >> 32;
    let changed = DescriptorTablePointer { base: VirtAddr::from_ptr(table), ..loaded };
    // SAFETY: the same gates but for one, which leads to the payload's stub.
    unsafe { lidt(&changed) };
}
