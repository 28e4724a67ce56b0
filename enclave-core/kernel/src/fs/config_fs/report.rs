// SPDX-License-Identifier: MIT
//! An item of `tsm/report`: what a program wrote, and the report that was made of it.

use crate::evidence::{Attester, LEVEL_MAX, PROGRAM_LEVELS};
use crate::outcome::SysResult;
use alloc::format;
use alloc::vec::Vec;
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_abi::sev_guest::{SEV_RET_INVALID_KEY, SEV_RET_INVALID_PARAM};
use strongroom_south::{REPORT_DATA_LEN, SecurityError};

/// Most bytes of `inblob` (`TSM_REPORT_INBLOB_MAX`).
pub(super) const IN_BLOB_MAX: usize = 64;

/// An item.
pub(super) struct Report {
    attester: Attester,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_blob: Vec<u8>,
    level: u32,
    /// How often something was written.
    generation: u64,
    made: Option<Made>,
}

/// A report, and what had been written when it was made.
struct Made {
    generation: u64,
    out_blob: Vec<u8>,
    aux_blob: Vec<u8>,
}

/// A file of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    AuxBlob,
    Generation,
    InBlob,
    OutBlob,
    Level,
    LevelFloor,
    Provider,
}

impl Attribute {
    /// All of them.
    pub(super) const ALL: [Self; 7] = [
        Self::AuxBlob,
        Self::Generation,
        Self::InBlob,
        Self::OutBlob,
        Self::Level,
        Self::LevelFloor,
        Self::Provider,
    ];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AuxBlob => "auxblob",
            Self::Generation => "generation",
            Self::InBlob => "inblob",
            Self::OutBlob => "outblob",
            Self::Level => "privlevel",
            Self::LevelFloor => "privlevel_floor",
            Self::Provider => "provider",
        }
    }

    /// Whether an item has it.
    pub(super) const fn is_of(self, attester: Attester) -> bool {
        match self {
            Self::Level | Self::LevelFloor | Self::AuxBlob => attester.has_levels(),
            Self::Generation | Self::InBlob | Self::OutBlob | Self::Provider => true,
        }
    }

    /// Whether it is written, and not read: none is both.
    pub(super) const fn is_written(self) -> bool {
        matches!(self, Self::InBlob | Self::Level)
    }
}

impl Report {
    pub(super) fn new(attester: Attester) -> Self {
        Self { attester, state: Mutex::default() }
    }

    /// The contents of a file that is read. A blob is made of what was written last.
    pub(super) fn read(&self, attribute: Attribute) -> SysResult<Vec<u8>> {
        let mut state = self.state.lock();
        match attribute {
            Attribute::Generation => Ok(format!("{}\n", state.generation).into_bytes()),
            Attribute::LevelFloor => Ok(format!("{}\n", PROGRAM_LEVELS.start()).into_bytes()),
            Attribute::Provider => Ok(self.attester.provider().into()),
            Attribute::OutBlob => Ok(self.made(&mut state)?.out_blob.clone()),
            Attribute::AuxBlob => Ok(self.made(&mut state)?.aux_blob.clone()),
            Attribute::InBlob | Attribute::Level => Err(Errno::EACCES.into()),
        }
    }

    /// Takes what was written to a file.
    pub(super) fn write(&self, attribute: Attribute, bytes: &[u8]) -> SysResult<()> {
        let mut state = self.state.lock();
        match attribute {
            Attribute::InBlob => state.in_blob = bytes.to_vec(),
            Attribute::Level => {
                let level = number(bytes).ok_or(Errno::EINVAL)?;
                if !(*PROGRAM_LEVELS.start()..=LEVEL_MAX).contains(&level) {
                    return Err(Errno::EINVAL.into());
                }
                state.level = level;
            }
            Attribute::AuxBlob
            | Attribute::Generation
            | Attribute::OutBlob
            | Attribute::LevelFloor
            | Attribute::Provider => return Err(Errno::EACCES.into()),
        }
        state.generation = state.generation.wrapping_add(1);
        Ok(())
    }

    fn made<'a>(&self, state: &'a mut State) -> SysResult<&'a Made> {
        let State { in_blob, level, generation, made } = state;
        if made.as_ref().is_none_or(|made| made.generation != *generation) {
            *made = None;
            *made = Some(self.make(in_blob, *level, *generation)?);
        }
        made.as_ref().ok_or_else(|| Errno::EIO.into())
    }

    fn make(&self, in_blob: &[u8], level: u32, generation: u64) -> SysResult<Made> {
        let data: [u8; REPORT_DATA_LEN] = in_blob.try_into().map_err(|_| Errno::EINVAL)?;
        let report = self.attester.evidence(&data, level).map_err(errno_of)?;
        Ok(Made { generation, out_blob: report.bytes, aux_blob: report.certificates })
    }
}

const fn errno_of(error: SecurityError) -> Errno {
    match error {
        SecurityError::Refused(SEV_RET_INVALID_PARAM | SEV_RET_INVALID_KEY) => Errno::EINVAL,
        SecurityError::Refused(_) => Errno::ENXIO,
        SecurityError::Busy => Errno::ETIMEDOUT,
        SecurityError::Broken => Errno::ENOTTY,
    }
}

/// A number as a program writes it: decimal, or with `0x` or `0` in front, and a line end.
fn number(text: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(text).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_read_as_linux_reads_them() {
        for (text, value) in [
            ("0", Some(0)),
            ("3\n", Some(3)),
            ("+1", Some(1)),
            ("0x10", Some(16)),
            ("017", Some(15)),
            ("", None),
            ("\n", None),
            ("3\n\n", None),
            ("-1", None),
            ("08", None),
            ("++1", None),
            ("0x+1", None),
            ("4294967296", None),
            (" 1", None),
        ] {
            assert_eq!(number(text.as_bytes()), value, "{text:?}");
        }
    }
}
