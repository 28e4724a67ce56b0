// SPDX-License-Identifier: MIT
//! The security processor: opens a guest's messages and answers them.

use crate::exits::SecurityProcessor;
use crate::key::{self, FIELDS, Mixture};
use crate::message::{self, Message, Unacceptable};
use crate::{Installation, InstallationError, Launch, Page, VMPCKS, long, put, report, word};

const KEY_REQUEST: u8 = 3;
const REPORT_REQUEST: u8 = 5;
const KEY_REQUEST_LEN: usize = 32;
const REPORT_REQUEST_LEN: usize = 96;
/// Where a report or a key is in an answer.
const ANSWER_AT: usize = 32;
const VMPL_MAX: u32 = 3;

/// `STATUS` of an answer (56860, `MSG_KEY_RSP` and `MSG_REPORT_RSP`).
const INVALID_PARAMETERS: u32 = 0x16;
const INVALID_KEY_SELECTION: u32 = 0x27;
/// `KEY_SEL`: the chip's own key where no other is loaded, or that key in so many words.
const KEYS_AT_HAND: [u32; 2] = [0, 1];

/// Why the firmware does not carry out a command (56860, chapter 6; numbers as in Linux,
/// `include/uapi/linux/psp-sev.h`). The guest has to take the host's word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// There is no key to answer with: the installation cannot be used.
    InvalidPlatformState = 0x01,
    /// The message is not authentic.
    BadMeasurement = 0x0b,
    /// Its header is wrong, or its number is not the next one, or there is no such request.
    InvalidParameter = 0x16,
    /// The numbers of messages are used up.
    Overflow = 0x1d,
}

impl From<Unacceptable> for Status {
    fn from(reason: Unacceptable) -> Self {
        match reason {
            Unacceptable::Header => Self::InvalidParameter,
            Unacceptable::Tag => Self::BadMeasurement,
        }
    }
}

/// Makes what a guest's first request needs: the chip, and the launch digest.
type Make = Box<dyn FnOnce() -> Result<(Installation, [u8; 48]), InstallationError> + Send>;

/// Where the chip comes from.
enum Chip {
    /// Not needed yet.
    Waiting(Make),
    Ready(Box<Installation>),
    Missing,
}

impl std::fmt::Debug for Chip {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Waiting(_) => "Waiting(..)",
            Self::Ready(_) => "Ready(..)",
            Self::Missing => "Missing",
        })
    }
}

/// A security processor with one guest.
#[derive(Debug)]
pub struct Processor {
    chip: Chip,
    launch: Launch,
    /// The last number that was used with each key.
    sequences: [u64; VMPCKS],
}

impl Processor {
    /// A security processor with the chip of `installation`.
    #[must_use]
    pub fn new(installation: Installation, launch: Launch) -> Self {
        Self { chip: Chip::Ready(Box::new(installation)), launch, sequences: [0; VMPCKS] }
    }

    /// One whose chip and launch digest are made when a guest first asks for something: most never do.
    #[must_use]
    pub fn on_demand(
        launch: Launch,
        make: impl FnOnce() -> Result<(Installation, [u8; 48]), InstallationError> + Send + 'static,
    ) -> Self {
        Self { chip: Chip::Waiting(Box::new(make)), launch, sequences: [0; VMPCKS] }
    }

    fn ready(&mut self) -> Result<(), InstallationError> {
        match std::mem::replace(&mut self.chip, Chip::Missing) {
            Chip::Waiting(make) => {
                let (installation, measurement) = make()?;
                self.launch.measurement = measurement;
                self.chip = Chip::Ready(Box::new(installation));
            }
            known @ (Chip::Ready(_) | Chip::Missing) => self.chip = known,
        }
        Ok(())
    }

    fn key(&self, vmpck: u8) -> Option<[u8; 32]> {
        self.launch.vmpcks.get(usize::from(vmpck)).copied()
    }

    fn answer(&self, installation: &Installation, message: &Message) -> Option<(u8, Vec<u8>)> {
        let answer = match message.kind {
            REPORT_REQUEST if message.payload.len() == REPORT_REQUEST_LEN => {
                self.report(installation, message)
            }
            KEY_REQUEST if message.payload.len() == KEY_REQUEST_LEN => {
                self.derived_key(installation, message)
            }
            _ => return None,
        };
        Some((message.kind.checked_add(1)?, answer))
    }

    fn report(&self, installation: &Installation, message: &Message) -> Vec<u8> {
        let payload = message.payload.as_slice();
        let (vmpl, selection) = (word(payload, 0x40), word(payload, 0x44));
        let reserved = payload.get(0x48..).unwrap_or_default().iter().any(|byte| *byte != 0);
        let Some(data) = payload.first_chunk().filter(|_| !reserved && selection < 4) else {
            return refusal(INVALID_PARAMETERS);
        };
        let Some(level) = level(message.vmpck, vmpl) else { return refusal(INVALID_PARAMETERS) };
        if !KEYS_AT_HAND.contains(&selection) {
            return refusal(INVALID_KEY_SELECTION);
        }
        let report = report::signed(installation, &self.launch, data, level);
        let mut answer = refusal(0);
        put(&mut answer, 4, &u32::try_from(report.len()).unwrap_or(0).to_le_bytes());
        answer.extend(report);
        answer
    }

