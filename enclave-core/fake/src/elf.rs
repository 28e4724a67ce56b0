// SPDX-License-Identifier: MIT
//! Program files: enough ELF to be loaded, with every field open to abuse.

use strongroom_abi::arch;

/// Bytes of the ELF header.
const HEADER: usize = 64;
/// Bytes of a program header.
const PROGRAM_HEADER: usize = 56;
const EXECUTABLE: u16 = 2;
const POSITION_INDEPENDENT: u16 = 3;
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;
/// Where programs that are not position-independent are linked.
const BASE: u64 = 0x40_0000;

/// A program header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// `p_type`.
    pub kind: u32,
    /// `p_flags`.
    pub flags: u32,
    /// `p_offset`.
    pub offset: u64,
    /// `p_vaddr` and `p_paddr`.
    pub address: u64,
    /// `p_filesz`.
    pub file_size: u64,
    /// `p_memsz`.
    pub memory_size: u64,
}

/// An ELF file; its fields are written as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// `e_type`.
    pub kind: u16,
    /// `e_machine`.
    pub machine: u16,
    /// `e_entry`.
    pub entry: u64,
    /// `e_phoff`.
    pub headers_at: u64,
    /// `e_phentsize`.
    pub header_size: u16,
    /// `e_phnum`, where it is not the number of segments.
    pub header_count: Option<u16>,
    /// Program headers.
    pub segments: Vec<Segment>,
    /// What follows the program headers.
    pub contents: Vec<u8>,
}

impl Elf {
    /// A static program: code with the headers in it, and writable data with zeroes behind them.
    /// The data start at [`Elf::DATA`].
    pub fn program(entry: u64, data: &[u8]) -> Self {
        let start = (HEADER + 2 * PROGRAM_HEADER) as u64;
        let size = start + data.len() as u64;
        let code = Segment {
            kind: LOAD,
            flags: 5,
            offset: 0,
            address: BASE,
            file_size: size,
            memory_size: size,
        };
        let variables = Segment {
            kind: LOAD,
            flags: 6,
            offset: start,
            address: Self::DATA,
            file_size: data.len() as u64,
            memory_size: data.len() as u64 + 0x3000,
        };
        Self {
            kind: EXECUTABLE,
            machine: arch::ELF_MACHINE,
            entry,
            headers_at: HEADER as u64,
            header_size: PROGRAM_HEADER as u16,
            header_count: None,
            segments: vec![code, variables],
            contents: data.to_vec(),
        }
    }

    /// Where the data of [`Elf::program`] lie.
    pub const DATA: u64 = 0x60_0000 + (HEADER + 2 * PROGRAM_HEADER) as u64;

    /// Adds an interpreter's path.
    #[must_use]
    pub fn with_interpreter(mut self, path: &[u8]) -> Self {
        // One more header moves what follows.
        let shift = PROGRAM_HEADER as u64;
        for segment in &mut self.segments {
            if segment.offset == 0 {
                segment.file_size += shift + path.len() as u64;
                segment.memory_size = segment.file_size;
            } else {
                segment.offset += shift;
                segment.address += shift;
            }
        }
        let at = (HEADER + (self.segments.len() + 1) * PROGRAM_HEADER + self.contents.len()) as u64;
        self.contents.extend_from_slice(path);
        self.segments.push(Segment {
            kind: INTERPRETER,
            flags: 4,
            offset: at,
            address: BASE + at,
            file_size: path.len() as u64,
            memory_size: path.len() as u64,
        });
        self
    }

    /// Makes it position-independent, linked at 0.
    #[must_use]
    pub fn independent(mut self) -> Self {
        self.kind = POSITION_INDEPENDENT;
        for segment in &mut self.segments {
            segment.address -= BASE;
        }
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let count = self.header_count.unwrap_or(self.segments.len() as u16);
        let mut file = Vec::new();
        file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend_from_slice(&self.kind.to_le_bytes());
        file.extend_from_slice(&self.machine.to_le_bytes());
        file.extend_from_slice(&1u32.to_le_bytes());
        for word in [self.entry, self.headers_at, 0] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&0u32.to_le_bytes());
        for half in [HEADER as u16, self.header_size, count, 0, 0, 0] {
            file.extend_from_slice(&half.to_le_bytes());
        }
        for segment in &self.segments {
            let Segment { kind, flags, offset, address, file_size, memory_size } = *segment;
            file.extend_from_slice(&kind.to_le_bytes());
            file.extend_from_slice(&flags.to_le_bytes());
            for word in [offset, address, address, file_size, memory_size, 4096] {
                file.extend_from_slice(&word.to_le_bytes());
            }
        }
        file.extend_from_slice(&self.contents);
        file
    }
}
