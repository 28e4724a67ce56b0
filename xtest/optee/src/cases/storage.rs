// SPDX-License-Identifier: MIT
//! Trusted storage, through TAs that do nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
};

use strongroom_tee::{Code, Operation, Parameter, Session, Tee, TeeError};

use super::case;
use crate::{
    suite::{Case, Checks, Stop},
    ta,
};

pub(super) const CASES: &[Case] = &[
    case(6001, "Storage: create, read, delete", life),
    case(6002, "Storage: what is not there", not_there),
    case(6003, "Storage: access that excludes others", conflict),
    case(6004, "Storage: TAs do not see each other's objects", apart),
    case(6005, "Storage: positions, truncation, holes", positions),
    case(6006, "Storage: renaming", renaming),
    case(6007, "Storage: sizes around blocks", sizes),
    case(6008, "Storage: an object outlives its session", outlives),
    case(6009, "Storage: many objects", many),
    case(6010, "Storage: a changed file is noticed", changed_file),
    case(6011, "Storage: a missing file is noticed", missing_file),
    case(6012, "Storage: an old state put back is NOT noticed", rollback),
];

/// Where `tee-supplicant` keeps it.
pub(super) const FOLDER: &str = "/var/lib/tee";

/// `TEE_STORAGE_PRIVATE`.
const PRIVATE: u32 = 1;

/// `TEE_DATA_FLAG_…`. Source: TEE Internal Core API Specification 1.3.1, section 5.3.
pub(super) const READ: u32 = 0x1;
pub(super) const WRITE: u32 = 0x2;
pub(super) const META: u32 = 0x4;
const SHARE_READ: u32 = 0x10;
pub(super) const OVERWRITE: u32 = 0x400;

const OPEN: u32 = 0;
const CLOSE: u32 = 1;
const READ_DATA: u32 = 2;
const WRITE_DATA: u32 = 3;
const CREATE: u32 = 4;
const SEEK: u32 = 5;
const UNLINK: u32 = 6;
const RENAME: u32 = 7;
const TRUNCATE: u32 = 8;

/// `TEE_DATA_SEEK_SET` and `TEE_DATA_SEEK_END`.
const FROM_START: u32 = 0;
const FROM_END: u32 = 2;

/// An open object of a storage TA; closed when dropped.
pub(super) struct Object<'s> {
    session: &'s Session,
    handle: u32,
}

impl<'s> Object<'s> {
    pub(super) fn create(
        session: &'s Session,
        name: &[u8],
        flags: u32,
        contents: &[u8],
    ) -> Result<Self, TeeError> {
        let mut operation = Operation::new([
            Parameter::input(name),
            Parameter::value_inout(flags, 0),
            Parameter::value_input(0, PRIVATE),
            Parameter::input(contents),
        ]);
        session.invoke(CREATE, &mut operation)?;
        Ok(Self { session, handle: operation.value(1).unwrap_or_default().1 })
    }

    pub(super) fn open(session: &'s Session, name: &[u8], flags: u32) -> Result<Self, TeeError> {
        let mut operation = Operation::new([
            Parameter::input(name),
            Parameter::value_inout(flags, 0),
            Parameter::value_input(PRIVATE, 0),
            Parameter::none(),
        ]);
        session.invoke(OPEN, &mut operation)?;
        Ok(Self { session, handle: operation.value(1).unwrap_or_default().1 })
    }

    /// Reads at most `room` bytes from the position on.
    pub(super) fn read(&self, room: usize) -> Result<Vec<u8>, TeeError> {
        let mut buffer = vec![0; room];
        let mut operation = Operation::new([
            Parameter::output(&mut buffer),
            Parameter::value_inout(self.handle, 0),
            Parameter::none(),
            Parameter::none(),
        ]);
        self.session.invoke(READ_DATA, &mut operation)?;
        let count = operation.value(1).unwrap_or_default().1;
        drop(operation);
        buffer.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(buffer)
    }

    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), TeeError> {
        let mut operation = Operation::new([
            Parameter::input(bytes),
            Parameter::value_input(self.handle, 0),
            Parameter::none(),
            Parameter::none(),
        ]);
        self.session.invoke(WRITE_DATA, &mut operation)
    }

    /// Sets the position; returns it.
    pub(super) fn seek(&self, offset: u32, from: u32) -> Result<u32, TeeError> {
        let mut operation = Operation::new([
            Parameter::value_input(self.handle, offset),
            Parameter::value_inout(from, 0),
            Parameter::none(),
            Parameter::none(),
        ]);
        self.session.invoke(SEEK, &mut operation)?;
        Ok(operation.value(1).unwrap_or_default().1)
    }

    fn truncate(&self, size: u32) -> Result<(), TeeError> {
        self.session.invoke(TRUNCATE, &mut ta::numbers(self.handle, size))
    }

    fn rename(&self, name: &[u8]) -> Result<(), TeeError> {
        let mut operation = Operation::new([
            Parameter::value_input(self.handle, 0),
            Parameter::input(name),
            Parameter::none(),
            Parameter::none(),
        ]);
        self.session.invoke(RENAME, &mut operation)
    }

    /// Closes and deletes it.
    pub(super) fn delete(self) -> Result<(), TeeError> {
        let result = self.session.invoke(UNLINK, &mut ta::numbers(self.handle, 0));
        std::mem::forget(self);
        result
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        // A TA that has panicked has closed it.
        let _ = self.session.invoke(CLOSE, &mut ta::numbers(self.handle, 0));
    }
}

