// SPDX-License-Identifier: MIT
//! What an emulated processor lacks of an SNP guest's: `VMGEXIT`, `PVALIDATE`, and `#HV` of a host's.
//!
//! It raises an exception at the instructions, and the handler here stands in for them. It keeps the marks of
//! the reverse map table, which lies in front of the payload, and rings for the
//! host process at exits. Only images for the simulation have it: see [`Image`](super::Image).
//!
//! It cannot stand in for what hardware does at other accesses: pages without the mark can be read
//! here, and the host can read all of them.

use super::StandIn;
use super::cpu::{descriptors::HYPERVISOR_INJECTION, trap::Trapped};
use super::halt::{Code, halt};
use super::host::port;
use super::memory::{direct, image};
use super::time::apic::{Apic, TIMER};
use crate::sev::doorbell;
use crate::sev::msr_protocol::GHCB_MSR;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, Ordering};
use strongroom_snp_layout::simulation::{
    ASSIGNED, BELL_PORT, DONE, EXIT, MAILBOX, PAGES, PAGES_MAX, REGISTER, TABLE, VALIDATED,
};

const VMGEXIT: [u8; 4] = [0xf3, 0x0f, 0x01, 0xd9];
const PVALIDATE: [u8; 4] = [0xf2, 0x0f, 0x01, 0xff];
const RDMSR: [u8; 2] = [0x0f, 0x32];
const FAIL_INPUT: u64 = 1;
const FAIL_SIZE_MISMATCH: u64 = 6;
const CARRY: u64 = 1;
/// Pages of 4 KiB in one of 2 MiB.
const LARGE: u64 = 512;

/// All of it.
pub const STAND_IN: StandIn = StandIn { illegal_instruction, deliver };

/// The interrupt controller raised `#HV` itself: the doorbell page says so now, and not of which of its
/// two interrupts, since both mean the same.
fn deliver(doorbell: &AtomicU32) {
    let raised = |apic: &Apic| apic.is_in_service(HYPERVISOR_INJECTION as u8);
    if Apic::get().is_some_and(raised) {
        doorbell.store(doorbell::interrupt(TIMER), Ordering::Release);
    }
}

/// Carries out an instruction of an SNP guest at which kernel code was stopped; says whether it was
/// one.
fn illegal_instruction(frame: &mut Trapped) -> bool {
    let Some(bytes) = image::code::<6>(frame.rip) else { return false };
    let [a, b, c, d, behind @ ..] = bytes;
    match [a, b, c, d] {
        VMGEXIT if frame.rcx() as u32 == GHCB_MSR => {
            exit(frame, behind == RDMSR);
            true
        }
        PVALIDATE => {
            validate(frame);
            true
        }
        _ => false,
    }
}

/// The emulated processor let the register be written, and forgot it: its value is still where
/// `WRMSR` took it from, and the host's goes where `RDMSR` would leave it.
fn exit(frame: &mut Trapped, reads_register: bool) {
    let number = mailbox(EXIT).wrapping_add(1);
    set_mailbox(REGISTER, frame.rdx() << 32 | frame.rax() & 0xffff_ffff);
    set_mailbox(EXIT, number);
    port::write_u8(BELL_PORT, b'!');
    while mailbox(DONE) != number {
        spin_loop();
    }
    frame.rip = frame.rip.wrapping_add(4);
    if reads_register {
        let value = mailbox(REGISTER);
        frame.set_rax(value & 0xffff_ffff);
        frame.set_rdx(value >> 32);
        frame.rip = frame.rip.wrapping_add(2);
    }
}

fn validate(frame: &mut Trapped) {
    let count = if frame.rcx() & 1 == 0 { 1 } else { LARGE };
    let wanted = if frame.rdx() & 1 == 0 { 0 } else { VALIDATED };
    let first = frame.rax().wrapping_sub(direct::DIRECT_MAP) >> 12;
    let (status, unchanged) = change_marks(first, count, wanted);
    frame.set_rax(status);
    frame.rflags = frame.rflags & !CARRY | if unchanged { CARRY } else { 0 };
    frame.rip = frame.rip.wrapping_add(4);
}

/// The status, and whether the marks were so already.
fn change_marks(first: u64, count: u64, wanted: u8) -> (u64, bool) {
    let pages = mailbox(PAGES).min(PAGES_MAX);
    let inside = first.checked_add(count).is_some_and(|end| end <= pages);
    if !inside || !first.is_multiple_of(count) {
        return (FAIL_INPUT, false);
    }
    let range = first..first.wrapping_add(count);
    let state = entry(first);
    for page in range.clone() {
        let other = entry(page);
        if other & ASSIGNED == 0 {
            // Hardware would leave the guest for good: only the host can go on from there.
            halt(Code::ForeignPage);
        }
        if other != state {
            return (FAIL_SIZE_MISMATCH, false);
        }
    }
    for page in range {
        set_entry(page, ASSIGNED | wanted);
    }
    (0, state & VALIDATED == wanted)
}

fn mailbox(word: u64) -> u64 {
    let at = direct::pointer::<u64>(MAILBOX.wrapping_add(word));
    // SAFETY: a page in front of the payload that nothing else is in; the host writes it too.
    unsafe { at.read_volatile() }
}

fn set_mailbox(word: u64, value: u64) {
    let at = direct::pointer::<u64>(MAILBOX.wrapping_add(word));
    // SAFETY: as in `mailbox`.
    unsafe { at.write_volatile(value) }
}

/// Where the entry of a page is, and how far its two bits are from the lowest. The page has one.
const fn place(page: u64) -> (*mut u8, u32) {
    (direct::pointer(TABLE.wrapping_add(page / 4)), ((page & 3) << 1) as u32)
}

fn entry(page: u64) -> u8 {
    let (at, shift) = place(page);
    // SAFETY: in front of the payload, where nothing else lies; the host writes there too.
    let byte = unsafe { at.read_volatile() };
    byte.wrapping_shr(shift) & (ASSIGNED | VALIDATED)
}

fn set_entry(page: u64, state: u8) {
    let (at, shift) = place(page);
    // SAFETY: as in `entry`.
    let byte = unsafe { at.read_volatile() };
    let others = byte & !(ASSIGNED | VALIDATED).wrapping_shl(shift);
    // SAFETY: as in `entry`.
    unsafe { at.write_volatile(others | state.wrapping_shl(shift)) };
}
