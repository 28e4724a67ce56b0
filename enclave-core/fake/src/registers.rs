// SPDX-License-Identifier: MIT
//! Registers as a program uses them, on both processors.

use strongroom_abi::arch::Registers;

/// Bytes of the instruction that makes a system call.
#[cfg(target_arch = "x86_64")]
pub const RESTART_LENGTH: u64 = 2;
/// Bytes of the instruction that makes a system call.
#[cfg(target_arch = "aarch64")]
pub const RESTART_LENGTH: u64 = 4;

/// Bytes of floating-point and vector state.
#[cfg(target_arch = "x86_64")]
pub(crate) const EXTENDED_SIZE: usize = 832;
/// Bytes of floating-point and vector state.
#[cfg(target_arch = "aarch64")]
pub(crate) const EXTENDED_SIZE: usize = 520;

#[cfg(target_arch = "x86_64")]
mod processor {
    use super::Registers;
    use strongroom_abi::arch::ENTRY_SYSTEM_CALL;

    pub(crate) fn set_call(registers: &mut Registers, number: usize, arguments: [usize; 6]) {
        registers.rax = number as u64;
        registers.entry = ENTRY_SYSTEM_CALL;
        let [a, b, c, d, e, f] = arguments.map(|argument| argument as u64);
        (registers.rdi, registers.rsi, registers.rdx) = (a, b, c);
        (registers.r10, registers.r8, registers.r9) = (d, e, f);
    }

    pub(crate) fn set_code(registers: &mut Registers, address: u64) {
        registers.rip = address;
    }

    pub(crate) fn handler_arguments(registers: &Registers) -> [u64; 3] {
        [registers.rdi, registers.rsi, registers.rdx]
    }

    /// The handler's return pops the return address.
    pub(crate) fn leave_handler(registers: &mut Registers) {
        registers.rsp = registers.rsp.wrapping_add(8);
    }

    pub(crate) fn set_marker(registers: &mut Registers, value: u64) {
        registers.rbx = value;
    }

    pub(crate) fn marker(registers: &Registers) -> u64 {
        registers.rbx
    }
}

#[cfg(target_arch = "aarch64")]
mod processor {
    use super::Registers;

    pub(crate) fn set_call(registers: &mut Registers, number: usize, arguments: [usize; 6]) {
        registers.x[8] = number as u64;
        for (register, argument) in registers.x.iter_mut().zip(arguments) {
            *register = argument as u64;
        }
    }

    pub(crate) fn set_code(registers: &mut Registers, address: u64) {
        registers.pc = address;
    }

    pub(crate) fn handler_arguments(registers: &Registers) -> [u64; 3] {
        [registers.x[0], registers.x[1], registers.x[2]]
    }

    pub(crate) fn leave_handler(_registers: &mut Registers) {}

    pub(crate) fn set_marker(registers: &mut Registers, value: u64) {
        registers.x[19] = value;
    }

    pub(crate) fn marker(registers: &Registers) -> u64 {
        registers.x[19]
    }
}

pub(crate) use processor::{
    handler_arguments, leave_handler, marker, set_call, set_code, set_marker,
};
