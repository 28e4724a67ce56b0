// SPDX-License-Identifier: MIT
//! The frame of a signal handler on `x86_64` (Linux UAPI `asm/sigcontext.h`, `asm/ucontext.h`).
//!
//! From low to high: the return address, `ucontext_t`, `siginfo_t`; above them, 64-byte aligned,
//! the XSAVE area that the context points at, with Linux's marks in its software-reserved bytes.

use super::{ENTRY_FULL, FLAGS_FIXED, FLAGS_USER, Registers};
use crate::{SignalInfo, SignalStack};
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes below the stack pointer that a function may use without asking.
pub const RED_ZONE: usize = 128;
/// Bytes of return address, `ucontext_t` and `siginfo_t`.
pub const FRAME_SIZE: usize = size_of::<Frame>();

const UC_FP_XSTATE: u64 = 1;
const UC_SIGCONTEXT_SS: u64 = 2;
const UC_STRICT_RESTORE_SS: u64 = 4;
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
/// Where the software-reserved bytes of an XSAVE area are.
const SOFTWARE_AT: usize = 464;
/// Where its header is.
const HEADER_AT: usize = 512;
/// `DF`, `TF` and `RF` are clear in a handler.
const FLAGS_CLEARED: u64 = 0x400 | 0x100 | 0x1_0000;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Frame {
    return_address: u64,
    flags: u64,
    link: u64,
    stack: SignalStack,
    general: General,
    fault_address: u64,
    extended_at: u64,
    reserved: [u64; 8],
    mask: u64,
    info: SignalInfo,
}
const _: () = assert!(size_of::<Frame>() == 440);

/// `struct sigcontext`, up to `cr2`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct General {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    rflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    error: u64,
    vector: u64,
    old_mask: u64,
}

/// Software-reserved bytes of the XSAVE area (`struct _fpx_sw_bytes`).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Software {
    magic: u32,
    extended_size: u32,
    features: u64,
    state_size: u32,
    padding: [u32; 7],
}

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
    /// The XSAVE area to return to.
    pub extended: &'a [u8],
    /// The handler's address.
    pub handler: u64,
    /// The address that the handler returns to.
    pub restorer: u64,
}

/// What a frame gave back.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    /// Registers, with nothing that a program may not choose.
    pub registers: Registers,
    /// The signal mask.
    pub mask: u64,
    /// The alternate stack.
    pub stack: SignalStack,
    /// Where the XSAVE area lies, if there is one.
    pub extended_at: Option<u64>,
}

