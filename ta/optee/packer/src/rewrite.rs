// SPDX-License-Identifier: MIT
//! Replaces what a trusted application must not execute, and proves that none of it is left.

use crate::PackError;
use crate::instruction::{self, Hint, Instruction, NOP};
use crate::object::{Kind, Load, Object, PAGE};
use std::ops::Range;
use strongroom_optee_package::{Action, Gate, STUB_LENGTH};

/// Bytes of an instruction.
const WORD: usize = 4;

/// An instruction to be replaced by a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Its virtual address in the object.
    pub address: u64,
    /// What its stub does.
    pub action: Action,
    /// What it loads, where it loads a constant, and into which register.
    pub constant: Option<(u8, u32)>,
}

/// How many instructions of each kind were replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// System calls.
    pub calls: usize,
    /// Reads of a counter.
    pub counters: usize,
    /// Reads of identification registers.
    pub identification: usize,
    /// Cache maintenance, which became `nop`.
    pub maintenance: usize,
    /// Spin hints.
    pub pauses: usize,
    /// Breakpoints.
    pub breakpoints: usize,
}

/// The bytes of an executable segment from its first page on, and what is to be replaced in them.
#[derive(Debug)]
pub struct Text {
    /// Virtual address of the first byte, the start of a page.
    pub start: u64,
    /// Whole pages.
    pub bytes: Vec<u8>,
    /// The part that has to be executable.
    pub executable: Range<u64>,
    /// Ascending.
    pub replacements: Vec<Replacement>,
    /// What was found.
    pub counts: Counts,
}

impl Text {
    /// Decodes every word of a segment's executable pages.
    ///
    /// # Errors
    ///
    /// [`PackError`] for words that cannot be replaced, or cannot be told from data.
    pub fn of(object: &Object, load: &Load) -> Result<Self, PackError> {
        let start = load.address & !(PAGE - 1);
        let bytes = pages(object, load);
        let mut text = Self {
            start,
            bytes,
            executable: object.code_pages(load),
            replacements: Vec::new(),
            counts: Counts::default(),
        };
        let words: Vec<(u64, u32)> = text.words().collect();
        for (index, (address, word)) in words.iter().enumerate() {
            let instruction = Instruction::decode(*word);
            if instruction == Instruction::Other {
                continue;
            }
            let next = words.get(index + 1).map_or(0, |(_, word)| *word);
            if instruction == Instruction::SpinHint(Hint::Barrier) && !stands_alone(next) {
                continue;
            }
            text.treat(object, *address, instruction)?;
        }
        Ok(text)
    }

    /// The words of the executable part, with their addresses.
    fn words(&self) -> impl Iterator<Item = (u64, u32)> {
        let within = |address: u64| (address - self.start) as usize;
        let range = within(self.executable.start)..within(self.executable.end);
        let words = self.bytes.get(range).unwrap_or_default().chunks_exact(WORD);
        let addresses = (self.executable.start..).step_by(WORD);
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        addresses.zip(words.map(word))
    }

    fn treat(
        &mut self,
        object: &Object,
        address: u64,
        instruction: Instruction,
    ) -> Result<(), PackError> {
        let (path, what) = (object.path.clone(), instruction.name());
        match object.kind(address) {
            Kind::Code => {}
            Kind::Unknown => {
                let why = "the file has no section headers";
                return Err(PackError::Ambiguous { path, address, what, why });
            }
            // Data beside code: only what would leave the trusted application matters, should
            // somebody jump there.
            Kind::Data if matches!(instruction, Instruction::SupervisorCall(_)) => {
                let why = "its section or symbol says data, on a page that is executable";
                return Err(PackError::Ambiguous { path, address, what, why });
            }
            Kind::Data => return Ok(()),
        }
        let (action, constant) = match instruction {
            Instruction::SupervisorCall(0) => {
                self.counts.calls += 1;
                (Action::Call, None)
            }
            Instruction::SupervisorCall(_) => {
                return Err(PackError::Unknown { path, address, what });
            }
            Instruction::Counter { target } => {
                self.counts.counters += 1;
                (Action::Counter(target), None)
            }
            Instruction::Identification { target, value } => {
                self.counts.identification += 1;
                (Action::Constant, Some((target, value)))
            }
            Instruction::SpinHint(_) => {
                self.counts.pauses += 1;
                (Action::Pause, None)
            }
            Instruction::Breakpoint => {
                self.counts.breakpoints += 1;
                (Action::Breakpoint, None)
            }
            Instruction::CacheMaintenance => {
                self.counts.maintenance += 1;
                self.put(address, NOP);
                return Ok(());
            }
            Instruction::Other => return Ok(()),
        };
        self.replacements.push(Replacement { address, action, constant });
        Ok(())
    }

