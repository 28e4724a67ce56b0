// SPDX-License-Identifier: MIT
//! The host's side of a guest's exits (56421; numbers as in Linux, `arch/x86/include/asm`).
//!
//! The host does not trust its guest either: addresses are checked, pages that it names have to be
//! shared, and what it writes is copied once.

use crate::memory::pages;
use crate::processor::Status;
use crate::{GuestMemory, OutOfReach, PAGE_LEN, Page, long, word};
use std::ops::Range;
use strongroom_snp_layout::PRIVATE_BIT;
use strongroom_snp_layout::simulation::{ASSIGNED, VALIDATED};

/// A security processor, as its host reaches it.
pub trait SecurityProcessor {
    /// Carries out a guest's request.
    ///
    /// # Errors
    /// [`Status`], which the host passes on.
    fn request(&mut self, request: &Page) -> Result<Page, Status>;

    /// The table of certificates that the host has for the guest; empty without any.
    fn certificates(&mut self) -> Vec<u8>;
}

/// Who answers exits.
pub trait Exits {
    /// Answers an exit with that value in the GHCB's register; returns the register's new value.
    fn exit(&mut self, register: u64) -> u64;
}

/// `SW_EXITINFO1` when the host could not make sense of the GHCB.
pub const GHCB_INPUT_ERROR: u64 = 2;

/// Reasons that go with it, in `SW_EXITINFO2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum InputError {
    NotRegistered = 1,
    Usage = 2,
    Scratch = 3,
    Missing = 4,
    Invalid = 5,
    Event = 6,
}

impl From<OutOfReach> for InputError {
    fn from(_: OutOfReach) -> Self {
        Self::Invalid
    }
}

/// What goes back in the GHCB.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    info2: u64,
    rbx: Option<u64>,
}

// Offsets in the GHCB.
const RAX: usize = 0x1f8;
const RBX: usize = 0x318;
const EXIT_CODE: usize = 0x390;
const EXIT_INFO_1: usize = 0x398;
const EXIT_INFO_2: usize = 0x3a0;
const SCRATCH: usize = 0x3a8;
const VALID_BITMAP: usize = 0x3f0;
const SHARED_BUFFER: Range<u64> = 0x800..0xff0;
const PROTOCOL: usize = 0xffa;
const USAGE: usize = 0xffc;

const STATE_CHANGE: u64 = 0x8000_0010;
const GUEST_REQUEST: u64 = 0x8000_0011;
const EXTENDED_GUEST_REQUEST: u64 = 0x8000_0012;
const DOORBELL: u64 = 0x8000_0014;
/// With [`DOORBELL`]: the page in `SW_EXITINFO2` is the one from now on.
const DOORBELL_SET: u64 = 1;

/// Bytes of the list of a page state change, and where the page count of an entry is.
const LIST_LEN: usize = 0x7f0;
const LARGE: u64 = 1 << 56;
const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;
const INFO_MASK: u64 = 0xfff;
const VERSIONS: u64 = 2 << 48 | 1 << 32;

/// All bits of an entry.
const ENTRY: u8 = ASSIGNED | VALIDATED;

/// An honest host.
#[derive(Debug)]
pub struct Host<M, P> {
    memory: M,
    processor: P,
    /// Where the reverse map table is.
    table: Range<u64>,
    ghcb: Option<u64>,
    doorbell: Option<u64>,
    terminated: Option<u64>,
}

impl<M: GuestMemory, P: SecurityProcessor> Host<M, P> {
    /// A host of a guest with that memory, whose reverse map table is at `table`, two bits a page.
    pub const fn new(memory: M, processor: P, table: Range<u64>) -> Self {
        Self { memory, processor, table, ghcb: None, doorbell: None, terminated: None }
    }

    /// The guest's memory.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// The value with which the guest asked to be ended, if it did.
    pub const fn terminated(&self) -> Option<u64> {
        self.terminated
    }

    /// The page in which the guest looks for interrupts under Restricted Injection. This host leaves
    /// it alone: the emulated machine's own controller interrupts.
    pub const fn doorbell(&self) -> Option<u64> {
        self.doorbell
    }

