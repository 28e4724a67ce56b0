// SPDX-License-Identifier: MIT
//! The lies, and what has to come of them.

use std::ops::Range;
use strongroom_psp::{
    Exits, GuestMemory as _, Host, Page, Processor, Ram, SecurityProcessor, Status,
};
use strongroom_snp_layout::simulation::{ASSIGNED, TABLE, VALIDATED};

/// One thing that host or security processor do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// None: the guest gets its evidence.
    None,
    /// The answer's tag, or contents, or number, or length, or kind is another.
    WrongTag,
    WrongContents,
    WrongNumber,
    WrongLength,
    WrongKind,
    /// The second answer is the first once more.
    Replay,
    /// The host makes up a refusal of the firmware's.
    MadeUpRefusal,
    /// The host asks to come again, forever.
    AlwaysBusy,
    /// The host says that an exception is to be raised.
    Injection,
    /// The host has more certificates than fit, or says so.
    HugeCertificates,
    /// The host speaks another protocol.
    OldProtocol,
    /// The host answers another question than the register asked.
    UnrelatedAnswer,
    /// The host does not take the page for the GHCB.
    NoGhcb,
    /// The host refuses a change of pages, or says it is done with less.
    RefusedChange,
    HalfChange,
    /// Between change and validation the host takes a page back.
    Snatched,
    /// The host had a page validated before the guest did.
    ValidatedBefore,
    /// The CPUID page names another private bit.
    WrongPrivateBit,
    /// The secrets page is empty.
    NoSecrets,
    /// None, under Restricted Injection.
    Restricted,
    /// Under Restricted Injection, the host does not take the doorbell page.
    NoDoorbell,
    /// It has interrupts pending that nobody asked for, after each exit.
    StrangeInterrupts,
    /// It reports broken hardware.
    MachineCheck,
}

/// What has to come of a lie.
pub(crate) struct Expected {
    /// The code with which the payload stops.
    pub(crate) code: u8,
    /// What is among its words.
    pub(crate) says: &'static [&'static str],
    /// What is not.
    pub(crate) never: &'static [&'static str],
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: u8,
    pub(crate) said: String,
}

/// Codes of the payload (`ta/snp`, `halt::Code`).
const ENDED: u8 = 0x10;
const TRAP: u8 = 0x40;
const BAD_LAUNCH: u8 = 0x28;
const BAD_PAGES: u8 = 0x29;
const FOREIGN_PAGE: u8 = 0x2a;

impl Lie {
    pub(crate) const ALL: [Self; 24] = [
        Self::None,
        Self::WrongTag,
        Self::WrongContents,
        Self::WrongNumber,
        Self::WrongLength,
        Self::WrongKind,
        Self::Replay,
        Self::MadeUpRefusal,
        Self::AlwaysBusy,
        Self::Injection,
        Self::HugeCertificates,
        Self::OldProtocol,
        Self::UnrelatedAnswer,
        Self::NoGhcb,
        Self::RefusedChange,
        Self::HalfChange,
        Self::Snatched,
        Self::ValidatedBefore,
        Self::WrongPrivateBit,
        Self::NoSecrets,
        Self::Restricted,
        Self::NoDoorbell,
        Self::StrangeInterrupts,
        Self::MachineCheck,
    ];

    /// Whether the guest is launched with Restricted Injection.
    pub(crate) const fn is_restricted(self) -> bool {
        matches!(
            self,
            Self::Restricted | Self::NoDoorbell | Self::StrangeInterrupts | Self::MachineCheck
        )
    }

    pub(crate) fn expected(self) -> Expected {
        /// Nothing is believed, and nothing is asked any more.
        const CLOSED: &[&str] = &["report Broken", "lower Broken", "key Broken"];
        let says = |says: &'static [&'static str], never| Expected { code: ENDED, says, never };
        let stops = |code| Expected { code, says: &[], never: &["report"] };
        match self {
            Self::None | Self::Restricted | Self::StrangeInterrupts => {
                says(&["report 03", "key ", "Refused(22)", "interrupted true"], &["Broken", "Busy"])
            }
            Self::WrongTag
            | Self::WrongContents
            | Self::WrongNumber
            | Self::WrongLength
            | Self::WrongKind
            | Self::MadeUpRefusal
            | Self::Injection => says(CLOSED, &["report 0"]),
            Self::Replay => says(&["report 03", "Broken)", "lower Broken"], &["lower 0"]),
            Self::AlwaysBusy => says(&["report Busy", "key Busy"], &["Broken", "report 0"]),
            Self::HugeCertificates => says(&["report 03", "certificates \n"], &["Broken"]),
            Self::OldProtocol
            | Self::UnrelatedAnswer
            | Self::WrongPrivateBit
            | Self::NoDoorbell => stops(BAD_LAUNCH),
            Self::MachineCheck => stops(TRAP),
            Self::NoGhcb | Self::RefusedChange | Self::HalfChange | Self::ValidatedBefore => {
                stops(BAD_PAGES)
            }
            Self::Snatched => stops(FOREIGN_PAGE),
            Self::NoSecrets => says(&["no security processor"], &["report"]),
        }
    }
}

/// A security processor that lies, or whose answers are tampered with on the way.
#[derive(Debug)]
pub(crate) struct LyingProcessor {
    pub(crate) lie: Lie,
    pub(crate) honest: Processor,
    pub(crate) first: Option<Page>,
}

