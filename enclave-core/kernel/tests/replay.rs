// SPDX-License-Identifier: MIT
//! The same seed gives the same run; other seeds give other runs with the same results. File
//! operations agree with a simple model.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use proptest::prelude::*;
use std::collections::BTreeMap;
use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{
    ENTRY, Ending, Guest, Numbers, OPEN_APPEND, OPEN_CREATE, OPEN_EXCLUSIVE, OPEN_READ,
    OPEN_READ_WRITE, OPEN_TRUNCATE, OPEN_WRITE, Report, System,
};
use strongroom_south::Form;

const FORMS: [Form; 2] = [Form::Paged, Form::Flat];

/// Threads that add to a counter under a futex lock, ticked by the seed.
fn contend(form: Form, seed: u64) -> (Report, Vec<String>) {
    let mut builder = System::builder(form);
    builder.configuration.seed = seed;
    builder.configuration.tick = 13;
    builder.configuration.operation_ns = 100;
    let mut system = builder.boot().unwrap();
    system.machine.program(ENTRY, |guest| {
        let lock = guest.room(8);
        let done = guest.room(32);
        for index in 0..6 {
            let word = done + 4 * index;
            guest.store_u32(word, 1);
            guest.thread(word, move |guest| add(guest, lock)).unwrap();
        }
        for index in 0..6 {
            let word = done + 4 * index;
            while guest.load_u32(word) != 0 {
                let _woken = guest.try_call(Sysno::Futex, [word, 0, 1, 0]);
            }
        }
        let sum = guest.load_u32(lock + 4);
        guest.say(&format!("sum {sum}"));
        0
    });
    let report = system.run();
    (report, system.machine.trace())
}

fn add(guest: &mut Guest, lock: usize) -> u8 {
    for _ in 0..20 {
        guest.spin(|guest| guest.exchange_u32(lock, 0, 1) == 0);
        let value = guest.load_u32(lock + 4);
        guest.store_u32(lock + 4, value + 1);
        guest.store_u32(lock, 0);
    }
    0
}

#[test]
fn a_seed_decides_the_whole_run() {
    for form in FORMS {
        let (report, trace) = contend(form, 5);
        assert_eq!(report.output, "sum 120\n");
        let (again, same) = contend(form, 5);
        assert_eq!((report, trace), (again, same));
    }
}

#[test]
fn other_seeds_interleave_differently_with_the_same_result() {
    for form in FORMS {
        let mut traces = Vec::new();
        for seed in 0..12 {
            let (report, trace) = contend(form, seed);
            assert_eq!((report.status(), report.output.as_str()), (0, "sum 120\n"), "seed {seed}");
            traces.push(trace);
        }
        traces.sort();
        traces.dedup();
        assert!(traces.len() > 6, "seeds matter");
    }
}

/// What a file system should be.
#[derive(Default)]
struct Model {
    files: BTreeMap<String, Vec<u8>>,
    directories: Vec<String>,
}

#[derive(Clone, Debug)]
enum Operation {
    Write { name: usize, offset: usize, length: usize, fill: u8 },
    Append { name: usize, length: usize, fill: u8 },
    Truncate { name: usize, length: usize },
    Replace { name: usize, length: usize, fill: u8 },
    Create { name: usize },
    Read { name: usize, offset: usize, length: usize },
    Remove { name: usize },
    Rename { from: usize, to: usize },
    MakeDirectory { name: usize },
    RemoveDirectory { name: usize },
}

/// Names of files and of directories; the last ones lie in a directory.
const NAMES: [&str; 5] = ["/tmp/a", "/tmp/b", "/tmp/d", "/tmp/d/x", "/tmp/d/y"];

fn operation() -> impl Strategy<Value = Operation> {
    let name = 0..NAMES.len();
    let length = prop_oneof![0usize..40, 4090usize..4100, 0usize..20_000];
    let offset = prop_oneof![0usize..40, 4090usize..4100, 0usize..40_000];
    let fill = 1u8..;
    prop_oneof![
        4 => (name.clone(), offset.clone(), length.clone(), fill.clone()).prop_map(
            |(name, offset, length, fill)| Operation::Write { name, offset, length, fill }
        ),
        2 => (name.clone(), length.clone(), fill.clone())
            .prop_map(|(name, length, fill)| Operation::Append { name, length, fill }),
        2 => (name.clone(), offset.clone())
            .prop_map(|(name, length)| Operation::Truncate { name, length }),
        1 => (name.clone(), length.clone(), fill)
            .prop_map(|(name, length, fill)| Operation::Replace { name, length, fill }),
        2 => name.clone().prop_map(|name| Operation::Create { name }),
        4 => (name.clone(), offset, length)
            .prop_map(|(name, offset, length)| Operation::Read { name, offset, length }),
        1 => name.clone().prop_map(|name| Operation::Remove { name }),
        2 => (name.clone(), name.clone())
            .prop_map(|(from, to)| Operation::Rename { from, to }),
        1 => name.clone().prop_map(|name| Operation::MakeDirectory { name }),
        1 => name.prop_map(|name| Operation::RemoveDirectory { name }),
    ]
}