    fn put(&mut self, address: u64, word: u32) {
        let at = (address - self.start) as usize;
        if let Some(place) = self.bytes.get_mut(at..at + WORD) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Branches from each replaced instruction to its stub, the first of which lies at `stubs`.
    /// `base` is where the object's address 0 lies.
    ///
    /// # Errors
    ///
    /// [`PackError::BranchOutOfRange`].
    pub fn connect(&mut self, object: &Object, base: u64, stubs: u64) -> Result<(), PackError> {
        let replacements = self.replacements.clone();
        for (replacement, stub) in replacements.iter().zip((stubs..).step_by(STUB_LENGTH)) {
            let address = replacement.address;
            let word = instruction::branch(base + address, stub).ok_or_else(|| {
                PackError::BranchOutOfRange { path: object.path.clone(), address }
            })?;
            self.put(address, word);
        }
        Ok(())
    }

    /// Decodes every word of the executable pages once more.
    ///
    /// # Errors
    ///
    /// [`PackError::Left`] for anything that had to be replaced and is there.
    pub fn verify(&self, object: &Object) -> Result<(), PackError> {
        let words: Vec<(u64, u32)> = self.words().collect();
        for (index, (address, word)) in words.iter().enumerate() {
            let instruction = Instruction::decode(*word);
            let next = words.get(index + 1).map_or(0, |(_, word)| *word);
            let allowed = match instruction {
                Instruction::Other => true,
                Instruction::SupervisorCall(_) => false,
                // Before the branch that a counter's read has become.
                Instruction::SpinHint(Hint::Barrier) if is_branch(next) => true,
                Instruction::Counter { .. }
                | Instruction::Identification { .. }
                | Instruction::CacheMaintenance
                | Instruction::SpinHint(_)
                | Instruction::Breakpoint => object.kind(*address) == Kind::Data,
            };
            if !allowed {
                let (path, what) = (object.path.clone(), instruction.name());
                return Err(PackError::Left { path, address: *address, what });
            }
        }
        Ok(())
    }
}

/// An `isb` before a read of a counter orders that read; elsewhere it is a spin hint.
fn stands_alone(next: u32) -> bool {
    !matches!(Instruction::decode(next), Instruction::Counter { .. })
}

const fn is_branch(word: u32) -> bool {
    word >> 26 == 0b00_0101
}

/// A segment's bytes, from the start of its first page to the end of its last; what is not in the
/// file is zero.
pub fn pages(object: &Object, load: &Load) -> Vec<u8> {
    let lead = (load.address & (PAGE - 1)) as usize;
    let start = load.file.start.saturating_sub(lead);
    let mut bytes = vec![0; lead - (load.file.start - start)];
    bytes.extend_from_slice(object.contents.get(start..load.file.end).unwrap_or_default());
    let length = (lead as u64 + load.memory).next_multiple_of(PAGE);
    bytes.resize(length as usize, 0);
    bytes
}

/// The stub of a replaced instruction.
///
/// # Errors
///
/// [`PackError::BranchOutOfRange`], with the place in the packed file as the address.
pub fn stub(
    replacement: &Replacement,
    site: u64,
    stub: u64,
    gate: impl Fn(Gate) -> u64,
) -> Result<[u8; STUB_LENGTH], PackError> {
    let far = || PackError::BranchOutOfRange { path: "a stub".into(), address: site };
    let back = |from: u64| instruction::branch(from, site + WORD as u64).ok_or_else(far);
    let through = |gate: u64| -> Result<[u32; 4], PackError> {
        let call = instruction::branch_and_link(stub + 4, gate).ok_or_else(far)?;
        Ok([instruction::PUSH, call, instruction::POP, back(stub + 12)?])
    };
    let words = match replacement.action {
        Action::Call => through(gate(Gate::Call))?,
        Action::Pause => through(gate(Gate::Pause))?,
        Action::Breakpoint => through(gate(Gate::Breakpoint))?,
        Action::Counter(_) => through(gate(Gate::Counter))?,
        Action::Constant => {
            let (register, value) = replacement.constant.unwrap_or((31, 0));
            let low = instruction::move_zero(register, value as u16);
            let high = instruction::move_keep_16(register, (value >> 16) as u16);
            [low, high, back(stub + 8)?, NOP]
        }
    };
    let mut bytes = [0; STUB_LENGTH];
    for (place, word) in bytes.chunks_exact_mut(WORD).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Ok(bytes)
}
