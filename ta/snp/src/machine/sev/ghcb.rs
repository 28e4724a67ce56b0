// SPDX-License-Identifier: MIT
//! Exits through the GHCB.

use super::instruction;
use super::shared::SharedPage;
use crate::machine::halt::Code;
use crate::sev::ghcb::{
    self, BadAnswer, Exit, Field, PROTOCOL, Reply, SHARED_BUFFER, Snapshot, VALID_BITMAP, Width,
};
use crate::sev::msr_protocol::{Answer, Request, State};
use crate::sev::state_change::{Block, List};
use spin::Mutex;

/// The last word of the page: reserved, the protocol's version, the format of the page.
const LAST_WORD: usize = 511;

static GHCB: Mutex<Option<Ghcb>> = Mutex::new(None);

/// The page.
#[derive(Debug)]
pub(super) struct Ghcb(SharedPage);

impl Ghcb {
    /// Tells the host of the page, which is shared.
    pub(super) fn register(page: SharedPage) -> Option<Self> {
        let request = Request::Register(page.physical());
        match request.answer(instruction::exit(request.encode())) {
            Ok(Answer::Done) => Some(Self(page)),
            Ok(Answer::SevInfo { .. }) | Err(_) => None,
        }
    }

    fn call(&self, exit: Exit) -> Result<Reply, BadAnswer> {
        let fields = exit.fields();
        for (field, value) in fields.into_iter().flatten() {
            self.0.write(field.offset() / 8, value);
        }
        self.0.write(LAST_WORD, u64::from(PROTOCOL) << 16);
        let valid = ghcb::valid_bits(&fields);
        self.0.write(VALID_BITMAP / 8, valid as u64);
        self.0.write(VALID_BITMAP / 8 + 1, (valid >> 64) as u64);
        instruction::exit(self.0.physical());
        let field = |field: Field| self.0.read(field.offset() / 8);
        let upper = u128::from(self.0.read(VALID_BITMAP / 8 + 1));
        exit.reply(&Snapshot {
            rax: field(Field::Rax),
            rbx: field(Field::Rbx),
            rdx: field(Field::Rdx),
            exit_info_1: field(Field::ExitInfo1),
            exit_info_2: field(Field::ExitInfo2),
            valid: upper << 64 | u128::from(self.0.read(VALID_BITMAP / 8)),
        })
    }

    const fn buffer(&self) -> u64 {
        self.0.physical().wrapping_add(SHARED_BUFFER as u64)
    }

    /// Has the host change the state of pages; false where it did not, or not all of them.
    pub(super) fn change(&self, blocks: &[Block], to: State) -> bool {
        let (mut list, count) = List::new(blocks, to);
        if count != blocks.len() || blocks.is_empty() {
            return false;
        }
        loop {
            for (index, word) in list.words().iter().enumerate() {
                self.0.write((SHARED_BUFFER / 8).wrapping_add(index), *word);
            }
            let buffer = self.buffer();
            if self.call(Exit::StateChange { buffer }) != Ok(Reply::Done) {
                return false;
            }
            match list.advance(self.0.read(SHARED_BUFFER / 8)) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Takes the page into use.
pub(super) fn start(page: Ghcb) {
    *GHCB.lock() = Some(page);
}

/// Lends the page, if there is one.
pub(super) fn with<T>(use_it: impl FnOnce(&Ghcb) -> T) -> Option<T> {
    GHCB.lock().as_ref().map(use_it)
}

/// Exits, if there is a GHCB.
pub(super) fn call(exit: Exit) -> Result<Reply, BadAnswer> {
    with(|ghcb| ghcb.call(exit)).unwrap_or(Err(BadAnswer::Refused))
}

/// Reads or writes a port of the host; a host that does not answer such an exit ends the guest.
pub(crate) fn port(port: u16, width: Width, value: Option<u32>) -> u32 {
    let reply = match value {
        Some(value) => call(Exit::PortOut { port, width, value }),
        None => call(Exit::PortIn { port, width }),
    };
    expect(reply) as u32
}

/// Reads a model-specific register that is the host's to answer.
pub(crate) fn read_msr(number: u32) -> u64 {
    expect(call(Exit::MsrRead(number)))
}

/// Writes one.
pub(crate) fn write_msr(number: u32, value: u64) {
    expect(call(Exit::MsrWrite(number, value)));
}

/// Reads a device's register.
pub(crate) fn read_device(address: u64, width: Width) -> u32 {
    let value = with(|ghcb| {
        ghcb.0.write(SHARED_BUFFER / 8, 0);
        ghcb.call(Exit::DeviceRead { address, width, buffer: ghcb.buffer() })?;
        Ok(Reply::Value(ghcb.0.read(SHARED_BUFFER / 8)))
    });
    expect(value.unwrap_or(Err(BadAnswer::Refused))) as u32
}

/// Writes one.
pub(crate) fn write_device(address: u64, width: Width, value: u32) {
    let written = with(|ghcb| {
        ghcb.0.write(SHARED_BUFFER / 8, u64::from(value));
        ghcb.call(Exit::DeviceWrite { address, width, buffer: ghcb.buffer() })
    });
    expect(written.unwrap_or(Err(BadAnswer::Refused)));
}

fn expect(reply: Result<Reply, BadAnswer>) -> u64 {
    match reply {
        Ok(Reply::Value(value)) => value,
        Ok(Reply::Done) => 0,
        Ok(Reply::Busy | Reply::TooFewPages(_)) | Err(_) => {
            // Not through `halt`, which would write a port.
            super::terminate(Code::HostBroken as u8);
            loop {
                core::hint::spin_loop();
            }
        }
    }
}