impl Model {
    fn is_directory(&self, name: &str) -> bool {
        name == "/tmp" || self.directories.iter().any(|known| known == name)
    }

    /// The directory above has to be one.
    fn parent(&self, name: &str) -> Result<(), Errno> {
        let (above, _) = name.rsplit_once('/').unwrap();
        if self.files.contains_key(above) {
            Err(Errno::ENOTDIR)
        } else if self.is_directory(above) {
            Ok(())
        } else {
            Err(Errno::ENOENT)
        }
    }

    fn writable(&mut self, name: &str) -> Result<&mut Vec<u8>, Errno> {
        self.parent(name)?;
        if self.is_directory(name) {
            return Err(Errno::EISDIR);
        }
        Ok(self.files.entry(name.into()).or_default())
    }

    fn has_children(&self, name: &str) -> bool {
        let below = format!("{name}/");
        self.files.keys().chain(&self.directories).any(|other| other.starts_with(&below))
    }

    fn put(bytes: &mut Vec<u8>, offset: usize, length: usize, fill: u8) {
        if length > 0 {
            bytes.resize(bytes.len().max(offset + length), 0);
            bytes[offset..offset + length].fill(fill);
        }
    }

    fn apply(&mut self, operation: &Operation) -> Result<Vec<u8>, Errno> {
        match *operation {
            Operation::Write { name, offset, length, fill } => {
                Self::put(self.writable(NAMES[name])?, offset, length, fill);
            }
            Operation::Append { name, length, fill } => {
                let bytes = self.writable(NAMES[name])?;
                Self::put(bytes, bytes.len(), length, fill);
            }
            Operation::Truncate { name, length } => self.writable(NAMES[name])?.resize(length, 0),
            Operation::Replace { name, length, fill } => {
                *self.writable(NAMES[name])? = vec![fill; length];
            }
            Operation::Create { name } => {
                let name = NAMES[name];
                self.parent(name)?;
                if self.is_directory(name) || self.files.contains_key(name) {
                    return Err(Errno::EEXIST);
                }
                self.files.insert(name.into(), Vec::new());
            }
            Operation::Read { name, offset, length } => {
                let name = NAMES[name];
                self.parent(name)?;
                if self.is_directory(name) {
                    return Err(Errno::EISDIR);
                }
                let bytes = self.files.get(name).ok_or(Errno::ENOENT)?;
                return Ok(bytes.iter().skip(offset).take(length).copied().collect());
            }
            Operation::Remove { name } => {
                let name = NAMES[name];
                self.parent(name)?;
                if self.is_directory(name) {
                    return Err(Errno::EISDIR);
                }
                self.files.remove(name).ok_or(Errno::ENOENT)?;
            }
            Operation::Rename { from, to } => self.rename(NAMES[from], NAMES[to])?,
            Operation::MakeDirectory { name } => {
                let name = NAMES[name];
                self.parent(name)?;
                if self.is_directory(name) || self.files.contains_key(name) {
                    return Err(Errno::EEXIST);
                }
                self.directories.push(name.into());
            }
            Operation::RemoveDirectory { name } => {
                let name = NAMES[name];
                self.parent(name)?;
                if self.files.contains_key(name) {
                    return Err(Errno::ENOTDIR);
                }
                if !self.is_directory(name) {
                    return Err(Errno::ENOENT);
                }
                if self.has_children(name) {
                    return Err(Errno::ENOTEMPTY);
                }
                self.directories.retain(|known| known != name);
            }
        }
        Ok(Vec::new())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        self.parent(from)?;
        self.parent(to)?;
        let directory = self.is_directory(from);
        if !directory && !self.files.contains_key(from) {
            return Err(Errno::ENOENT);
        }
        if from == to {
            return Ok(());
        }
        if directory && to.starts_with(&format!("{from}/")) {
            return Err(Errno::EINVAL);
        }
        if from.starts_with(&format!("{to}/")) {
            return Err(Errno::ENOTEMPTY);
        }
        match (directory, self.is_directory(to), self.files.contains_key(to)) {
            (true, _, true) => return Err(Errno::ENOTDIR),
            (false, true, _) => return Err(Errno::EISDIR),
            (true, true, _) if self.has_children(to) => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        if directory {
            self.directories.retain(|known| known != from && known != to);
            self.directories.push(to.into());
            let below = format!("{from}/");
            let moved: Vec<String> =
                self.files.keys().filter(|name| name.starts_with(&below)).cloned().collect();
            for name in moved {
                let bytes = self.files.remove(&name).unwrap();
                self.files.insert(name.replacen(from, to, 1), bytes);
            }
            let rest = self.directories.iter_mut().filter(|name| name.starts_with(&below));
            rest.for_each(|name| *name = name.replacen(from, to, 1));
        } else {
            let bytes = self.files.remove(from).unwrap();
            self.files.insert(to.into(), bytes);
        }
        Ok(())
    }
}

/// Writes all of `bytes`, in pieces of odd sizes.
fn write_all(guest: &mut Guest, file: usize, bytes: &[u8], numbers: &mut Numbers) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let step = rest.len().min(1 + numbers.below(9000) as usize);
        assert_eq!(guest.write(file, &rest[..step]), Ok(step));
        rest = &rest[step..];
    }
}