    fn derived_key(&self, installation: &Installation, message: &Message) -> Vec<u8> {
        let payload = message.payload.as_slice();
        let selection = word(payload, 0);
        let mixture = Mixture {
            fields: long(payload, 8),
            vmpl: word(payload, 0x10),
            guest_svn: word(payload, 0x14),
            tcb_version: long(payload, 0x18),
        };
        let known = selection < 8 && word(payload, 4) == 0 && mixture.fields & !FIELDS == 0;
        let old_enough = mixture.guest_svn <= self.launch.guest_svn
            && is_committed(mixture.tcb_version.to_le_bytes());
        if !known || !old_enough || level(message.vmpck, mixture.vmpl).is_none() {
            return refusal(INVALID_PARAMETERS);
        }
        // Bit 0 asks for the root key of a migration agent; there is none.
        if selection & 1 != 0 || !KEYS_AT_HAND.contains(&(selection >> 1)) {
            return refusal(INVALID_KEY_SELECTION);
        }
        let Some(key) = key::derive(installation, &self.launch, mixture) else {
            return refusal(INVALID_PARAMETERS);
        };
        let mut answer = refusal(0);
        answer.extend(key);
        answer
    }
}

/// A privilege level that a message under that key may ask for: the key's own, or a lower one,
/// whose number is higher.
fn level(vmpck: u8, vmpl: u32) -> Option<u8> {
    (u32::from(vmpck) <= vmpl && vmpl <= VMPL_MAX).then(|| u8::try_from(vmpl).ok())?
}

/// Whether no part of a version is newer than what is committed.
fn is_committed(version: [u8; 8]) -> bool {
    let committed = Installation::TCB.encode().0;
    version.iter().zip(committed).all(|(asked, committed)| *asked <= committed)
}

/// The head of an answer.
fn refusal(status: u32) -> Vec<u8> {
    let mut answer = vec![0; ANSWER_AT];
    put(&mut answer, 0, &status.to_le_bytes());
    answer
}

impl SecurityProcessor for Processor {
    fn request(&mut self, request: &Page) -> Result<Page, Status> {
        self.ready().map_err(|_| Status::InvalidPlatformState)?;
        let Chip::Ready(installation) = &self.chip else {
            return Err(Status::InvalidPlatformState);
        };
        let next = |vmpck: u8| {
            let sequence = self.sequences.get(usize::from(vmpck))?.checked_add(1)?;
            Some((self.key(vmpck)?, sequence))
        };
        let message = message::open(request, &next)?;
        let sequence = message.sequence.checked_add(1).ok_or(Status::Overflow)?;
        let (kind, payload) =
            self.answer(installation, &message).ok_or(Status::InvalidParameter)?;
        let key = self.key(message.vmpck).ok_or(Status::InvalidParameter)?;
        let vmpck = message.vmpck;
        let answer = message::seal(&key, &Message { sequence, kind, vmpck, payload });
        let answer = answer.ok_or(Status::InvalidParameter)?;
        if let Some(used) = self.sequences.get_mut(usize::from(vmpck)) {
            *used = sequence;
        }
        Ok(answer)
    }

    fn certificates(&mut self) -> Vec<u8> {
        match (self.ready(), &self.chip) {
            (Ok(()), Chip::Ready(installation)) => table(installation.certificates()),
            (Ok(()) | Err(_), Chip::Waiting(_) | Chip::Missing | Chip::Ready(_)) => Vec::new(),
        }
    }
}

/// The table that an extended guest request answers with (56421, section on that exit).
fn table(certificates: &[Vec<u8>; 3]) -> Vec<u8> {
    const ENTRY_LEN: usize = 24;
    /// VCEK, ASK, ARK, as the usual text form has them.
    const NAMES: [u128; 3] = [
        0x63da_758d_e664_4564_adc5_f4b9_3be8_accd,
        0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782,
        0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae,
    ];
    let mut table = Vec::new();
    let mut contents = Vec::new();
    // An entry of zeros ends it.
    let head = NAMES.len().saturating_add(1).saturating_mul(ENTRY_LEN);
    for (name, certificate) in NAMES.iter().zip(certificates) {
        let offset = head.saturating_add(contents.len());
        table.extend(name.to_be_bytes());
        for number in [offset, certificate.len()] {
            table.extend(u32::try_from(number).unwrap_or(0).to_le_bytes());
        }
        contents.extend_from_slice(certificate);
    }
    table.resize(head, 0);
    table.extend(contents);
    table
}

#[cfg(test)]
mod tests;
