// SPDX-License-Identifier: MIT
//! Boots the pages of an image without SEV-SNP, for the simulation.
//!
//! [`elf`] plays the host: it places the pages, fills in what a host and its security processor
//! fill in, and enters the first processor's state by way of a few instructions, as far as a
//! machine without encryption can have that state: on page tables of its own, for those of the
//! image mark pages as private. The result is an ELF with a PVH note, which QEMU starts as a kernel.

use crate::{ImageError, LaunchImage, PageKind};
use igvm::snp_defs::SevVmsa;
use igvm_defs::{IGVM_VHS_MEMORY_MAP_ENTRY, MemoryMapEntryType};
use std::collections::BTreeMap;
use std::ops::Range;
use strongroom_snp_layout::simulation::MAILBOX;
use strongroom_snp_layout::{PAGE, PAGE_LEN, PAYLOAD};
use zerocopy::IntoBytes as _;

type Pages = BTreeMap<u64, Vec<u8>>;

/// What is not in the image.
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    /// Memory that the payload is told of.
    pub memory: &'a [Range<u64>],
    /// The security processor's keys for the guest.
    pub secrets: &'a [u8; PAGE_LEN],
    /// CPUID values.
    pub cpuid: &'a [u8; PAGE_LEN],
}

/// Where the instructions are, in front of the payload and behind what the file places there.
const CODE: u64 = 0x10_8000;
/// The descriptor table, in the page of the instructions.
const DESCRIPTORS: u64 = CODE + 0x800;
/// Root table, table of pointers and directory.
const TABLES: u64 = 0x10_9000;
/// An ELF with the pages of an image.
///
/// # Errors
/// [`ImageError::Igvm`] for an image that places pages where the instructions have to be, and for
/// more ranges of memory than a map has room for.
pub fn elf(image: &LaunchImage, filling: &Filling<'_>) -> Result<Vec<u8>, ImageError> {
    let wrong = |reason: &str| ImageError::Igvm(reason.to_owned());
    let mut pages = place(image, filling)?;
    let state = image.save_areas().first().ok_or_else(|| wrong("it has no first processor"))?;
    let ours = CODE..MAILBOX.saturating_add(PAGE);
    if pages.range(ours.start..PAYLOAD).any(|(address, _)| ours.contains(address)) {
        return Err(wrong("the trampoline's place is taken"));
    }
    pages.insert(CODE, code(state)?);
    pages.extend(
        (0..3).map(|index| (TABLES.saturating_add(PAGE.saturating_mul(index)), table(index))),
    );
    Ok(write_elf(&pages))
}

/// The image's pages by address.
fn place(image: &LaunchImage, filling: &Filling<'_>) -> Result<Pages, ImageError> {
    let mut pages = Pages::new();
    for page in image.pages() {
        let contents = match &page.kind {
            PageKind::Measured(contents) => contents.to_vec(),
            PageKind::MemoryMap => memory_map(filling.memory)?,
            PageKind::Secrets => filling.secrets.to_vec(),
            PageKind::Cpuid => filling.cpuid.to_vec(),
        };
        pages.insert(page.address, contents);
    }
    Ok(pages)
}

/// What a host says of memory.
fn memory_map(memory: &[Range<u64>]) -> Result<Vec<u8>, ImageError> {
    let entry = |range: &Range<u64>| IGVM_VHS_MEMORY_MAP_ENTRY {
        starting_gpa_page_number: range.start / PAGE,
        number_of_pages: range.end.saturating_sub(range.start) / PAGE,
        entry_type: MemoryMapEntryType::MEMORY,
        flags: 0,
        reserved: 0,
    };
    let mut map: Vec<u8> =
        memory.iter().flat_map(|range| entry(range).as_bytes().to_vec()).collect();
    if map.len() > PAGE_LEN {
        return Err(ImageError::Igvm("the memory map is too long".to_owned()));
    }
    map.resize(PAGE_LEN, 0);
    Ok(map)
}