fn perform(
    guest: &mut Guest,
    operation: &Operation,
    numbers: &mut Numbers,
) -> Result<Vec<u8>, Errno> {
    match *operation {
        Operation::Write { name, offset, length, fill } => {
            let file = guest.open(NAMES[name], OPEN_WRITE | OPEN_CREATE)?;
            guest.try_call(Sysno::Lseek, [file, offset, 0])?;
            write_all(guest, file, &vec![fill; length], numbers);
            guest.close(file)?;
        }
        Operation::Append { name, length, fill } => {
            let file = guest.open(NAMES[name], OPEN_WRITE | OPEN_CREATE | OPEN_APPEND)?;
            write_all(guest, file, &vec![fill; length], numbers);
            guest.close(file)?;
        }
        Operation::Truncate { name, length } => {
            let file = guest.open(NAMES[name], OPEN_READ_WRITE | OPEN_CREATE)?;
            guest.try_call(Sysno::Ftruncate, [file, length])?;
            guest.close(file)?;
        }
        Operation::Replace { name, length, fill } => {
            let file = guest.open(NAMES[name], OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE)?;
            write_all(guest, file, &vec![fill; length], numbers);
            guest.close(file)?;
        }
        Operation::Create { name } => {
            let file = guest.open(NAMES[name], OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE)?;
            guest.close(file)?;
        }
        Operation::Read { name, offset, length } => {
            let file = guest.open(NAMES[name], OPEN_READ)?;
            let outcome = guest.scoped(|guest| {
                let room = guest.room(length.max(1));
                let count = guest.try_call(Sysno::Pread64, [file, room, length, offset])?;
                Ok(guest.bytes(room, count))
            });
            guest.close(file)?;
            return outcome;
        }
        Operation::Remove { name } => {
            guest.at(Sysno::Unlinkat, NAMES[name], 0)?;
        }
        Operation::Rename { from, to } => {
            guest.rename(NAMES[from], NAMES[to])?;
        }
        Operation::MakeDirectory { name } => {
            guest.at(Sysno::Mkdirat, NAMES[name], 0o755)?;
        }
        Operation::RemoveDirectory { name } => {
            guest.at(Sysno::Unlinkat, NAMES[name], 0x200)?;
        }
    }
    Ok(Vec::new())
}

fn compare(form: Form, seed: u64, operations: Vec<Operation>) -> Report {
    let mut builder = System::builder(form);
    builder.configuration.seed = seed;
    builder.configuration.tick = 97;
    let mut system = builder.boot().unwrap();
    system.machine.program(ENTRY, move |guest| {
        let mut model = Model::default();
        let mut numbers = Numbers::new(seed);
        for (index, operation) in operations.iter().enumerate() {
            let expected = model.apply(operation);
            let found = perform(guest, operation, &mut numbers);
            assert!(
                expected == found,
                "{index}: {operation:?} {:?} {:?}",
                brief(&expected),
                brief(&found)
            );
        }
        0
    });
    system.run()
}

fn brief(outcome: &Result<Vec<u8>, Errno>) -> Result<usize, Errno> {
    outcome.as_ref().map(Vec::len).map_err(|errno| *errno)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_behave_as_the_model_says(
        operations in prop::collection::vec(operation(), 1..60),
        seed in any::<u64>(),
        flat in any::<bool>(),
    ) {
        let form = if flat { Form::Flat } else { Form::Paged };
        prop_assert_eq!(compare(form, seed, operations).ending, Ending::Exit(0));
    }
}
