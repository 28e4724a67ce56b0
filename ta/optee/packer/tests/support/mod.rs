// SPDX-License-Identifier: MIT
//! ELF files made for tests.

/// A section: name, type, flags, and which bytes of the file's text it covers.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// An aarch64 shared object: one executable segment that starts with the headers, and one writable.
#[derive(Clone, Debug)]
pub(crate) struct Elf {
    pub(crate) kind: u16,
    pub(crate) machine: u16,
    /// Words of the section `.text`, at [`TEXT`].
    pub(crate) text: Vec<u32>,
    pub(crate) data: Vec<u8>,
    pub(crate) zeroes: u64,
    pub(crate) text_flags: u32,
    pub(crate) alignment: u64,
    /// Sections besides `.text`; no sections at all without this.
    pub(crate) sections: Option<Vec<Section>>,
    /// Symbols: name and address.
    pub(crate) symbols: Vec<(String, u64)>,
}

/// Where the words of the text lie.
pub(crate) const TEXT: u64 = 0x1000;
/// Where the data lie.
pub(crate) const DATA: u64 = 0x2_0000;
const READ_EXECUTE: u32 = 5;
const READ_WRITE: u32 = 6;
const EXECUTABLE: u64 = 6;

impl Elf {
    pub(crate) fn with_text(text: &[u32]) -> Self {
        Self {
            kind: 3,
            machine: 183,
            text: text.to_vec(),
            data: b"data".to_vec(),
            zeroes: 0x100,
            text_flags: READ_EXECUTE,
            alignment: 0x1_0000,
            sections: Some(Vec::new()),
            symbols: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let text_size = TEXT + 4 * self.text.len() as u64;
        let mut file = vec![0; TEXT as usize];
        self.text.iter().for_each(|word| file.extend(word.to_le_bytes()));
        let data_at = (file.len() as u64).next_multiple_of(self.alignment.max(0x1000));
        file.resize(data_at as usize, 0);
        file.extend(&self.data);
        let mut headers = Vec::new();
        let align = self.alignment;
        let load = |flags: u32, offset: u64, address: u64, size: u64, memory: u64| {
            let mut bytes = Vec::new();
            bytes.extend(1_u32.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            for field in [offset, address, address, size, memory, align] {
                bytes.extend(field.to_le_bytes());
            }
            bytes
        };
        headers.extend(load(self.text_flags, 0, 0, text_size, text_size));
        let data = self.data.len() as u64;
        headers.extend(load(READ_WRITE, data_at, DATA, data, data + self.zeroes));
        let (sections_at, count) = self.append_sections(&mut file, text_size);
        let mut header = b"\x7fELF\x02\x01\x01".to_vec();
        header.resize(16, 0);
        header.extend(self.kind.to_le_bytes());
        header.extend(self.machine.to_le_bytes());
        header.extend(1_u32.to_le_bytes());
        for field in [TEXT, 64, sections_at] {
            header.extend(field.to_le_bytes());
        }
        header.extend(0_u32.to_le_bytes());
        for field in [64, 56, 2, 64, count, if count > 0 { 2 } else { 0 }] {
            header.extend((field as u16).to_le_bytes());
        }
        file[..64].copy_from_slice(&header);
        file[64..64 + headers.len()].copy_from_slice(&headers);
        file
    }

    /// Null, `.text`, string table, symbol table, then the others.
    fn append_sections(&self, file: &mut Vec<u8>, text_size: u64) -> (u64, u64) {
        let Some(others) = &self.sections else { return (0, 0) };
        let mut strings = vec![0];
        let mut symbols = vec![0; 24];
        for (name, address) in &self.symbols {
            symbols.extend((strings.len() as u32).to_le_bytes());
            symbols.extend([0, 0, 1, 0]);
            symbols.extend(address.to_le_bytes());
            symbols.extend([0; 8]);
            strings.extend(name.bytes());
            strings.push(0);
        }
        let strings_at = file.len() as u64;
        file.extend(&strings);
        let symbols_at = file.len() as u64;
        file.extend(&symbols);
        let at = file.len() as u64;
        let mut add =
            |kind: u32, flags: u64, address: u64, place: (u64, u64), link: u32, entry: u64| {
                file.extend(0_u32.to_le_bytes());
                file.extend(kind.to_le_bytes());
                for field in [flags, address, place.0, place.1] {
                    file.extend(field.to_le_bytes());
                }
                file.extend(link.to_le_bytes());
                file.extend(0_u32.to_le_bytes());
                file.extend(1_u64.to_le_bytes());
                file.extend(entry.to_le_bytes());
            };
        add(0, 0, 0, (0, 0), 0, 0);
        add(1, EXECUTABLE, TEXT, (TEXT, text_size - TEXT), 0, 0);
        add(3, 0, 0, (strings_at, strings.len() as u64), 0, 0);
        add(2, 0, 0, (symbols_at, symbols.len() as u64), 2, 24);
        for other in others {
            add(other.kind, other.flags, other.address, (other.address, other.size), 0, 0);
        }
        (at, 4 + others.len() as u64)
    }
}

/// A library OS: anchor, head and gates in its text, and nothing that runs.
pub(crate) fn library_os() -> Vec<u8> {
    use strongroom_optee_package::{ANCHOR_SYMBOL, Anchor, GATES};
    let mut elf = Elf::with_text(&[0xd65f_03c0; 64]);
    for (word, half) in Anchor::EMPTY.iter().enumerate().flat_map(|(index, word)| {
        [(2 * index, *word as u32), (2 * index + 1, (*word >> 32) as u32)]
    }) {
        elf.text[16 + word] = half;
    }
    elf.alignment = 0x1000;
    elf.symbols = vec![(ANCHOR_SYMBOL.into(), TEXT + 64), ("ta_head".into(), TEXT + 0xc0)];
    for (number, (_, name)) in GATES.iter().enumerate() {
        elf.symbols.push(((*name).into(), TEXT + 4 * number as u64));
    }
    elf.bytes()
}
