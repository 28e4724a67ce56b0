// SPDX-License-Identifier: MIT
//! The first block of a package, and where the rest is.
//!
//! Little-endian. The first 4096 bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `SRROOM01` |
//! | 8 | 4 | number of sections |
//! | 12 | 52 | zero |
//! | 64 | 64 each | sections |
//!
//! and a section:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | [`Kind`] |
//! | 4 | 4 | zero |
//! | 8 | 8 | offset in the file, a multiple of 4096 |
//! | 16 | 8 | length in bytes |
//! | 24 | 32 | SHA-256 of its bytes; of the image its root digest |
//! | 56 | 8 | zero |
//!
//! The rest of the block is zero. Sections come in the order of their kinds, each kind once, one
//! behind the other, filled up with zeros to whole blocks; nothing is behind the last. So a package
//! has one encoding, and the SHA-256 of its first block stands for all of it.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use strongroom_wire::boot::RECORD_MAX;

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// Most bytes of a kernel image.
pub const KERNEL_LEN_MAX: u64 = 64 << 20;
/// Most bytes of the expected measurements.
pub const EXPECTED_LEN_MAX: u64 = 64 << 10;
/// Most bytes of an image: far over any, far under where sums overflow.
const IMAGE_LEN_MAX: u64 = 1 << 50;

const MAGIC: [u8; 8] = *b"SRROOM01";
const SECTIONS_AT: usize = 64;
const SECTION_LEN: usize = 64;
/// One of each kind.
const SECTIONS_MAX: u32 = 6;

/// Where a kernel image runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// In QEMU, protected by nothing.
    SnpSim,
    /// In an SNP guest.
    Snp,
    /// As a trusted application of OP-TEE.
    Optee,
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The boot record.
    Record,
    /// A kernel image.
    Kernel(Target),
    /// The measurements that the packer expects, JSON.
    Expected,
    /// The root image, blocks and tree.
    Image,
}

/// A section of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: Kind,
    /// Where its bytes are in the file.
    pub place: Range<u64>,
    /// Their digest.
    pub digest: [u8; 32],
}

/// The first block, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    sections: Vec<Section>,
}

/// Bytes that are no package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPackage {
    /// Another magic, or less than a block.
    #[error("its first bytes are not a package's")]
    Magic,
    /// Too many sections.
    #[error("{0} sections, and {SECTIONS_MAX} are the limit")]
    TooMany(u32),
    /// A kind that is not known.
    #[error("a section of kind {0}, which is not known")]
    Kind(u32),
    /// Kinds out of order, or one of them twice.
    #[error("its sections are out of order")]
    Order,
    /// Bytes that have to be zero are not.
    #[error("bytes that have to be zero are not")]
    Reserved,
    /// A section is not where it has to be, or the file is longer or shorter than its sections.
    #[error("a section does not begin or end where it has to")]
    Place,
    /// A section is empty or too long.
    #[error("a section has an impossible length of {0} bytes")]
    Length(u64),
    /// A section that has to be there is not.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// The bytes of a section are not those of its digest.
    #[error("its {0} does not match its digest")]
    Damaged(&'static str),
    /// The boot record does not decode.
    #[error("its boot record cannot be read")]
    Record,
    /// The image is not the boot record's.
    #[error("its image is not the one that its boot record names")]
    OtherImage,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SnpSim, Self::Snp, Self::Optee];
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SnpSim => "snp-sim",
            Self::Snp => "snp",
            Self::Optee => "optee",
        })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|target| target.to_string() == text);
        found.ok_or_else(|| format!("`{text}` is no target; snp, snp-sim and optee are"))
    }
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Record => 1,
            Self::Kernel(Target::SnpSim) => 16,
            Self::Kernel(Target::Snp) => 17,
            Self::Kernel(Target::Optee) => 18,
            Self::Expected => 32,
            Self::Image => 64,
        }
    }

    fn from_number(number: u32) -> Result<Self, BadPackage> {
        let kernels = Target::ALL.into_iter().map(Self::Kernel);
        let mut kinds = [Self::Record, Self::Expected, Self::Image].into_iter().chain(kernels);
        kinds.find(|kind| kind.number() == number).ok_or(BadPackage::Kind(number))
    }

    const fn len_max(self) -> u64 {
        match self {
            Self::Record => RECORD_MAX as u64,
            Self::Kernel(_) => KERNEL_LEN_MAX,
            Self::Expected => EXPECTED_LEN_MAX,
            Self::Image => IMAGE_LEN_MAX,
        }
    }

    /// For messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "boot record",
            Self::Kernel(_) => "kernel image",
            Self::Expected => "list of expected measurements",
            Self::Image => "root image",
        }
    }
}

