// SPDX-License-Identifier: MIT
//! From ELF files to a packed one, and what is refused on the way.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test equipment: where one of its expectations is wrong, the test shall end"
)]

mod support;

use goblin::elf::Elf as Parsed;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use strongroom_optee_package::{Action, Anchor, Package, SITE_LENGTH, STUB_LENGTH, Site, Uuid};
use strongroom_optee_packer::instruction::Instruction;
use strongroom_optee_packer::object::Object;
use strongroom_optee_packer::{File, Input, PackError, Packed, pack};
use support::{DATA, Elf, Section, TEXT, library_os};

const SVC: u32 = 0xd400_0001;
const READ_COUNTER_X5: u32 = 0xd53b_e045;
const READ_CACHE_TYPE_X2: u32 = 0xd53b_0022;
const CLEAN_X0: u32 = 0xd50b_7b20;
const YIELD: u32 = 0xd503_203f;
const ISB: u32 = 0xd503_3fdf;
const TRAP: u32 = 0xd420_7d00;
const RET: u32 = 0xd65f_03c0;
const NOP: u32 = 0xd503_201f;

fn file(path: &str, elf: &Elf) -> File {
    File { path: path.into(), contents: elf.bytes() }
}

fn packed(objects: Vec<File>) -> Result<Packed, PackError> {
    let library_os = library_os();
    pack(Input {
        library_os: &library_os,
        record: b"a boot record",
        objects,
        memory: 1 << 20,
        uuid: None,
        ta_version: 0,
    })
}

/// A packed file as the loader sees it: bytes by address.
struct Memory<'a> {
    parsed: Parsed<'a>,
    file: &'a [u8],
}

impl<'a> Memory<'a> {
    fn load(file: &'a [u8]) -> Self {
        Self { parsed: Parsed::parse(file).unwrap(), file }
    }

    fn bytes(&self, address: u64, length: usize) -> &'a [u8] {
        let loads = self.parsed.program_headers.iter().filter(|header| header.p_type == 1);
        let mut holding = loads.filter(|header| {
            header.p_vaddr <= address && address + length as u64 <= header.p_vaddr + header.p_filesz
        });
        let header = holding.next().expect("the address is in the file");
        let at = (address - header.p_vaddr + header.p_offset) as usize;
        &self.file[at..at + length]
    }

    fn word(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.bytes(address, 4).try_into().unwrap())
    }

    fn anchor(&self) -> Anchor {
        let words = self.bytes(TEXT + 64, 48).chunks_exact(8);
        let words: Vec<u64> =
            words.map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        Anchor::decode(words.try_into().unwrap()).expect("the anchor is filled in")
    }

    fn package(&self) -> ([u8; 32], Package) {
        let (at, length) = self.anchor().information;
        Package::decode(self.bytes(u64::from(at), length as usize)).unwrap()
    }

    fn sites(&self) -> Vec<Site> {
        let anchor = self.anchor();
        let table = self.bytes(anchor.sites, anchor.count as usize * SITE_LENGTH);
        let entries = table.chunks_exact(SITE_LENGTH);
        entries.map(|entry| Site::decode(entry.try_into().unwrap()).unwrap()).collect()
    }

    /// Where the branch at an address leads.
    fn target(&self, address: u64) -> u64 {
        let word = self.word(address);
        assert!(matches!(word >> 26, 0b00_0101 | 0b10_0101), "{word:#x} is a branch");
        address.wrapping_add_signed(i64::from((word << 6).cast_signed() >> 6) * 4)
    }
}