pub(super) fn session() -> Result<Session, TeeError> {
    Tee::connect()?.open(ta::STORAGE)
}

/// Deletes an object that an earlier case may have left.
pub(super) fn clear(session: &Session, name: &[u8]) {
    if let Ok(object) = Object::open(session, name, READ | WRITE | META) {
        // If it cannot be deleted, the case that creates it will say so.
        let _ = object.delete();
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 253).to_le_bytes()[0]).collect()
}

fn life(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    clear(&session, b"life");
    let object = Object::create(&session, b"life", READ | WRITE | META, b"contents")?;
    checks.equal(object.read(100)?, b"contents".to_vec());
    drop(object);
    let object = Object::open(&session, b"life", READ | META)?;
    checks.equal(object.read(3)?, b"con".to_vec());
    checks.equal(object.read(100)?, b"tents".to_vec());
    checks.equal(object.read(100)?, Vec::new());
    object.delete()?;
    checks.fails(Object::open(&session, b"life", READ), Code::ItemNotFound);
    Ok(())
}

fn not_there(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    for name in [&b"never made"[..], b"x", &[0; 64]] {
        checks.fails(Object::open(&session, name, READ), Code::ItemNotFound);
    }
    Ok(())
}

fn conflict(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    clear(&session, b"conflict");
    drop(Object::create(&session, b"conflict", WRITE | META, b"x")?);
    let again = Object::create(&session, b"conflict", WRITE, b"y");
    checks.fails(again, Code::AccessConflict);
    let alone = Object::open(&session, b"conflict", READ)?;
    checks.fails(Object::open(&session, b"conflict", READ), Code::AccessConflict);
    drop(alone);
    let shared = Object::open(&session, b"conflict", READ | SHARE_READ)?;
    let second = Object::open(&session, b"conflict", READ | SHARE_READ)?;
    checks.equal(second.read(9)?, b"x".to_vec());
    drop((shared, second));
    let replaced = Object::create(&session, b"conflict", READ | META | OVERWRITE, b"new")?;
    checks.equal(replaced.read(9)?, b"new".to_vec());
    replaced.delete()?;
    Ok(())
}

fn apart(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let (first, second) = (tee.open(ta::STORAGE)?, tee.open(ta::STORAGE2)?);
    clear(&first, b"apart");
    clear(&second, b"apart");
    let mine = Object::create(&first, b"apart", READ | META, b"of the first")?;
    checks.fails(Object::open(&second, b"apart", READ), Code::ItemNotFound);
    let theirs = Object::create(&second, b"apart", READ | META, b"of the second")?;
    checks.equal(mine.read(99)?, b"of the first".to_vec());
    checks.equal(theirs.read(99)?, b"of the second".to_vec());
    theirs.delete()?;
    checks.equal(mine.seek(0, FROM_START)?, 0);
    checks.equal(mine.read(99)?, b"of the first".to_vec());
    mine.delete()?;
    Ok(())
}

fn positions(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    clear(&session, b"positions");
    let object = Object::create(&session, b"positions", READ | WRITE | META, b"0123456789")?;
    checks.equal(object.seek(4, FROM_START)?, 4);
    object.write(b"xy")?;
    checks.equal(object.seek(0, FROM_START)?, 0);
    checks.equal(object.read(99)?, b"0123xy6789".to_vec());
    object.truncate(5)?;
    checks.equal(object.seek(0, FROM_END)?, 5);
    object.truncate(8)?;
    checks.equal(object.seek(0, FROM_START)?, 0);
    checks.equal(object.read(99)?, b"0123x\0\0\0".to_vec());
    checks.equal(object.seek(12, FROM_START)?, 12);
    object.write(b"z")?;
    checks.equal(object.seek(0, FROM_START)?, 0);
    checks.equal(object.read(99)?, b"0123x\0\0\0\0\0\0\0z".to_vec());
    object.delete()?;
    Ok(())
}

fn renaming(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    for name in [&b"old"[..], b"new", b"taken"] {
        clear(&session, name);
    }
    drop(Object::create(&session, b"taken", META, b"")?);
    let object = Object::create(&session, b"old", READ | META, b"kept")?;
    checks.fails(object.rename(b"taken"), Code::AccessConflict);
    object.rename(b"new")?;
    drop(object);
    checks.fails(Object::open(&session, b"old", READ), Code::ItemNotFound);
    let object = Object::open(&session, b"new", READ | META)?;
    checks.equal(object.read(9)?, b"kept".to_vec());
    object.delete()?;
    Object::open(&session, b"taken", META)?.delete()?;
    Ok(())
}

