// SPDX-License-Identifier: MIT
//! The frame of a signal handler on `aarch64` (Linux UAPI `asm/sigcontext.h`).
//!
//! From low to high: `siginfo_t`, `ucontext_t` with one FPSIMD record in its reserved bytes.

use super::Registers;
use crate::{SignalInfo, SignalStack};
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// This architecture has none.
pub const RED_ZONE: usize = 0;
/// Bytes of `siginfo_t` and `ucontext_t`, its reserved bytes not counted.
pub const FRAME_SIZE: usize = size_of::<Frame>();

/// Bytes reserved for records behind the general registers.
const RESERVED: usize = 4096;
const FPSIMD_MAGIC: u32 = 0x4650_8001;
/// Bytes of the FPSIMD record's head; FPSR, FPCR and the vectors follow.
const RECORD_HEAD: usize = 8;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Frame {
    info: SignalInfo,
    flags: u64,
    link: u64,
    stack: SignalStack,
    mask: u64,
    unused: [u64; 16],
    fault_address: u64,
    x: [u64; 31],
    sp: u64,
    pc: u64,
    pstate: u64,
    padding: u64,
}
const _: () = assert!(size_of::<Frame>() == 592);

/// What a frame is built from.
#[derive(Clone, Copy, Debug)]
pub struct SignalFrame<'a> {
    /// Its number.
    pub signal: u8,
    /// What the handler is told.
    pub info: SignalInfo,
    /// The mask to return to.
    pub mask: u64,
    /// The alternate stack.
    pub stack: SignalStack,
    /// The registers to return to.
    pub registers: &'a Registers,
    /// FPSR, FPCR and the 32 vector registers to return to.
    pub extended: &'a [u8],
    /// The handler's address.
    pub handler: u64,
    /// The address that the handler returns to.
    pub restorer: u64,
}

/// What a frame gave back.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    /// Registers.
    pub registers: Registers,
    /// The signal mask.
    pub mask: u64,
    /// The alternate stack.
    pub stack: SignalStack,
    /// Where FPSR, FPCR and the vector registers lie.
    pub extended_at: Option<u64>,
}

impl SignalFrame<'_> {
    /// The frame's address below `top`, its bytes, and the handler's registers.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub fn build(&self, top: u64) -> (u64, Vec<u8>, Registers) {
        let size = FRAME_SIZE.wrapping_add(RESERVED);
        let address = top.wrapping_sub(size as u64) & !15;
        let frame = Frame {
            info: self.info,
            flags: 0,
            link: 0,
            stack: self.stack,
            mask: self.mask,
            unused: [0; 16],
            fault_address: self.info.fields[0],
            x: self.registers.x,
            sp: self.registers.sp,
            pc: self.registers.pc,
            pstate: self.registers.pstate,
            padding: 0,
        };
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(frame.as_bytes());
        bytes.extend_from_slice(&FPSIMD_MAGIC.to_le_bytes());
        let record = RECORD_HEAD.wrapping_add(self.extended.len()) as u32;
        bytes.extend_from_slice(&record.to_le_bytes());
        bytes.extend_from_slice(self.extended);
        bytes.resize(size, 0);
        let mut registers = *self.registers;
        let [x0, x1, x2, .., x30] = &mut registers.x;
        *x0 = u64::from(self.signal);
        *x1 = address;
        *x2 = address.wrapping_add(size_of::<SignalInfo>() as u64);
        *x30 = self.restorer;
        registers.sp = address;
        registers.pc = self.handler;
        (address, bytes, registers)
    }
}

/// Where the frame lies when `rt_sigreturn` is called.
pub const fn frame_address(registers: &Registers) -> u64 {
    registers.sp
}

/// Reads a frame back.
#[expect(clippy::as_conversions, reason = "small constants")]
pub fn restore(bytes: &[u8; FRAME_SIZE], at: u64) -> Option<Restored> {
    let frame = Frame::read_from_bytes(bytes).ok()?;
    Some(Restored {
        registers: Registers { x: frame.x, sp: frame.sp, pc: frame.pc, pstate: frame.pstate },
        mask: frame.mask,
        stack: frame.stack,
        extended_at: at.checked_add((FRAME_SIZE + RECORD_HEAD) as u64),
    })
}

/// Nothing to be done: the vector registers can hold anything.
pub const fn normalise_extended(_area: &mut [u8]) {}
