// SPDX-License-Identifier: MIT
//! The two instructions of an SNP guest (AMD64 Architecture Programmer's Manual, volume 3).

use crate::machine::memory::direct;
use crate::sev::msr_protocol::GHCB_MSR;
use crate::sev::pages::Validated;
use crate::sev::state_change::{Block, Size};
use core::arch::asm;

/// Writes the GHCB's register, exits, and returns what the register holds then.
pub(crate) fn exit(register: u64) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the register belongs to the guest. What the host does at an exit is to write shared
    // memory, which no reference leads to, and the register. The three instructions stay together:
    // the simulation takes them as one.
    unsafe {
        asm!("wrmsr", "rep vmmcall", "rdmsr",
            in("ecx") GHCB_MSR,
            inout("eax") register as u32 => low,
            inout("edx") (register >> 32) as u32 => high,
            options(nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Changes the validated mark of a block of memory.
pub(crate) fn validate(block: Block, validated: bool) -> Validated {
    let address = direct::pointer::<u8>(block.address).addr() as u64;
    let size = u64::from(block.size == Size::Large);
    let (status, unchanged): (u64, u8);
    // SAFETY: the mark changes, not the contents. A page without it cannot be read or written; the
    // books in `memory` keep whoever uses pages away from those.
    unsafe {
        asm!("pvalidate", "setc {unchanged}",
            unchanged = out(reg_byte) unchanged,
            inout("rax") address => status, in("rcx") size, in("rdx") u64::from(validated),
            options(nostack));
    }
    match (status as u32, unchanged) {
        (0, 0) => Validated::Changed,
        (0, _) => Validated::Unchanged,
        (FAIL_SIZE_MISMATCH, _) => Validated::SizeMismatch,
        (status, _) => Validated::Failed(status),
    }
}

const FAIL_SIZE_MISMATCH: u32 = 6;