fn sizes(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    for size in [0, 1, 4095, 4096, 4097, 12_000, 40_000] {
        checks.sub(&format!("{size} bytes"), |checks| {
            clear(&session, b"sizes");
            drop(Object::create(&session, b"sizes", META, &pattern(size))?);
            let object = Object::open(&session, b"sizes", READ | META)?;
            checks.check(object.read(size + 1)? == pattern(size), "other bytes came back");
            object.delete()?;
            Ok(())
        });
    }
    Ok(())
}

fn outlives(checks: &mut Checks) -> Result<(), Stop> {
    {
        let session = session()?;
        clear(&session, b"outlives");
        let object = Object::create(&session, b"outlives", WRITE | META, b"one")?;
        object.write(b"two")?;
        // The session ends with the object open.
        std::mem::forget(object);
    }
    let session = session()?;
    let object = Object::open(&session, b"outlives", READ | META)?;
    checks.equal(object.read(9)?, b"two".to_vec());
    object.delete()?;
    Ok(())
}

fn many(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    let name = |number: u8| [b"many".as_slice(), &[number]].concat();
    for number in 0..12 {
        clear(&session, &name(number));
        drop(Object::create(&session, &name(number), META, &[number; 100])?);
    }
    for number in (0..12).rev() {
        let object = Object::open(&session, &name(number), READ | META)?;
        checks.equal(object.read(999)?, vec![number; 100]);
        object.delete()?;
    }
    Ok(())
}

/// All files that storage is made of, with their contents.
pub(super) fn snapshot() -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
    fn walk(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                walk(&path, files)?;
            } else {
                let contents = fs::read(&path)?;
                files.push((path, contents));
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(Path::new(FOLDER), &mut files)?;
    files.sort();
    Ok(files)
}

/// Makes storage the files of a snapshot, and no others.
pub(super) fn restore(files: &[(PathBuf, Vec<u8>)]) -> std::io::Result<()> {
    for (path, _) in snapshot()? {
        if !files.iter().any(|(kept, _)| *kept == path) {
            fs::remove_file(path)?;
        }
    }
    files.iter().try_for_each(|(path, contents)| fs::write(path, contents))
}

/// The file that came with an object: the one that was not there before.
fn new_file(before: &[(PathBuf, Vec<u8>)]) -> Result<PathBuf, Stop> {
    let after = snapshot()?;
    let new = after.into_iter().find(|(path, _)| !before.iter().any(|(old, _)| old == path));
    new.map(|(path, _)| path).ok_or(Stop)
}

/// Opens an object in a session of its own and reads it: a TA may not survive what it finds.
fn contents_of(name: &[u8], room: usize) -> Result<Vec<u8>, TeeError> {
    Object::open(&session()?, name, READ)?.read(room)
}

fn changed_file(checks: &mut Checks) -> Result<(), Stop> {
    let before = {
        let session = session()?;
        clear(&session, b"changed");
        // Directory files exist from here on.
        Object::create(&session, b"first", META, b"")?.delete()?;
        let before = snapshot()?;
        drop(Object::create(&session, b"changed", META, &pattern(9000))?);
        before
    };
    let file = new_file(&before)?;
    let whole = snapshot()?;
    let length = fs::metadata(&file)?.len();
    let mut noticed = 0;
    for tenth in 0..10 {
        let place = usize::try_from(length * tenth / 10).unwrap_or(0);
        let mut contents = fs::read(&file)?;
        if let Some(byte) = contents.get_mut(place) {
            *byte ^= 0x10;
        }
        fs::write(&file, contents)?;
        match contents_of(b"changed", 9000) {
            // Both versions of a node are in the file: the older one is not looked at.
            Ok(bytes) => {
                checks.check(bytes == pattern(9000), "a changed file gave other bytes");
            }
            Err(_) => noticed += 1,
        }
        restore(&whole)?;
        let back = contents_of(b"changed", 9000);
        checks.check(back == Ok(pattern(9000)), "the unchanged file did not give its bytes back");
    }
    checks.check(noticed > 2, &format!("of 10 changes {noticed} were noticed"));
    clear(&session()?, b"changed");
    Ok(())
}

fn missing_file(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    clear(&session, b"missing");
    Object::create(&session, b"first", META, b"")?.delete()?;
    let before = snapshot()?;
    drop(Object::create(&session, b"missing", META, b"something")?);
    fs::remove_file(new_file(&before)?)?;
    let opened = Object::open(&session, b"missing", READ);
    checks.check(opened.is_err(), "an object without its file was opened");
    drop(opened);
    clear(&session, b"missing");
    Object::create(&session, b"next", META, b"")?.delete()?;
    Ok(())
}

fn rollback(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    clear(&session, b"counter");
    drop(Object::create(&session, b"counter", META, b"tries left: 3")?);
    let old = snapshot()?;
    drop(Object::create(&session, b"counter", META | OVERWRITE, b"tries left: 0")?);
    restore(&old)?;
    // There is no RPMB and no counter here: whoever has the files has the say about their age. If
    // this ever fails, the documentation that says so is out of date.
    let object = Object::open(&session, b"counter", READ | META)?;
    checks.equal(object.read(99)?, b"tries left: 3".to_vec());
    object.delete()?;
    Ok(())
}