/// From PVH's 32-bit entry to the state's 64-bit one; the descriptor table with its pointer.
fn code(state: &SevVmsa) -> Result<Vec<u8>, ImageError> {
    let narrow = |address: u64| {
        u32::try_from(address).map_err(|_| ImageError::Igvm("an address is too high".to_owned()))
    };
    let mut code = vec![0xfa, 0xfc]; // cli; cld
    code.extend([0xb8, 0x20, 0, 0, 0, 0x0f, 0x22, 0xe0]); // mov cr4, PAE
    code.push(0xb8); // mov cr3, tables
    code.extend(narrow(TABLES)?.to_le_bytes());
    code.extend([0x0f, 0x22, 0xd8]);
    code.extend([0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32]); // EFER |= LME, NXE
    code.extend([0x0d, 0, 9, 0, 0, 0x0f, 0x30]);
    code.extend([0xb8, 0x33, 0, 1, 0x80, 0x0f, 0x22, 0xc0]); // mov cr0, PG, WP, NE, ET, MP, PE
    code.extend([0x0f, 0x01, 0x15]); // lgdt [pointer]
    let pointer = DESCRIPTORS.saturating_add(32);
    code.extend(narrow(pointer)?.to_le_bytes());
    code.push(0xea); // ljmp 0x10:next
    let next = CODE.saturating_add(code.len() as u64).saturating_add(6);
    code.extend(narrow(next)?.to_le_bytes());
    code.extend([0x10, 0]);
    code.extend([0x66, 0xb8, 0x18, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0]); // ds, es, ss
    for (opcode, value) in [
        ([0x48, 0xbb], state.rbx),
        ([0x48, 0xba], state.rdx),
        ([0x49, 0xbc], state.r12),
        ([0x48, 0xb8], state.rip),
    ] {
        code.extend(opcode); // mov register, value
        code.extend(value.to_le_bytes());
    }
    code.extend([0xff, 0xe0]); // jmp rax
    code.resize(DESCRIPTORS.saturating_sub(CODE) as usize, 0);
    for descriptor in [0, 0, 0x00af_9b00_0000_ffff_u64, 0x00cf_9300_0000_ffff] {
        code.extend(descriptor.to_le_bytes());
    }
    code.extend(31_u16.to_le_bytes());
    code.extend(narrow(DESCRIPTORS)?.to_le_bytes());
    code.resize(PAGE_LEN, 0);
    Ok(code)
}

/// One of three page tables that map the first GiB where it is.
fn table(index: u64) -> Vec<u8> {
    let mut entries = vec![0_u64; PAGE_LEN / 8];
    match index {
        0 | 1 => {
            let below = TABLES.saturating_add(PAGE.saturating_mul(index.saturating_add(1)));
            entries.iter_mut().take(1).for_each(|entry| *entry = below | 3);
        }
        _ => {
            for (entry, number) in entries.iter_mut().zip(0_u64..) {
                *entry = number.saturating_mul(2 << 20) | 0x83;
            }
        }
    }
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

/// ELF-64 with a segment for each run of pages, and a PVH note that names the instructions.
fn write_elf(pages: &Pages) -> Vec<u8> {
    const HEADER: u64 = 64;
    const PROGRAM_HEADER: u64 = 56;
    let runs = runs(pages);
    let mut note = Vec::new();
    for word in [4, 8, 18_u32] {
        note.extend(word.to_le_bytes());
    }
    note.extend(*b"Xen\0");
    note.extend(CODE.to_le_bytes());
    let count = (runs.len() as u64).saturating_add(1);
    let note_at = HEADER.saturating_add(PROGRAM_HEADER.saturating_mul(count));
    let mut data_at = note_at.saturating_add(note.len() as u64).next_multiple_of(PAGE);
    let mut file = elf_header(count);
    file.extend(program_header((4, 4), note_at, 0, note.len() as u64));
    let mut data = Vec::new();
    for (start, contents) in runs {
        file.extend(program_header((1, PAGE), data_at, start, contents.len() as u64));
        data_at = data_at.saturating_add(contents.len() as u64);
        data.extend(contents);
    }
    file.extend(note);
    file.resize(file.len().next_multiple_of(PAGE_LEN), 0);
    file.extend(data);
    file
}

fn runs(pages: &Pages) -> Vec<(u64, Vec<u8>)> {
    let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
    for (address, contents) in pages {
        match runs.last_mut() {
            Some((start, run)) if start.saturating_add(run.len() as u64) == *address => {
                run.extend_from_slice(contents);
            }
            Some(_) | None => runs.push((*address, contents.clone())),
        }
    }
    runs
}

fn elf_header(program_headers: u64) -> Vec<u8> {
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64, version 1
    header.extend(CODE.to_le_bytes());
    header.extend(64_u64.to_le_bytes()); // program headers
    header.extend(0_u64.to_le_bytes()); // no section headers
    header.extend([0, 0, 0, 0, 64, 0, 56, 0]);
    header.extend((program_headers as u16).to_le_bytes());
    header.extend([0; 6]);
    header
}

/// A program header of that kind and alignment.
fn program_header((kind, align): (u32, u64), offset: u64, address: u64, length: u64) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(kind.to_le_bytes());
    header.extend(7_u32.to_le_bytes());
    for word in [offset, address, address, length, length, align] {
        header.extend(word.to_le_bytes());
    }
    header
}