impl SignalFrame<'_> {
    /// The frame's address below `top`, its bytes up to `top`, and the handler's registers.
    #[expect(clippy::as_conversions, reason = "usize is 64 bits wide here")]
    pub fn build(&self, top: u64) -> (u64, Vec<u8>, Registers) {
        let extended_size = (self.extended.len() as u64).wrapping_add(4);
        let extended_at = top.wrapping_sub(extended_size) & !63;
        // As at a function's entry: 8 below a multiple of 16.
        let address = (extended_at.wrapping_sub(FRAME_SIZE as u64) & !15).wrapping_sub(8);
        let mut bytes = Vec::with_capacity(top.wrapping_sub(address) as usize);
        bytes.extend_from_slice(self.frame(extended_at).as_bytes());
        bytes.resize(extended_at.wrapping_sub(address) as usize, 0);
        self.append_extended(&mut bytes);
        (address, bytes, self.entered(address))
    }

    fn frame(&self, extended_at: u64) -> Frame {
        let from = self.registers;
        Frame {
            return_address: self.restorer,
            flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
            link: 0,
            stack: self.stack,
            general: General {
                r8: from.r8,
                r9: from.r9,
                r10: from.r10,
                r11: from.r11,
                r12: from.r12,
                r13: from.r13,
                r14: from.r14,
                r15: from.r15,
                rdi: from.rdi,
                rsi: from.rsi,
                rbp: from.rbp,
                rbx: from.rbx,
                rdx: from.rdx,
                rax: from.rax,
                rcx: from.rcx,
                rsp: from.rsp,
                rip: from.rip,
                rflags: from.rflags,
                cs: 0x33,
                gs: 0,
                fs: 0,
                ss: 0x2b,
                error: from.error,
                vector: if from.entry < 32 { from.entry } else { 0 },
                old_mask: self.mask,
            },
            fault_address: if from.entry == 14 { self.info.fields[0] } else { 0 },
            extended_at,
            reserved: [0; 8],
            mask: self.mask,
            info: self.info,
        }
    }

    #[expect(clippy::as_conversions, reason = "an XSAVE area has a few thousand bytes")]
    fn append_extended(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(self.extended);
        let software = Software {
            magic: MAGIC1,
            extended_size: (self.extended.len() as u32).wrapping_add(4),
            features: self.features(),
            state_size: self.extended.len() as u32,
            padding: [0; 7],
        };
        let at = start.wrapping_add(SOFTWARE_AT);
        if let Some(place) = bytes.get_mut(at..at.wrapping_add(size_of::<Software>())) {
            place.copy_from_slice(software.as_bytes());
        }
        bytes.extend_from_slice(&MAGIC2.to_le_bytes());
    }

    /// Components that the area has room for: x87 and SSE, and AVX behind the header.
    const fn features(&self) -> u64 {
        if self.extended.len() > HEADER_AT + 64 { 7 } else { 3 }
    }

    fn entered(&self, address: u64) -> Registers {
        Registers {
            rip: self.handler,
            rsp: address,
            rdi: u64::from(self.signal),
            rsi: address.wrapping_add(FRAME_INFO_AT),
            rdx: address.wrapping_add(CONTEXT_AT),
            rax: 0,
            rflags: (self.registers.rflags & !FLAGS_CLEARED) | FLAGS_FIXED,
            entry: ENTRY_FULL,
            ..*self.registers
        }
    }
}

/// Where `ucontext_t` lies in the frame.
const CONTEXT_AT: u64 = 8;
/// Where `siginfo_t` lies in the frame.
#[expect(clippy::as_conversions, reason = "a small constant")]
const FRAME_INFO_AT: u64 = core::mem::offset_of!(Frame, info) as u64;

/// Where the frame lies when `rt_sigreturn` is called: the return address has been popped.
pub const fn frame_address(registers: &Registers) -> u64 {
    registers.rsp.wrapping_sub(8)
}

/// Reads a frame back.
pub fn restore(bytes: &[u8; FRAME_SIZE], _at: u64) -> Option<Restored> {
    let frame = Frame::read_from_bytes(bytes).ok()?;
    let from = frame.general;
    Some(Restored {
        registers: Registers {
            r15: from.r15,
            r14: from.r14,
            r13: from.r13,
            r12: from.r12,
            rbp: from.rbp,
            rbx: from.rbx,
            r11: from.r11,
            r10: from.r10,
            r9: from.r9,
            r8: from.r8,
            rax: from.rax,
            rcx: from.rcx,
            rdx: from.rdx,
            rsi: from.rsi,
            rdi: from.rdi,
            entry: ENTRY_FULL,
            error: 0,
            rip: from.rip,
            cs: 0,
            rflags: (from.rflags & FLAGS_USER) | FLAGS_FIXED,
            rsp: from.rsp,
            ss: 0,
        },
        mask: frame.mask,
        stack: frame.stack,
        extended_at: (frame.extended_at != 0).then_some(frame.extended_at),
    })
}

/// Makes what a program left of its XSAVE area loadable: without Linux's mark it has only the
/// legacy part.
pub fn normalise_extended(area: &mut [u8]) {
    let marked = area
        .get(SOFTWARE_AT..)
        .and_then(|software| software.first_chunk::<4>())
        .is_some_and(|magic| u32::from_le_bytes(*magic) == MAGIC1);
    if let Some(software) = area.get_mut(SOFTWARE_AT..HEADER_AT) {
        software.fill(0);
    }
    if !marked && let Some([bits, header @ ..]) = area.get_mut(HEADER_AT..) {
        *bits = 3;
        header.fill(0);
    }
}