impl Index {
    /// Places sections of these kinds, lengths and digests one behind the other, in the order of
    /// their kinds.
    ///
    /// # Errors
    /// [`BadPackage::Length`] for an empty or too long section.
    pub fn lay_out(mut contents: Vec<(Kind, u64, [u8; 32])>) -> Result<Self, BadPackage> {
        contents.sort_by_key(|(kind, _, _)| *kind);
        let mut at = BLOCK as u64;
        let mut sections = Vec::new();
        for (kind, length, digest) in contents {
            if length == 0 || length > kind.len_max() {
                return Err(BadPackage::Length(length));
            }
            let place = at..at + length;
            at = place.end.next_multiple_of(BLOCK as u64);
            sections.push(Section { kind, place, digest });
        }
        Ok(Self { sections })
    }

    /// The first block.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.sections.len() as u32).to_le_bytes());
        bytes.resize(SECTIONS_AT, 0);
        for Section { kind, place, digest } in &self.sections {
            bytes.extend(kind.number().to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(place.start.to_le_bytes());
            bytes.extend((place.end - place.start).to_le_bytes());
            bytes.extend(digest);
            bytes.extend([0; 8]);
        }
        let mut block = [0; BLOCK];
        block.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        block
    }

    /// Reads the first block of a file of `file_len` bytes, all of it or nothing.
    ///
    /// # Errors
    /// [`BadPackage`] says what is wrong.
    pub fn parse(block: &[u8; BLOCK], file_len: u64) -> Result<Self, BadPackage> {
        let (head, rest) = block.split_at(SECTIONS_AT);
        let (magic, head) = head.split_first_chunk::<8>().ok_or(BadPackage::Magic)?;
        let (count, zero) = head.split_first_chunk::<4>().ok_or(BadPackage::Magic)?;
        if *magic != MAGIC {
            return Err(BadPackage::Magic);
        }
        let count = u32::from_le_bytes(*count);
        if count > SECTIONS_MAX {
            return Err(BadPackage::TooMany(count));
        }
        let (table, behind) = rest.split_at(count as usize * SECTION_LEN);
        if zero.iter().chain(behind).any(|byte| *byte != 0) {
            return Err(BadPackage::Reserved);
        }
        let read = table.chunks_exact(SECTION_LEN).map(Section::parse);
        let index = Self { sections: read.collect::<Result<_, _>>()? };
        index.check(file_len)?;
        Ok(index)
    }

    /// Checks order and places: there is one way to lay out what there is.
    fn check(&self, file_len: u64) -> Result<(), BadPackage> {
        if !self.sections.is_sorted_by(|first, second| first.kind < second.kind) {
            return Err(BadPackage::Order);
        }
        let mut at = BLOCK as u64;
        for Section { place, .. } in &self.sections {
            if place.start != at {
                return Err(BadPackage::Place);
            }
            at = place.end.next_multiple_of(BLOCK as u64);
        }
        if at == file_len { Ok(()) } else { Err(BadPackage::Place) }
    }

    /// The sections, in their order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section of that kind.
    #[must_use]
    pub fn section(&self, kind: Kind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }
}

impl Section {
    fn parse(bytes: &[u8]) -> Result<Self, BadPackage> {
        let word = |at: usize| {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
            field.map_or(0, |field| u64::from_le_bytes(*field))
        };
        let (kind, offset, length, zero) = (word(0), word(8), word(16), word(56));
        if zero != 0 || kind >> 32 != 0 {
            return Err(BadPackage::Reserved);
        }
        let kind = Kind::from_number(kind as u32)?;
        if length == 0 || length > kind.len_max() {
            return Err(BadPackage::Length(length));
        }
        let end = offset.checked_add(length).filter(|end| *end <= IMAGE_LEN_MAX * 2);
        let place = offset..end.ok_or(BadPackage::Place)?;
        let digest = bytes.get(24..).and_then(|rest| rest.first_chunk()).copied();
        Ok(Self { kind, place, digest: digest.unwrap_or_default() })
    }
}