impl SecurityProcessor for LyingProcessor {
    fn request(&mut self, request: &Page) -> Result<Page, Status> {
        if self.lie == Lie::MadeUpRefusal {
            return Err(Status::BadMeasurement);
        }
        let answer = self.honest.request(request)?;
        let mut told = answer;
        // Offsets in the message header.
        let (at, bits) = match self.lie {
            Lie::WrongTag => (0, 1),
            Lie::WrongContents => (0x100, 1),
            Lie::WrongNumber => (0x20, 2),
            Lie::WrongLength => (0x36, 1),
            Lie::WrongKind => (0x34, 2),
            _ => (0, 0),
        };
        if let Some(byte) = told.get_mut(at) {
            *byte ^= bits;
        }
        match self.first {
            Some(first) if self.lie == Lie::Replay => Ok(first),
            Some(_) | None => {
                self.first.get_or_insert(answer);
                Ok(told)
            }
        }
    }

    fn certificates(&mut self) -> Vec<u8> {
        if self.lie == Lie::HugeCertificates {
            return vec![1; 17 * 4096];
        }
        self.honest.certificates()
    }
}

/// A host that lies.
pub(crate) struct LyingHost {
    pub(crate) lie: Lie,
    pub(crate) honest: Host<Ram, LyingProcessor>,
}

// Offsets in the GHCB, and exits.
const EXIT_CODE: u64 = 0x390;
const EXIT_INFO_1: u64 = 0x398;
const EXIT_INFO_2: u64 = 0x3a0;
const SHARED_BUFFER: u64 = 0x800;
const STATE_CHANGE: u64 = 0x8000_0010;
const DOORBELL: u64 = 0x8000_0014;
/// In the doorbell page: the vector of Linux system calls of old, and a non-maskable interrupt.
const STRANGE: u64 = 0x80 | 1 << 8;
const MACHINE_CHECK: u64 = 1 << 9;
/// The page of a list of private pages that the lies are about.
const VICTIM: usize = 1;

impl Exits for LyingHost {
    fn exit(&mut self, register: u64) -> u64 {
        let honest = self.honest.exit(register);
        match (self.lie, register & 0xfff) {
            (Lie::OldProtocol, 2) => 1 << 48 | 1 << 32 | 51 << 24 | 1,
            (Lie::UnrelatedAnswer, 2) => 0x013,
            (Lie::NoGhcb, 0x012) => !0xfff | 0x013,
            (_, 0) => {
                // What cannot be written is no memory of the guest's, and no lie either.
                let _ = self.tamper(register);
                honest
            }
            _ => honest,
        }
    }
}

impl LyingHost {
    /// Writes the doorbell page's first word, once there is one.
    fn ring(&self, events: u64) -> Result<(), strongroom_psp::OutOfReach> {
        let Some(page) = self.honest.doorbell() else { return Ok(()) };
        self.honest.memory().write_word(page, events)
    }

    fn tamper(&mut self, ghcb: u64) -> Result<(), strongroom_psp::OutOfReach> {
        let memory = self.honest.memory();
        let exit = memory.read_word(ghcb + EXIT_CODE)?;
        if exit != STATE_CHANGE {
            return match self.lie {
                Lie::AlwaysBusy => memory.write_word(ghcb + EXIT_INFO_2, 2 << 32),
                Lie::Injection => memory.write_word(ghcb + EXIT_INFO_1, 1),
                Lie::NoDoorbell if exit == DOORBELL => memory.write_word(ghcb + EXIT_INFO_1, 2),
                Lie::StrangeInterrupts => self.ring(STRANGE),
                Lie::MachineCheck => self.ring(MACHINE_CHECK),
                _ => Ok(()),
            };
        }
        match self.lie {
            Lie::RefusedChange => memory.write_word(ghcb + EXIT_INFO_2, 1),
            Lie::HalfChange => {
                let header = memory.read_word(ghcb + SHARED_BUFFER)?;
                memory.write_word(ghcb + SHARED_BUFFER, header & !0xffff)
            }
            Lie::Snatched | Lie::ValidatedBefore => {
                let entry = memory.read_word(ghcb + SHARED_BUFFER + 8 * VICTIM as u64)?;
                let (page, private) = ((entry & 0xf_ffff_ffff_f000) >> 12, entry >> 52 & 0xf == 1);
                match (private, self.lie) {
                    (false, _) => Ok(()),
                    (true, Lie::Snatched) => self.honest.assign(page..page + 1, false),
                    (true, _) => {
                        let count = if entry >> 56 & 1 == 0 { 1 } else { 512 };
                        mark(memory, page..page + count)
                    }
                }
            }
            _ => Ok(()),
        }
    }
}

/// Puts the validated mark on pages, as nothing but the guest could.
fn mark(memory: &Ram, pages: Range<u64>) -> Result<(), strongroom_psp::OutOfReach> {
    for page in pages {
        let mut byte = [0];
        memory.read(TABLE + page / 4, &mut byte)?;
        byte[0] |= (ASSIGNED | VALIDATED) << ((page & 3) << 1);
        memory.write(TABLE + page / 4, &byte)?;
    }
    Ok(())
}
