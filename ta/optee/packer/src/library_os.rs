// SPDX-License-Identifier: MIT
//! The library OS as the linker made it: what of it goes into the packed file, and the places in
//! it that packing fills in.

use crate::PackError;
use crate::layout::Segment;
use crate::object::PAGE;
use goblin::elf::Elf;
use goblin::elf::header::{EM_AARCH64, ET_DYN};
use goblin::elf::program_header::{PT_DYNAMIC, PT_LOAD, PT_TLS};
use goblin::elf::section_header::SHF_ALLOC;
use strongroom_optee_package::{ANCHOR_SYMBOL, Anchor, GATES, Gate, Uuid};

/// Symbol of the header that OP-TEE reads: it starts with the UUID.
const HEAD_SYMBOL: &str = "ta_head";
const SECTION_HEADER: usize = 64;

/// A parsed library OS.
#[derive(Debug)]
pub(crate) struct LibraryOs<'a> {
    source: &'a [u8],
    elf: Elf<'a>,
    /// A copy of the file that is filled in.
    bytes: Vec<u8>,
    gates: [(Gate, u64); GATES.len()],
}

impl<'a> LibraryOs<'a> {
    pub(crate) fn parse(source: &'a [u8]) -> Result<Self, PackError> {
        let broken = |reason: &str| PackError::LibraryOs(reason.to_owned());
        let elf = Elf::parse(source).map_err(|error| broken(&error.to_string()))?;
        if elf.header.e_machine != EM_AARCH64 || elf.header.e_type != ET_DYN {
            return Err(broken("no position-independent code for aarch64"));
        }
        for segment in elf.program_headers.iter().filter(|segment| segment.p_type == PT_LOAD) {
            let inside = source.get(segment.file_range()).is_some();
            if !inside || segment.p_vaddr % PAGE != 0 {
                return Err(broken("a segment that is not in the file, or not on a page"));
            }
        }
        let mut gates = [(Gate::Call, 0); GATES.len()];
        for (place, (gate, name)) in gates.iter_mut().zip(GATES) {
            *place = (gate, symbol(&elf, name)?);
        }
        Ok(Self { source, elf, bytes: source.to_vec(), gates })
    }

    /// Where its last segment ends.
    pub(crate) fn end(&self) -> u64 {
        self.loads().map(|segment| segment.p_vaddr + segment.p_memsz).max().unwrap_or(0)
    }

    /// The address of a gate.
    pub(crate) fn gate(&self, gate: Gate) -> u64 {
        let found = self.gates.iter().find(|(other, _)| *other == gate);
        found.map_or(0, |(_, address)| *address)
    }

    fn loads(&self) -> impl Iterator<Item = &goblin::elf::ProgramHeader> {
        self.elf.program_headers.iter().filter(|segment| segment.p_type == PT_LOAD)
    }

    /// Puts the TA's name where OP-TEE looks for it.
    pub(crate) fn name(&mut self, uuid: Uuid) -> Result<(), PackError> {
        let (low, middle, high, last) = uuid.fields();
        let mut bytes = Vec::from(low.to_le_bytes());
        bytes.extend(middle.to_le_bytes());
        bytes.extend(high.to_le_bytes());
        bytes.extend(last);
        let address = symbol(&self.elf, HEAD_SYMBOL)?;
        self.put(address, &bytes)
    }

    /// Says where everything is.
    pub(crate) fn anchor(&mut self, anchor: Anchor) -> Result<(), PackError> {
        let address = symbol(&self.elf, ANCHOR_SYMBOL)?;
        let words = Anchor { own: address, ..anchor }.encode();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let there = self.at(address, bytes.len());
        let empty: Vec<u8> = Anchor::EMPTY.iter().flat_map(|word| word.to_le_bytes()).collect();
        if there.and_then(|at| self.source.get(at)) != Some(&empty) {
            return Err(PackError::LibraryOs("its anchor is not empty".to_owned()));
        }
        self.put(address, &bytes)
    }

    fn put(&mut self, address: u64, bytes: &[u8]) -> Result<(), PackError> {
        let at = self.at(address, bytes.len());
        let place = at.and_then(|at| self.bytes.get_mut(at));
        let outside = || PackError::LibraryOs(format!("{address:#x} is not in its file"));
        place.ok_or_else(outside)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Where an address is in the file.
    fn at(&self, address: u64, length: usize) -> Option<std::ops::Range<usize>> {
        let segment = self.loads().find(|segment| {
            segment.p_vaddr <= address
                && address + length as u64 <= segment.p_vaddr + segment.p_filesz
        })?;
        let start = (address - segment.p_vaddr + segment.p_offset) as usize;
        Some(start..start + length)
    }

    /// Its own segments, filled in.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let segment = |header: &goblin::elf::ProgramHeader| Segment {
            address: header.p_vaddr,
            bytes: self.bytes.get(header.file_range()).unwrap_or_default().to_vec(),
            memory: header.p_memsz,
            flags: header.p_flags,
        };
        self.loads().map(segment).collect()
    }

    /// Program headers that say something about addresses only, as they are.
    pub(crate) fn other_headers(&self) -> Vec<Vec<u8>> {
        let size = usize::from(self.elf.header.e_phentsize);
        let start = self.elf.header.e_phoff as usize;
        let headers = self.elf.program_headers.iter().enumerate();
        headers
            .filter(|(_, header)| matches!(header.p_type, PT_DYNAMIC | PT_TLS))
            .filter_map(|(index, _)| {
                let at = start + index * size;
                self.source.get(at..at + size).map(<[u8]>::to_vec)
            })
            .collect()
    }

    /// Its section headers: the loader finds symbols and relocations through them, by address.
    /// What is not in memory is left out, in its place.
    pub(crate) fn section_headers(&self) -> Vec<u8> {
        let start = self.elf.header.e_shoff as usize;
        let mut bytes = Vec::new();
        for (index, section) in self.elf.section_headers.iter().enumerate() {
            let at = start + index * SECTION_HEADER;
            let header = self.source.get(at..at + SECTION_HEADER).unwrap_or_default();
            if section.sh_flags & u64::from(SHF_ALLOC) != 0 {
                bytes.extend_from_slice(header);
            } else {
                bytes.resize(bytes.len() + SECTION_HEADER, 0);
            }
        }
        bytes
    }

    /// The ELF header with other places for its tables.
    pub(crate) fn header(&self, sections_at: u64, segments: u16, sections: u16) -> Vec<u8> {
        let mut header = self.source.get(..64).unwrap_or_default().to_vec();
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = header.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(32, &64_u64.to_le_bytes()); // e_phoff
        put(40, &sections_at.to_le_bytes()); // e_shoff
        put(56, &segments.to_le_bytes()); // e_phnum
        put(60, &sections.to_le_bytes()); // e_shnum
        put(62, &0_u16.to_le_bytes()); // e_shstrndx: names are not in memory
        header
    }
}

fn symbol(elf: &Elf<'_>, name: &str) -> Result<u64, PackError> {
    let named = |symbol: &goblin::elf::Sym| elf.strtab.get_at(symbol.st_name) == Some(name);
    let found = elf.syms.iter().find(|symbol| named(symbol) && symbol.st_value != 0);
    // An exported symbol survives stripping.
    let exported = |symbol: &goblin::elf::Sym| elf.dynstrtab.get_at(symbol.st_name) == Some(name);
    let found = found.or_else(|| elf.dynsyms.iter().find(exported));
    found
        .map(|symbol| symbol.st_value)
        .ok_or_else(|| PackError::LibraryOs(format!("it has no symbol {name}")))
}