#[test]
fn each_kind_of_instruction_gets_its_stub() {
    let text = [SVC, RET, READ_COUNTER_X5, READ_CACHE_TYPE_X2, CLEAN_X0, YIELD, ISB, TRAP, RET];
    let packed = packed(vec![file("/bin/a", &Elf::with_text(&text))]).unwrap();
    let memory = Memory::load(&packed.elf);
    let (_, package) = memory.package();
    let base = package.objects[0].base;
    let at = |index: u64| base + TEXT + 4 * index;
    let expected = [
        (at(0), Action::Call),
        (at(2), Action::Counter(5)),
        (at(3), Action::Constant),
        (at(5), Action::Pause),
        (at(6), Action::Pause),
        (at(7), Action::Breakpoint),
    ];
    let sites: Vec<(u64, Action)> =
        memory.sites().iter().map(|site| (u64::from(site.place), site.action)).collect();
    assert_eq!(sites, expected);
    for (number, (place, action)) in sites.iter().enumerate() {
        let stub = memory.anchor().stubs + (number * STUB_LENGTH) as u64;
        assert_eq!(memory.target(*place), stub, "{action:?}");
        let (gate, back) = match action {
            Action::Call => (Some(0), 12),
            Action::Pause => (Some(1), 12),
            Action::Breakpoint => (Some(2), 12),
            Action::Counter(_) => (Some(3), 12),
            Action::Constant => (None, 8),
        };
        assert_eq!(memory.target(stub + back), place + 4);
        if let Some(gate) = gate {
            assert_eq!(memory.target(stub + 4), TEXT + 4 * gate);
        }
    }
    assert_eq!(memory.word(at(1)), RET);
    assert_eq!(memory.word(at(4)), NOP);
    // movz x2, #0xc004; movk x2, #0xb444, lsl #16
    let constant = memory.anchor().stubs + 2 * STUB_LENGTH as u64;
    assert_eq!(memory.word(constant), 0xd280_0002 | 0xc004 << 5);
    assert_eq!(memory.word(constant + 4), 0xf2a0_0002 | 0xb444 << 5);
}

#[test]
fn a_barrier_before_a_counter_is_no_spin_hint() {
    let packed = packed(vec![file("/bin/a", &Elf::with_text(&[ISB, READ_COUNTER_X5]))]).unwrap();
    let memory = Memory::load(&packed.elf);
    let actions: Vec<Action> = memory.sites().iter().map(|site| site.action).collect();
    assert_eq!(actions, [Action::Counter(5)]);
}

#[test]
fn objects_lie_apart_as_the_loader_wants_them() {
    let files = vec![
        file("/bin/a", &Elf::with_text(&[SVC, RET])),
        file("/lib/b.so", &Elf::with_text(&[RET; 5000])),
    ];
    let packed = packed(files).unwrap();
    let memory = Memory::load(&packed.elf);
    let mut behind = (0, 0);
    for header in memory.parsed.program_headers.iter().filter(|header| header.p_type == 1) {
        assert_eq!(header.p_align, 4096);
        assert_eq!((header.p_vaddr | header.p_offset) & 4095, 0);
        assert!(header.p_vaddr >= behind.0 && header.p_offset >= behind.1);
        assert_ne!(header.p_flags & 3, 3, "nothing is both writable and executable");
        if header.p_flags & 2 == 0 {
            assert_eq!(header.p_filesz, header.p_memsz);
        }
        behind = (header.p_vaddr + header.p_memsz, header.p_offset + header.p_filesz);
    }
    assert!(memory.parsed.header.e_shoff >= behind.1, "the section headers come last");
    let (_, package) = memory.package();
    for object in &package.objects {
        assert_eq!(object.base % object.alignment, 0);
        assert_eq!(object.span, DATA + 4 + 0x100);
        assert_eq!(memory.bytes(object.base + DATA, 4), b"data");
        let writable: Vec<_> = object.segments.iter().filter(|one| one.writable).collect();
        assert_eq!(writable.len(), 1);
        // To the end of the large page that it ends in.
        assert_eq!(writable[0].start + writable[0].length, object.base + 0x3_0000);
        let code: Vec<_> = object.segments.iter().filter(|one| one.executable).collect();
        assert_eq!(code[0].start, object.base + TEXT, "the page of the headers is not executable");
    }
}

