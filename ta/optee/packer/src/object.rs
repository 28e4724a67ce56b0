// SPDX-License-Identifier: MIT
//! An ELF file of the program, and which of its words are code.

use crate::{File, PackError};
use goblin::elf::header::{EM_AARCH64, ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PF_W, PF_X, PT_LOAD};
use goblin::elf::section_header::{SHF_EXECINSTR, SHT_NOBITS};
use goblin::elf::{Elf, Sym};
use std::ops::Range;

/// Bytes of a page of the trusted application.
pub const PAGE: u64 = 4096;
/// The largest page size a program for aarch64 is linked for.
const ALIGNMENT_MAX: u64 = 0x1_0000;

/// A loadable segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its virtual address.
    pub address: u64,
    /// What of the file it shows.
    pub file: Range<usize>,
    /// Bytes in memory.
    pub memory: u64,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether it can be executed.
    pub executable: bool,
}

/// What is known about a word of an executable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An instruction.
    Code,
    /// No instruction.
    Data,
    /// The file does not say.
    Unknown,
}

/// A checked ELF file.
#[derive(Debug)]
pub struct Object {
    /// Its path in the root image.
    pub path: String,
    /// Its bytes.
    pub contents: Vec<u8>,
    /// Its loadable segments, in ascending order, without those of no size.
    pub loads: Vec<Load>,
    /// The largest alignment of a segment.
    pub alignment: u64,
    /// Its interpreter.
    pub interpreter: Option<String>,
    /// Names of the libraries it needs.
    pub needed: Vec<String>,
    /// Where it looks for them first (`DT_RUNPATH`, or `DT_RPATH`).
    pub search: Vec<String>,
    /// Virtual addresses with code, ascending.
    code: Vec<Range<u64>>,
    /// Whether there are sections to know that from.
    sections: bool,
}

impl Object {
    /// Reads a file and checks that it can be packed.
    ///
    /// # Errors
    ///
    /// [`PackError`] names what is in the way.
    pub fn parse(file: File) -> Result<Self, PackError> {
        let File { path, contents } = file;
        let broken =
            |reason: &str| PackError::Malformed { path: path.clone(), reason: reason.into() };
        let elf = Elf::parse(&contents).map_err(|error| broken(&error.to_string()))?;
        check_kind(&path, &elf)?;
        let loads = loads(&path, &elf, &contents)?;
        let alignment = alignment(&elf).ok_or_else(|| broken("an odd segment alignment"))?;
        let interpreter = elf.interpreter.map(str::to_owned);
        let needed = elf.libraries.iter().map(|name| (*name).to_owned()).collect();
        let search = if elf.runpaths.is_empty() { &elf.rpaths } else { &elf.runpaths };
        let search = search.iter().flat_map(|path| path.split(':')).map(str::to_owned).collect();
        let code = code(&elf);
        let sections = !elf.section_headers.is_empty();
        Ok(Self { path, loads, alignment, interpreter, needed, search, code, sections, contents })
    }

    /// What the word at a virtual address is.
    pub fn kind(&self, address: u64) -> Kind {
        if !self.sections {
            return Kind::Unknown;
        }
        let next = self.code.partition_point(|range| range.end <= address);
        match self.code.get(next) {
            Some(range) if range.start <= address => Kind::Code,
            Some(_) | None => Kind::Data,
        }
    }

    /// The pages of a segment that have code in them: all of it where the file does not say.
    pub fn code_pages(&self, load: &Load) -> Range<u64> {
        let whole = load.address & !(PAGE - 1)..(load.address + load.memory).next_multiple_of(PAGE);
        if !self.sections {
            return whole;
        }
        let inside = |range: &&Range<u64>| range.start < whole.end && whole.start < range.end;
        let mut ranges = self.code.iter().filter(inside);
        let Some(first) = ranges.next() else { return whole.start..whole.start };
        let last = ranges.next_back().unwrap_or(first);
        let start = first.start & !(PAGE - 1);
        start.max(whole.start)..last.end.next_multiple_of(PAGE).min(whole.end)
    }

    /// The first page and the end of the last segment.
    pub fn extent(&self) -> Range<u64> {
        let start = self.loads.first().map_or(0, |load| load.address & !(PAGE - 1));
        let end = self.loads.last().map_or(0, |load| load.address + load.memory);
        start..end
    }
}

