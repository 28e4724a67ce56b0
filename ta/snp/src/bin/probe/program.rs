// SPDX-License-Identifier: MIT
//! User-mode programs and the space that they run in.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::arch::global_asm;
use strongroom_abi::arch::Registers;
use strongroom_snp::machine::Payload;
use strongroom_south::{Access, Context, Frames as _, Machine as _, PAGE_SIZE, Space, Trap};

global_asm!(include_str!("programs.s"));

unsafe extern "C" {
    static probe_programs: [u8; PAGE_SIZE];
}

pub(crate) const CODE: usize = 0x40_0000;
pub(crate) const STACK: usize = 0x7fff_0000_0000;
pub(crate) const DATA: usize = 0x1_0000_0000;

pub(crate) const READ: Access = Access { read: true, write: false, execute: false, shared: false };
pub(crate) const WRITE: Access = Access { write: true, ..READ };
pub(crate) const EXECUTE: Access = Access { execute: true, ..READ };

/// A space with code, a page of stack and a page of data.
pub(crate) fn space(machine: &'static Payload) -> Arc<dyn Space> {
    let space = machine.new_space().unwrap();
    let code = machine.allocate().unwrap();
    // SAFETY: the programs are read-only data of this image.
    let programs = unsafe { &probe_programs };
    machine.write(code, 0, programs);
    space.map(CODE, code, EXECUTE).unwrap();
    space.map(STACK - PAGE_SIZE, machine.allocate().unwrap(), WRITE).unwrap();
    space.map(DATA, machine.allocate().unwrap(), WRITE).unwrap();
    space
}

/// A thread at the beginning of a program slot.
pub(crate) fn thread(space: &Arc<dyn Space>, slot: usize) -> Box<dyn Context> {
    let mut context = Arc::clone(space).new_context().unwrap();
    *context.registers() = Registers::start(CODE + slot * 64, STACK);
    context
}

/// Runs the thread until it traps by itself: ticks come when they like.
pub(crate) fn enter(thread: &mut Box<dyn Context>) -> (Trap, &mut Registers) {
    loop {
        let trap = thread.enter(&mut |_| false).0;
        if trap != Trap::Interrupt {
            return (trap, thread.registers());
        }
    }
}
