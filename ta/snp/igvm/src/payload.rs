// SPDX-License-Identifier: MIT
//! The payload's ELF file as pages.

use crate::{ImageError, Page, PageKind};
use goblin::elf::Elf;
use goblin::elf::header::{EM_X86_64, ET_EXEC};
use goblin::elf::program_header::PT_LOAD;
use strongroom_snp_layout::{NOTE_ENTRIES, NOTE_NAME, PAGE, PAGE_LEN, PAYLOAD};

/// Memory that the payload's boot tables reach.
const REACH: u64 = 1 << 30;
/// Most bytes of a payload in memory. Ours has about two MiB.
const LOADED_MAX: u64 = 64 << 20;

/// A payload that was read.
#[derive(Debug)]
pub(crate) struct Payload {
    /// In the order of their addresses, without gaps.
    pub(crate) pages: Vec<Page>,
    /// Where the first processor enters.
    pub(crate) entry: u64,
    /// Where the others park.
    pub(crate) park: u64,
}

impl Payload {
    pub(crate) fn read(file: &[u8]) -> Result<Self, ImageError> {
        let refuse = |reason: &str| ImageError::Payload(reason.to_owned());
        let elf = Elf::parse(file).map_err(|error| ImageError::Payload(error.to_string()))?;
        if elf.header.e_machine != EM_X86_64 || elf.header.e_type != ET_EXEC || !elf.is_64 {
            return Err(refuse("it is no x86-64 executable"));
        }
        let memory = load(&elf, file)?;
        let (entry, park) =
            entries(&elf, file).ok_or_else(|| refuse("it has no note with its SNP entries"))?;
        let end = PAYLOAD.saturating_add(memory.len() as u64);
        if ![entry, park].iter().all(|address| (PAYLOAD..end).contains(address)) {
            return Err(refuse("an entry lies outside of it"));
        }
        let pages = memory.as_chunks::<PAGE_LEN>().0.iter().zip(0_u64..);
        let pages = pages.map(|(contents, index)| Page {
            address: PAYLOAD.saturating_add(index.saturating_mul(PAGE)),
            kind: PageKind::Measured(Box::new(*contents)),
        });
        Ok(Self { pages: pages.collect(), entry, park })
    }
}

/// All segments as one piece of memory from [`PAYLOAD`] on, whole pages, zero where no file data is.
fn load(elf: &Elf<'_>, file: &[u8]) -> Result<Vec<u8>, ImageError> {
    let refuse = |reason: &str| ImageError::Payload(reason.to_owned());
    let mut memory = Vec::new();
    for segment in elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD) {
        let end = segment.p_paddr.checked_add(segment.p_memsz);
        let end = end.filter(|end| *end <= REACH).ok_or_else(|| refuse("it is out of reach"))?;
        let start = segment.p_paddr.checked_sub(PAYLOAD);
        let start = start.ok_or_else(|| refuse("a segment lies in front of its place"))?;
        let length = end.saturating_sub(PAYLOAD).next_multiple_of(PAGE);
        if length > LOADED_MAX || segment.p_filesz > segment.p_memsz {
            return Err(refuse("a segment's size is impossible"));
        }
        let data = segment
            .p_offset
            .checked_add(segment.p_filesz)
            .and_then(|data_end| file.get(segment.p_offset as usize..data_end as usize))
            .ok_or_else(|| refuse("it is cut short"))?;
        if memory.len() < length as usize {
            memory.resize(length as usize, 0);
        }
        let to = memory.iter_mut().skip(start as usize);
        to.zip(data).for_each(|(to, from)| *to = *from);
    }
    if memory.is_empty() {
        return Err(refuse("nothing is to be loaded"));
    }
    Ok(memory)
}

fn entries(elf: &Elf<'_>, file: &[u8]) -> Option<(u64, u64)> {
    let mut notes = elf.iter_note_headers(file)?.flatten();
    let note = notes.find(|note| {
        note.name.trim_end_matches('\0') == NOTE_NAME && note.n_type == NOTE_ENTRIES
    })?;
    let (entry, rest) = note.desc.split_first_chunk()?;
    let (park, rest) = rest.split_first_chunk()?;
    rest.is_empty().then(|| (u64::from_le_bytes(*entry), u64::from_le_bytes(*park)))
}