    /// Gives pages to the guest, or takes them back: the mark of a page that changes hands is gone,
    /// as `RMPUPDATE` has it.
    ///
    /// # Errors
    /// [`OutOfReach`] for what is no memory.
    pub fn assign(&self, pages: Range<u64>, to_guest: bool) -> Result<(), OutOfReach> {
        let start = self.place(pages.start)?;
        let end = self.place(pages.end.saturating_sub(1))?.saturating_add(1);
        let length = usize::try_from(end.saturating_sub(start)).map_err(|_| OutOfReach)?;
        let mut bytes = vec![0; length];
        self.memory.read(start, &mut bytes)?;
        for (page, slot) in (pages.start & !3..).step_by(4).zip(&mut bytes) {
            for (page, shift) in (page..).zip([0, 2, 4, 6]) {
                let assigned = *slot >> shift & ASSIGNED != 0;
                if pages.contains(&page) && assigned != to_guest {
                    let state = if to_guest { ASSIGNED } else { 0 };
                    *slot = *slot & !(ENTRY << shift) | state << shift;
                }
            }
        }
        self.memory.write(start, &bytes)
    }

    /// Where the byte with a page's entry is.
    fn place(&self, page: u64) -> Result<u64, OutOfReach> {
        let byte = self.table.start.checked_add(page / 4).ok_or(OutOfReach)?;
        if byte < self.table.end { Ok(byte) } else { Err(OutOfReach) }
    }

    /// The entry of a page.
    fn entry(&self, page: u64) -> Result<u8, OutOfReach> {
        let mut byte = [0];
        self.memory.read(self.place(page)?, &mut byte)?;
        Ok(byte[0] >> ((page & 3) << 1) & ENTRY)
    }

    /// Whether all pages of a range are the host's.
    fn is_shared(&self, address: u64, length: u64) -> bool {
        pages(address, length).all(|page| self.entry(page).is_ok_and(|entry| entry & ASSIGNED == 0))
    }

    fn by_register(&mut self, register: u64) -> u64 {
        match register & INFO_MASK {
            0x002 => VERSIONS | u64::from(PRIVATE_BIT) << 24 | 0x001,
            0x012 => {
                let address = register & FRAME_MASK;
                let good = self.is_shared(address, PAGE_LEN as u64);
                self.ghcb = good.then_some(address);
                if good { address | 0x013 } else { !INFO_MASK | 0x013 }
            }
            0x014 => match self.change_entry(register & !INFO_MASK & !LARGE) {
                Ok(()) => 0x015,
                Err(error) => (error as u64) << 32 | 0x015,
            },
            0x100 => {
                self.terminated = Some(register);
                register
            }
            // There is no answer that says no.
            _ => 0,
        }
    }

    fn by_page(&mut self, address: u64) -> Result<Answer, InputError> {
        if self.ghcb != Some(address) {
            return Err(InputError::NotRegistered);
        }
        let mut page = [0; PAGE_LEN];
        self.memory.read(address, &mut page)?;
        let (version, usage) = (word(&page, PROTOCOL) & 0xffff, word(&page, USAGE));
        if !(1..=2).contains(&version) || usage != 0 {
            return Err(InputError::Usage);
        }
        let field = |offset| self::field(&page, offset).ok_or(InputError::Missing);
        let (info1, info2) = (field(EXIT_INFO_1)?, field(EXIT_INFO_2)?);
        match field(EXIT_CODE)? {
            STATE_CHANGE => self.change_list(address, field(SCRATCH)?),
            GUEST_REQUEST => self.guest_request(info1, info2, None),
            EXTENDED_GUEST_REQUEST => {
                self.guest_request(info1, info2, Some((field(RAX)?, field(RBX)?)))
            }
            DOORBELL => self.take_doorbell(info1, info2),
            // Devices and registers of the emulated machine are not behind exits.
            _ => Err(InputError::Event),
        }
    }

    fn take_doorbell(&mut self, action: u64, page: u64) -> Result<Answer, InputError> {
        let aligned = page.is_multiple_of(PAGE_LEN as u64);
        if action != DOORBELL_SET || !aligned || !self.is_shared(page, PAGE_LEN as u64) {
            return Err(InputError::Invalid);
        }
        self.doorbell = Some(page);
        Ok(Answer::default())
    }