#[test]
fn digests_and_names_are_those_of_the_contents() {
    let elf = Elf::with_text(&[SVC]);
    let packed = packed(vec![file("/bin/a", &elf)]).unwrap();
    let memory = Memory::load(&packed.elf);
    let (digest, package) = memory.package();
    assert_eq!(digest, packed.digest);
    let mut zeroed = packed.elf.clone();
    let at = zeroed.windows(32).position(|bytes| bytes == digest).unwrap();
    zeroed[at..at + 32].fill(0);
    assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(&zeroed)));
    let mut writable = vec![0; 0x1_0000];
    writable[..4].copy_from_slice(b"data");
    assert_eq!(package.writable_digest, <[u8; 32]>::from(Sha256::digest(&writable)));
    assert_eq!(packed.uuid, Uuid::of_record(b"a boot record"));
    let (low, middle, high, last) = packed.uuid.fields();
    let head = memory.bytes(TEXT + 0xc0, 16);
    let expected = [&low.to_le_bytes()[..], &middle.to_le_bytes(), &high.to_le_bytes(), &last];
    assert_eq!(head, expected.concat());
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let files = || vec![file("/bin/a", &Elf::with_text(&[SVC, YIELD, READ_COUNTER_X5]))];
    assert_eq!(packed(files()).unwrap().elf, packed(files()).unwrap().elf);
}

fn refusal(elf: &Elf) -> PackError {
    packed(vec![file("/bin/a", elf)]).expect_err("it is refused")
}

#[test]
fn what_cannot_be_packed_is_refused_by_name_and_with_advice() {
    let path = || "/bin/a".to_owned();
    let mut elf = Elf::with_text(&[SVC]);
    elf.kind = 2;
    assert_eq!(refusal(&elf), PackError::NotPositionIndependent { path: path() });
    assert!(refusal(&elf).hint().contains("-static-pie"));
    elf = Elf::with_text(&[SVC]);
    elf.machine = 62;
    assert_eq!(refusal(&elf), PackError::WrongMachine { path: path(), machine: 62 });
    elf = Elf::with_text(&[SVC]);
    elf.text_flags = 7;
    assert_eq!(refusal(&elf), PackError::WritableCode { path: path(), address: 0 });
    assert!(refusal(&elf).hint().contains("just-in-time"));
    elf = Elf::with_text(&[0xd400_0021]);
    assert!(matches!(refusal(&elf), PackError::Unknown { address: TEXT, .. }));
    elf = Elf::with_text(&[RET, SVC]);
    elf.sections = None;
    let PackError::Ambiguous { address, what, .. } = refusal(&elf) else { panic!("ambiguous") };
    assert_eq!((address, what), (TEXT + 4, "svc #0"));
    let garbage = File { path: path(), contents: b"#!/bin/sh".to_vec() };
    assert!(matches!(packed(vec![garbage]), Err(PackError::Malformed { .. })));
    let many = (0..80).map(|number| file(&format!("/lib/{number}"), &Elf::with_text(&[RET])));
    assert!(matches!(packed(many.collect()), Err(PackError::TooManySegments { .. })));
}

#[test]
fn without_sections_a_file_without_such_words_is_packed() {
    let mut elf = Elf::with_text(&[RET; 10]);
    elf.sections = None;
    assert!(packed(vec![file("/bin/a", &elf)]).is_ok());
}

#[test]
fn data_in_text_is_left_alone_where_symbols_say_so() {
    let mut elf = Elf::with_text(&[SVC, READ_COUNTER_X5, YIELD, SVC]);
    elf.symbols = vec![("$x".into(), TEXT), ("$d.1".into(), TEXT + 4), ("$x.2".into(), TEXT + 12)];
    let packed_file = packed(vec![file("/bin/a", &elf)]).unwrap();
    let memory = Memory::load(&packed_file.elf);
    let base = memory.package().1.objects[0].base;
    let places: Vec<u64> = memory.sites().iter().map(|site| u64::from(site.place)).collect();
    assert_eq!(places, [base + TEXT, base + TEXT + 12]);
    assert_eq!(memory.word(base + TEXT + 4), READ_COUNTER_X5);
    // But a word that would leave the TA may not stand where it can be jumped to.
    elf.text[2] = SVC;
    assert!(matches!(refusal(&elf), PackError::Ambiguous { address, .. } if address == TEXT + 8));
}

