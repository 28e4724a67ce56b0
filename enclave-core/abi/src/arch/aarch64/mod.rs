// SPDX-License-Identifier: MIT
//! `aarch64`: registers and machine names.

mod signal;

pub use signal::*;

use crate::structs::plain;
use crate::{Sysno, Timespec};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `e_machine` of programs that run here.
pub const ELF_MACHINE: u16 = 183;
/// `AT_HWCAP`: floating point and Advanced SIMD.
pub const HARDWARE_CAPABILITIES: u32 = 3;
/// `uname -m`, and `AT_PLATFORM`.
pub const MACHINE: &str = "aarch64";
/// Bytes of `struct epoll_event`: with padding before the data.
pub const EPOLL_EVENT_SIZE: usize = 16;
/// Where its data are.
pub const EPOLL_DATA_OFFSET: usize = 8;
/// `O_DIRECTORY` of `open(2)`.
pub const O_DIRECTORY: u32 = 0o40_000;
/// `O_NOFOLLOW` of `open(2)`.
pub const O_NOFOLLOW: u32 = 0o100_000;
/// `O_DIRECT` of `open(2)`.
pub const O_DIRECT: u32 = 0o200_000;
/// `O_LARGEFILE` of `open(2)`.
pub const O_LARGEFILE: u32 = 0o400_000;

/// The general registers of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// `x0` to `x30`.
    pub x: [u64; 31],
    /// The stack pointer.
    pub sp: u64,
    /// Where the program continues.
    pub pc: u64,
    /// Condition flags.
    pub pstate: u64,
}

impl Registers {
    /// The system call's number.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn number(&self) -> usize {
        let [_, _, _, _, _, _, _, _, x8, ..] = self.x;
        x8 as usize
    }

    /// The system call's six arguments.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn arguments(&self) -> [usize; 6] {
        let [x0, x1, x2, x3, x4, x5, ..] = self.x;
        [x0 as usize, x1 as usize, x2 as usize, x3 as usize, x4 as usize, x5 as usize]
    }

    /// Stores what the system call returns.
    #[expect(clippy::as_conversions, reason = "isize is 64 bits wide here")]
    pub const fn set_result(&mut self, value: isize) {
        let [x0, ..] = &mut self.x;
        *x0 = value.cast_unsigned() as u64;
    }

    /// What the result register holds.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn result(&self) -> usize {
        {
            let [x0, ..] = self.x;
            x0 as usize
        }
    }

    /// Arranges for the same system call to be made again on the next entry. `x0` is restored by
    /// the caller, which kept it.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn restart(&mut self, number: usize) {
        let [_, _, _, _, _, _, _, _, x8, ..] = &mut self.x;
        *x8 = number as u64;
        self.pc = self.pc.wrapping_sub(4); // the length of `svc`
    }

    /// Says that registers other than the result were changed since the thread trapped.
    pub const fn mark_edited(&mut self) {}

    /// Where the program continues.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn instruction_pointer(&self) -> usize {
        self.pc as usize
    }

    /// The stack pointer.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn stack_pointer(&self) -> usize {
        self.sp as usize
    }

    /// Sets the stack pointer.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub const fn set_stack_pointer(&mut self, address: usize) {
        self.sp = address as u64;
    }

    /// The state in which a program starts: all zero but these two.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub fn start(entry: usize, stack: usize) -> Self {
        Self { pc: entry as u64, sp: stack as u64, ..Self::default() }
    }
}

/// The `FPE_*` code of a floating-point exception: the state does not tell which one trapped.
pub const fn float_exception_code(_registers: &Registers, _extended: &[u8]) -> Option<i32> {
    const FPE_FLTUNK: i32 = 14;
    Some(FPE_FLTUNK)
}

/// `(child_tid, tls)` from the fourth and fifth argument of `clone(2)`.
pub const fn clone_tail(fourth: usize, fifth: usize) -> (usize, usize) {
    (fifth, fourth)
}

/// The number of a call on this processor.
pub const fn number_of(call: Sysno) -> Option<u16> {
    call.aarch64()
}

plain! {
    /// `struct stat` of `aarch64`.
    Stat (128) {
        dev: u64, ino: u64, mode: u32, nlink: u32, uid: u32, gid: u32, rdev: u64, pad: u64, size: i64,
        blksize: i32, pad2: i32, blocks: i64, atime: Timespec, mtime: Timespec, ctime: Timespec,
        reserved: [u32; 2],
    }
}
