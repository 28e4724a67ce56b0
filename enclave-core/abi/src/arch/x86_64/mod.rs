// SPDX-License-Identifier: MIT
//! `x86_64`: registers and machine names.

mod float;
mod signal;

pub use float::float_exception_code;
pub use signal::*;

use crate::structs::plain;
use crate::{Sysno, Timespec};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `e_machine` of programs that run here.
pub const ELF_MACHINE: u16 = 62;
/// `AT_HWCAP`: the feature bits that `CPUID` leaf 1 gives in `edx` on every x86_64 processor.
pub const HARDWARE_CAPABILITIES: u32 = 0x178b_fbff;
/// `uname -m`, and `AT_PLATFORM`.
pub const MACHINE: &str = "x86_64";
/// Bytes of `struct epoll_event`: packed here, as on 32-bit x86.
pub const EPOLL_EVENT_SIZE: usize = 12;
/// Where its data are.
pub const EPOLL_DATA_OFFSET: usize = 4;
/// `O_DIRECT` of `open(2)`.
pub const O_DIRECT: u32 = 0o40_000;
/// `O_LARGEFILE` of `open(2)`.
pub const O_LARGEFILE: u32 = 0o100_000;
/// `O_DIRECTORY` of `open(2)`.
pub const O_DIRECTORY: u32 = 0o200_000;
/// `O_NOFOLLOW` of `open(2)`.
pub const O_NOFOLLOW: u32 = 0o400_000;

/// [`Registers::entry`] after a system call whose registers nobody edited since: the platform may
/// return by the short way, which loses `rcx` and `r11`.
pub const ENTRY_SYSTEM_CALL: u64 = 0x100;
/// [`Registers::entry`] of registers that must be restored in full.
pub const ENTRY_FULL: u64 = 0x101;

/// `rflags` bits that a program may choose: CF, PF, AF, ZF, SF, DF, OF, NT, AC, ID.
pub const FLAGS_USER: u64 = 0x0024_4cd5;
/// `rflags` that every program runs with: IF and the bit that is always one.
pub const FLAGS_FIXED: u64 = 0x202;

/// The general registers of a thread, in the order in which the payload's entry code saves them.
#[expect(missing_docs, reason = "the names are the processor's")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// How the thread came in: an exception's vector, [`ENTRY_SYSTEM_CALL`] or [`ENTRY_FULL`].
    pub entry: u64,
    /// The error code of an exception.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl Registers {
    /// The system call's number.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn number(&self) -> usize {
        self.rax as usize
    }

    /// The system call's six arguments.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn arguments(&self) -> [usize; 6] {
        [
            self.rdi as usize,
            self.rsi as usize,
            self.rdx as usize,
            self.r10 as usize,
            self.r8 as usize,
            self.r9 as usize,
        ]
    }

    /// Stores what the system call returns. Keeps the short way out open.
    #[expect(clippy::as_conversions, reason = "isize is 64 bits wide here")]
    pub const fn set_result(&mut self, value: isize) {
        self.rax = value.cast_unsigned() as u64;
    }

    /// What the result register holds.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn result(&self) -> usize {
        self.rax as usize
    }

    /// Arranges for the same system call to be made again on the next entry.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn restart(&mut self, number: usize) {
        self.rax = number as u64;
        self.rip = self.rip.wrapping_sub(2); // the length of `syscall`
        self.entry = ENTRY_FULL;
    }

    /// Says that registers other than the result were changed since the thread trapped.
    pub const fn mark_edited(&mut self) {
        self.entry = ENTRY_FULL;
    }

    /// Where the program continues.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn instruction_pointer(&self) -> usize {
        self.rip as usize
    }

    /// The stack pointer.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn stack_pointer(&self) -> usize {
        self.rsp as usize
    }

    /// Sets the stack pointer.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn set_stack_pointer(&mut self, address: usize) {
        self.rsp = address as u64;
        self.entry = ENTRY_FULL;
    }

    /// The state in which a program starts: all zero but these two.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub fn start(entry: usize, stack: usize) -> Self {
        Self {
            rip: entry as u64,
            rsp: stack as u64,
            rflags: FLAGS_FIXED,
            entry: ENTRY_FULL,
            ..Self::default()
        }
    }
}

/// `(child_tid, tls)` from the fourth and fifth argument of `clone(2)`.
pub const fn clone_tail(fourth: usize, fifth: usize) -> (usize, usize) {
    (fourth, fifth)
}

/// The number of a call on this processor.
pub const fn number_of(call: Sysno) -> Option<u16> {
    call.x86_64()
}

plain! {
    /// `struct stat` of `x86_64`.
    Stat (144) {
        dev: u64, ino: u64, nlink: u64, mode: u32, uid: u32, gid: u32, pad: u32, rdev: u64, size: i64,
        blksize: i64, blocks: i64, atime: Timespec, mtime: Timespec, ctime: Timespec, reserved: [i64; 3],
    }
}
