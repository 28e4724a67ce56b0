// SPDX-License-Identifier: MIT
//! The decoder against GNU objdump over Debian's C library for arm64, where both are installed
//! (`binutils-aarch64-linux-gnu`, `libc6-arm64-cross`); without them there is nothing to compare.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test equipment: where one of its expectations is wrong, the test shall end"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use strongroom_optee_packer::File;
use strongroom_optee_packer::instruction::{Hint, Instruction};
use strongroom_optee_packer::object::{Kind, Object};

const LIBRARIES: [&str; 2] =
    ["/usr/aarch64-linux-gnu/lib/libc.so.6", "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1"];
const OBJDUMP: &str = "aarch64-linux-gnu-objdump";

/// What our names are in objdump's words.
fn expected(mnemonic: &str, operands: &str) -> Option<Instruction> {
    let register = operands.split([',', ' ']).next().unwrap_or_default();
    let target = match register {
        "xzr" => 31,
        _ => register.strip_prefix('x').and_then(|number| number.parse().ok()).unwrap_or(32),
    };
    let system = operands.split(", ").nth(1).unwrap_or_default();
    match (mnemonic, system) {
        ("svc", _) => {
            let digits = operands.trim_start_matches("#0x");
            Some(Instruction::SupervisorCall(u16::from_str_radix(digits, 16).unwrap()))
        }
        ("yield", _) => Some(Instruction::SpinHint(Hint::Yield)),
        ("wfe", _) => Some(Instruction::SpinHint(Hint::WaitForEvent)),
        ("wfi", _) => Some(Instruction::SpinHint(Hint::WaitForInterrupt)),
        ("isb", _) => Some(Instruction::SpinHint(Hint::Barrier)),
        ("brk", _) if ["#0x0", "#0x1", "#0x3e8"].contains(&operands) => {
            Some(Instruction::Breakpoint)
        }
        ("mrs", "cntvct_el0" | "cntpct_el0") => Some(Instruction::Counter { target }),
        ("mrs", name)
            if name.starts_with("id_")
                || ["ctr_el0", "midr_el1", "mpidr_el1", "revidr_el1", "cntfrq_el0"]
                    .contains(&name) =>
        {
            Some(Instruction::Identification { target, value: 0 })
        }
        ("dc", _) if ["cvac", "cvau", "cvap", "cvadp", "civac"].contains(&register) => {
            Some(Instruction::CacheMaintenance)
        }
        ("ic", _) => Some(Instruction::CacheMaintenance),
        _ => None,
    }
}

/// Without the value that a program is shown.
fn plain(instruction: Instruction) -> Instruction {
    match instruction {
        Instruction::Identification { target, .. } => {
            Instruction::Identification { target, value: 0 }
        }
        other => other,
    }
}

#[test]
fn gnu_objdump_finds_the_same_instructions() {
    for library in LIBRARIES {
        let dump = Command::new(OBJDUMP).args(["-d", "-z", library]).output();
        let (Ok(contents), Ok(dump)) = (std::fs::read(library), dump) else {
            eprintln!("not compared: {library} or {OBJDUMP} is not installed");
            continue;
        };
        let theirs = parse(&String::from_utf8_lossy(&dump.stdout));
        let name = Path::new(library).file_name().unwrap().to_string_lossy().into_owned();
        let object = Object::parse(File { path: name, contents }).unwrap();
        let mut ours = BTreeMap::new();
        for load in object.loads.iter().filter(|load| load.executable) {
            let bytes = &object.contents[load.file.clone()];
            for (word, address) in bytes.chunks_exact(4).zip((load.address..).step_by(4)) {
                let word = u32::from_le_bytes(word.try_into().unwrap());
                let instruction = plain(Instruction::decode(word));
                if instruction != Instruction::Other && object.kind(address) == Kind::Code {
                    ours.insert(address, instruction);
                }
            }
        }
        assert!(ours.len() > 40, "{library}: only {} found", ours.len());
        let differing: Vec<_> = ours
            .keys()
            .chain(theirs.keys())
            .filter(|address| ours.get(address) != theirs.get(address))
            .map(|address| (address, ours.get(address), theirs.get(address)))
            .collect();
        assert_eq!(differing, [], "{library}: ours and theirs, by address");
    }
}

/// Lines are `address:<tab>word<tab>mnemonic<tab>operands`.
fn parse(dump: &str) -> BTreeMap<u64, Instruction> {
    let mut found = BTreeMap::new();
    for line in dump.lines() {
        let mut fields = line.split('\t');
        let (Some(address), Some(_), Some(mnemonic)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Ok(address) = u64::from_str_radix(address.trim().trim_end_matches(':'), 16) else {
            continue;
        };
        let operands = fields.next().unwrap_or_default().split("\t//").next().unwrap_or_default();
        if let Some(instruction) = expected(mnemonic.trim(), operands.trim()) {
            found.insert(address, instruction);
        }
    }
    found
}