#[test]
fn constants_on_pages_without_code_are_not_executable_and_may_be_anything() {
    let mut text = vec![RET; 3 * 1024];
    text[2048] = SVC;
    let mut elf = Elf::with_text(&text);
    // All but the first page of the text is called data.
    elf.symbols = vec![("$x".into(), TEXT), ("$d".into(), TEXT + 4096)];
    elf.sections = Some(vec![Section { kind: 1, flags: 2, address: 0x200, size: 0x100 }]);
    let packed = packed(vec![file("/bin/a", &elf)]).unwrap();
    let memory = Memory::load(&packed.elf);
    let object = &memory.package().1.objects[0];
    assert_eq!(memory.word(object.base + TEXT + 4 * 2048), SVC);
    let code: Vec<_> = object.segments.iter().filter(|one| one.executable).collect();
    assert_eq!((code.len(), code[0].length), (1, 4096));
}

#[test]
fn a_library_os_without_its_symbols_is_refused() {
    let bare = Elf::with_text(&[RET]).bytes();
    let input = Input {
        library_os: &bare,
        record: b"",
        objects: Vec::new(),
        memory: 0,
        uuid: None,
        ta_version: 0,
    };
    let PackError::LibraryOs(reason) = pack(input).unwrap_err() else { panic!("refused") };
    assert!(reason.contains("strongroom_gate_call"), "{reason}");
}

fn interesting() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => any::<u32>(),
        1 => Just(SVC),
        1 => (0..32_u32).prop_map(|target| 0xd53b_e040 | target),
        1 => (0..32_u32).prop_map(|target| 0xd538_0000 | target),
        1 => (0..32_u32).prop_map(|target| 0xd50b_7b20 | target),
        1 => prop_oneof![Just(YIELD), Just(ISB), Just(0xd503_205f), Just(TRAP)],
    ]
}

proptest! {
    /// Whatever the words: packed, none of the executable ones would leave the TA or end it.
    #[test]
    fn nothing_is_left(text in proptest::collection::vec(interesting(), 1..300)) {
        let elf = Elf::with_text(&text);
        match packed(vec![file("/bin/a", &elf)]) {
            Err(PackError::Unknown { .. }) => {
                let odd = |word: &u32| matches!(Instruction::decode(*word), Instruction::SupervisorCall(1..));
                prop_assert!(text.iter().any(odd));
            }
            Err(other) => prop_assert!(false, "{other:?}"),
            Ok(packed) => {
                let memory = Memory::load(&packed.elf);
                let (_, package) = memory.package();
                let mut replaced = 0;
                for segment in package.objects[0].segments.iter().filter(|one| one.executable) {
                    for address in (segment.start..segment.start + segment.length).step_by(4) {
                        let instruction = Instruction::decode(memory.word(address));
                        let before_branch = memory.word(address.min(segment.start + segment.length - 8) + 4) >> 26 == 0b00_0101;
                        let fine = instruction == Instruction::Other
                            || matches!(instruction, Instruction::SpinHint(_)) && before_branch;
                        prop_assert!(fine, "{instruction:?} at {address:#x}");
                    }
                }
                for (index, word) in text.iter().enumerate() {
                    let address = package.objects[0].base + TEXT + 4 * index as u64;
                    if memory.word(address) == *word {
                        continue;
                    }
                    replaced += 1;
                    prop_assert_ne!(Instruction::decode(*word), Instruction::Other);
                }
                let nops = text.iter().filter(|word| Instruction::decode(**word) == Instruction::CacheMaintenance).count();
                prop_assert_eq!(replaced, memory.sites().len() + nops);
            }
        }
    }

    /// A parser of files from anywhere: whatever the bytes, an error or an object.
    #[test]
    fn damaged_files_are_parsed_or_refused(at in 0..600_usize, byte: u8, cut in 0..0x1_1000_usize) {
        let mut contents = Elf::with_text(&[SVC, RET, YIELD]).bytes();
        if let Some(place) = contents.get_mut(at) {
            *place = byte;
        }
        contents.truncate(contents.len().saturating_sub(cut % 300));
        let _ = packed(vec![File { path: "/bin/a".into(), contents: contents.clone() }]);
        contents.truncate(cut);
        let _ = Object::parse(File { path: "/bin/a".into(), contents });
    }
}