    fn change_list(&self, ghcb: u64, list: u64) -> Result<Answer, InputError> {
        let end = list.checked_add(LIST_LEN as u64).ok_or(InputError::Scratch)?;
        let inside = ghcb.checked_add(SHARED_BUFFER.start).is_some_and(|start| start <= list)
            && ghcb.checked_add(SHARED_BUFFER.end).is_some_and(|last| end <= last);
        if !inside {
            return Err(InputError::Scratch);
        }
        let mut words = [0; LIST_LEN];
        self.memory.read(list, &mut words)?;
        let header = word(&words, 0);
        let (first, last) = (header & 0xffff, header >> 16);
        for entry in first..=last {
            let offset = usize::try_from(entry).unwrap_or(usize::MAX).saturating_add(1);
            let offset = offset.checked_mul(8).filter(|offset| *offset < LIST_LEN);
            self.change_entry(long(&words, offset.ok_or(InputError::Invalid)?))?;
        }
        self.memory.write_word(list, u64::from(last.saturating_add(1)) | u64::from(last) << 16)?;
        Ok(Answer::default())
    }

    fn change_entry(&self, entry: u64) -> Result<(), InputError> {
        let count = if entry & LARGE == 0 { 1 } else { 512 };
        let first = (entry & FRAME_MASK) >> 12;
        let to_guest = match entry >> 52 & 0xf {
            1 => true,
            2 => false,
            _ => return Err(InputError::Invalid),
        };
        Ok(self.assign(first..first.saturating_add(count), to_guest)?)
    }

    fn guest_request(
        &mut self,
        request: u64,
        response: u64,
        certificates: Option<(u64, u64)>,
    ) -> Result<Answer, InputError> {
        let one = PAGE_LEN as u64;
        let aligned = request.is_multiple_of(one) && response.is_multiple_of(one);
        if !aligned || !self.is_shared(request, one) || !self.is_shared(response, one) {
            return Err(InputError::Invalid);
        }
        if let Some((address, count)) = certificates {
            let table = self.processor.certificates();
            let needed = (table.len() as u64).div_ceil(one);
            if needed > count {
                return Ok(Answer { info2: 1 << 32, rbx: Some(needed) });
            }
            if !self.is_shared(address, needed.saturating_mul(one)) {
                return Err(InputError::Invalid);
            }
            self.memory.write(address, &table)?;
        }
        let mut message = [0; PAGE_LEN];
        self.memory.read(request, &mut message)?;
        let info2 = match self.processor.request(&message) {
            Ok(answer) => {
                self.memory.write(response, &answer)?;
                0
            }
            Err(status) => u64::from(status as u32),
        };
        Ok(Answer { info2, rbx: None })
    }

    /// Writes the answer, and marks what of the page is valid now.
    fn write_answer(&self, ghcb: u64, info1: u64, answer: Answer) -> Result<(), OutOfReach> {
        let mut valid = 0_u128;
        let mut write = |offset: usize, value| {
            valid |= 1 << (offset >> 3);
            self.memory.write_word(ghcb.saturating_add(offset as u64), value)
        };
        write(EXIT_INFO_1, info1)?;
        write(EXIT_INFO_2, answer.info2)?;
        if let Some(rbx) = answer.rbx {
            write(RBX, rbx)?;
        }
        self.memory.write(ghcb.saturating_add(VALID_BITMAP as u64), &valid.to_le_bytes())
    }
}

impl<M: GuestMemory, P: SecurityProcessor> Exits for Host<M, P> {
    fn exit(&mut self, register: u64) -> u64 {
        if register & INFO_MASK != 0 {
            return self.by_register(register);
        }
        let (info1, answer) = match self.by_page(register) {
            Ok(answer) => (0, answer),
            Err(error) => (GHCB_INPUT_ERROR, Answer { info2: error as u64, rbx: None }),
        };
        // A guest that named no memory of its own gets no answer.
        if self.ghcb == Some(register) {
            let _ = self.write_answer(register, info1, answer);
        }
        register
    }
}

/// A field that is marked as valid.
fn field(page: &Page, offset: usize) -> Option<u64> {
    let bit = offset >> 3;
    let byte = page.get(VALID_BITMAP.checked_add(bit >> 3)?)?;
    (*byte >> (bit & 7) & 1 != 0).then(|| long(page, offset))
}

#[cfg(test)]
mod tests;