fn check_kind(path: &str, elf: &Elf<'_>) -> Result<(), PackError> {
    let broken = |reason: &str| PackError::Malformed { path: path.into(), reason: reason.into() };
    if elf.header.e_machine != EM_AARCH64 {
        return Err(PackError::WrongMachine { path: path.into(), machine: elf.header.e_machine });
    }
    if !elf.is_64 || !elf.little_endian {
        return Err(broken("not 64 bits wide, or big-endian"));
    }
    match elf.header.e_type {
        ET_DYN => Ok(()),
        ET_EXEC => Err(PackError::NotPositionIndependent { path: path.into() }),
        _ => Err(broken("neither a program nor a shared library")),
    }
}

fn loads(path: &str, elf: &Elf<'_>, contents: &[u8]) -> Result<Vec<Load>, PackError> {
    let broken = |reason: &str| PackError::Malformed { path: path.into(), reason: reason.into() };
    let mut loads: Vec<Load> = Vec::new();
    for segment in &elf.program_headers {
        if segment.p_type != PT_LOAD || segment.p_memsz == 0 {
            continue;
        }
        let (writable, executable) = (segment.p_flags & PF_W != 0, segment.p_flags & PF_X != 0);
        let address = segment.p_vaddr;
        if writable && executable {
            return Err(PackError::WritableCode { path: path.into(), address });
        }
        let file = segment.file_range();
        let bounded = segment.p_filesz <= segment.p_memsz
            && contents.get(file.clone()).is_some()
            && address.checked_add(segment.p_memsz).is_some_and(|end| end < 1 << 32);
        if !bounded || (address ^ segment.p_offset) & (PAGE - 1) != 0 {
            return Err(broken("a segment outside of the file or with an impossible address"));
        }
        if !writable && segment.p_filesz != segment.p_memsz {
            return Err(broken("a read-only segment with zeroes behind it"));
        }
        let page = address & !(PAGE - 1);
        if loads
            .last()
            .is_some_and(|last| (last.address + last.memory).next_multiple_of(PAGE) > page)
        {
            return Err(broken("segments that overlap, share a page or are out of order"));
        }
        loads.push(Load { address, file, memory: segment.p_memsz, writable, executable });
    }
    if loads.is_empty() { Err(broken("nothing to load")) } else { Ok(loads) }
}

fn alignment(elf: &Elf<'_>) -> Option<u64> {
    let loads = elf.program_headers.iter().filter(|segment| segment.p_type == PT_LOAD);
    let alignment = loads.map(|segment| segment.p_align).max()?.max(PAGE);
    (alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX).then_some(alignment)
}

/// Executable sections, without what mapping symbols (ELF for the Arm 64-bit Architecture, IHI
/// 0056, "Mapping symbols") call data.
fn code(elf: &Elf<'_>) -> Vec<Range<u64>> {
    let executable = elf.section_headers.iter().filter(|section| {
        section.sh_flags & u64::from(SHF_EXECINSTR) != 0 && section.sh_type != SHT_NOBITS
    });
    let mut sections: Vec<Range<u64>> = executable
        .map(|section| section.sh_addr..section.sh_addr.saturating_add(section.sh_size))
        .filter(|range| !range.is_empty())
        .collect();
    sections.sort_by_key(|range| range.start);
    let marks = marks(elf);
    let mut code = Vec::new();
    for section in sections {
        let mut start = Some(section.start);
        let first = marks.partition_point(|(address, _)| *address < section.start);
        for (address, is_data) in marks.iter().skip(first) {
            if *address >= section.end {
                break;
            }
            match (start, is_data) {
                (Some(from), true) => {
                    code.push(from..*address);
                    start = None;
                }
                (None, false) => start = Some(*address),
                (Some(_), false) | (None, true) => {}
            }
        }
        code.extend(start.map(|from| from..section.end));
    }
    code.retain(|range| !range.is_empty());
    code
}

/// Mapping symbols: where they are, and whether data begins there.
fn marks(elf: &Elf<'_>) -> Vec<(u64, bool)> {
    let named = |symbol: &Sym| elf.strtab.get_at(symbol.st_name).unwrap_or_default();
    let mut marks: Vec<(u64, bool)> = elf
        .syms
        .iter()
        .filter_map(|symbol| match named(&symbol).get(..2) {
            Some("$x") => Some((symbol.st_value, false)),
            Some("$d") => Some((symbol.st_value, true)),
            Some(_) | None => None,
        })
        .collect();
    // Where both are at one place, what follows is code: the data there has no bytes.
    marks.sort_by_key(|(address, is_data)| (*address, !is_data));
    marks
}
