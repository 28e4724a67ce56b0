// SPDX-License-Identifier: MIT
//! The local interrupt controller: timer, doorbell, end of interrupt.
//!
//! Two vectors mean something, the timer's and the doorbell's. A host can inject any other; they
//! are ignored. Intel SDM volume 3, chapter 11 has the registers.

use crate::machine::cpu::features::Features;
use crate::machine::host::{port, register::Window};
use crate::machine::sev::{self, injection};
use spin::Once;
use x86_64::registers::model_specific::Msr;

/// Vector of the timer.
pub(crate) const TIMER: u8 = 0x20;
/// Vector of the device that carries messages.
const DOORBELL: u8 = 0x21;
const SPURIOUS: u8 = 0xff;

const BASE: u32 = 0x1b;
const BASE_ENABLED: u64 = 1 << 11;
const BASE_X2: u64 = 1 << 10;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// First MSR of x2APIC; registers are 16 bytes apart in memory and 1 apart here.
const X2_FIRST: u32 = 0x800;

const ID: u32 = 0x02;
const TASK_PRIORITY: u32 = 0x08;
const END_OF_INTERRUPT: u32 = 0x0b;
const SPURIOUS_VECTOR: u32 = 0x0f;
/// First of eight words with a bit for each vector that was taken and has not ended.
const IN_SERVICE: u32 = 0x10;
/// First of eight words with a bit for each vector that waits to be taken.
const REQUESTS: u32 = 0x20;
const TIMER_ENTRY: u32 = 0x32;
const LOCAL_0: u32 = 0x35;
const LOCAL_1: u32 = 0x36;
const INITIAL_COUNT: u32 = 0x38;
const DIVIDE: u32 = 0x3e;

const SOFTWARE_ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const DIVIDE_BY_1: u32 = 0b1011;

/// Data ports of the two PICs, which stay silent.
const PIC_DATA: [u16; 2] = [0x21, 0xa1];

/// How the controller is reached.
#[derive(Debug)]
pub(crate) enum Apic {
    /// By MSRs.
    X2,
    /// By registers in memory.
    Mapped(Window),
}

static APIC: Once<Apic> = Once::new();

impl Apic {
    /// Switches it on, with everything but doorbell and timer silenced.
    pub(super) fn start(features: &Features) -> Option<&'static Self> {
        PIC_DATA.iter().for_each(|pic| port::write_u8(*pic, u8::MAX));
        let base = read_msr(BASE);
        let apic = if features.x2apic {
            write_msr(BASE, base | BASE_ENABLED | BASE_X2);
            Self::X2
        } else {
            write_msr(BASE, base | BASE_ENABLED);
            let address = base & BASE_ADDRESS;
            Self::Mapped(Window::map(address..address.checked_add(0x1000)?)?)
        };
        apic.write(SPURIOUS_VECTOR, SOFTWARE_ENABLED | u32::from(SPURIOUS));
        apic.write(TASK_PRIORITY, 0);
        apic.write(LOCAL_0, MASKED);
        apic.write(LOCAL_1, MASKED);
        apic.write(TIMER_ENTRY, MASKED);
        apic.write(DIVIDE, DIVIDE_BY_1);
        Some(APIC.call_once(|| apic))
    }

    pub(crate) fn get() -> Option<&'static Self> {
        APIC.get()
    }

    /// Address to which a device writes, and what, to interrupt this processor.
    pub(crate) fn message() -> Option<(u32, u32)> {
        let apic = APIC.get()?;
        let id = match apic {
            Self::X2 => apic.read(ID),
            Self::Mapped(_) => apic.read(ID) >> 24,
        };
        (id < 0xff).then_some((0xfee0_0000 | id << 12, u32::from(raised(DOORBELL))))
    }

    /// Whether the timer's interrupt waits to be taken. To be asked while interrupts are off.
    pub(super) fn timer_rang(&self) -> bool {
        self.has(REQUESTS, raised(TIMER)) || injection::is_pending()
    }

    /// Whether an interrupt was taken and has not ended.
    pub(crate) fn is_in_service(&self, vector: u8) -> bool {
        self.has(IN_SERVICE, vector)
    }

    fn has(&self, first: u32, vector: u8) -> bool {
        self.read(first.wrapping_add(u32::from(vector / 32))) & 1 << (vector % 32) != 0
    }

    /// Interrupts every so many ticks. The count comes first: with what a one-shot of a few ticks
    /// left there the timer would ring without end in between, and an emulated one that cannot keep
    /// up with that never lets the processor write again.
    pub(super) fn periodic(&self, ticks: u32) {
        self.write(INITIAL_COUNT, ticks);
        self.write(TIMER_ENTRY, PERIODIC | u32::from(raised(TIMER)));
    }

    /// Interrupts once.
    pub(super) fn one_shot(&self, ticks: u32) {
        self.write(TIMER_ENTRY, u32::from(raised(TIMER)));
        self.write(INITIAL_COUNT, ticks);
    }

    /// No interrupts from the timer.
    pub(super) fn stop(&self) {
        self.write(INITIAL_COUNT, 0);
    }

    fn read(&self, register: u32) -> u32 {
        match self {
            Self::X2 => read_msr(X2_FIRST.wrapping_add(register)) as u32,
            Self::Mapped(window) => window.read_u32((register << 4) as usize),
        }
    }

    fn write(&self, register: u32, value: u32) {
        match self {
            Self::X2 => write_msr(X2_FIRST.wrapping_add(register), u64::from(value)),
            Self::Mapped(window) => window.write_u32((register << 4) as usize, value),
        }
    }
}

/// The vector with which the controller raises an interrupt.
fn raised(vector: u8) -> u8 {
    injection::emulated_vector().unwrap_or(vector)
}

/// Ends an interrupt, if the vector is one that has an end.
pub(crate) fn acknowledge(vector: u64) {
    if (vector == u64::from(TIMER) || vector == u64::from(DOORBELL))
        && let Some(apic) = APIC.get()
    {
        apic.write(END_OF_INTERRUPT, 0);
    }
}

fn read_msr(number: u32) -> u64 {
    if sev::is_protected() {
        return sev::ghcb::read_msr(number);
    }
    // SAFETY: only registers of the local interrupt controller are read here, and they exist.
    unsafe { Msr::new(number).read() }
}

fn write_msr(number: u32, value: u64) {
    if sev::is_protected() {
        sev::ghcb::write_msr(number, value);
        return;
    }
    // SAFETY: only registers of the local interrupt controller are written here; none of them
    // reaches memory.
    unsafe { Msr::new(number).write(value) }
}
