// SPDX-License-Identifier: MIT
//! What happens when something runs out.

use std::ffi::CStr;

use rustix::mount::{MountFlags, mount_remount};
use strongroom_tee::{Access, Code, Tee, TeeError};

use super::{
    case,
    storage::{FOLDER, META, OVERWRITE, Object, READ, WRITE, clear, session},
};
use crate::{
    suite::{Case, Checks, Stop},
    ta,
};

pub(super) const CASES: &[Case] = &[
    case(7001, "Out of TA memory: the call fails, the session lives", ta_memory),
    case(7002, "Out of secure memory: sessions until it is full, and after", secure_memory),
    case(7003, "Shared memory: more than there is", shared_memory),
    case(7004, "Storage full", storage_full),
    case(7005, "Storage full: an object that is there keeps its contents", storage_full_old),
];

fn ta_memory(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    clear(&session, b"heap");
    let object = Object::create(&session, b"heap", READ | WRITE | META, b"small")?;
    // The TA makes a copy on its heap, which is far smaller.
    let mut refusals = Vec::new();
    for mebibytes in [2, 4] {
        refusals.extend(object.write(&vec![1; mebibytes << 20]).err().map(|error| error.code));
    }
    checks.equal(refusals, vec![Code::OutOfMemory; 2]);
    checks.equal(object.read(99)?, b"small".to_vec());
    object.delete()?;
    Ok(())
}

fn secure_memory(checks: &mut Checks) -> Result<(), Stop> {
    const MOST: usize = 600;
    let tee = Tee::connect()?;
    let mut sessions = Vec::new();
    let refused = loop {
        match tee.open(ta::CRYPT) {
            Ok(session) => sessions.push(session),
            Err(error) => break Some(error),
        }
        if sessions.len() == MOST {
            break None;
        }
    };
    match refused {
        Some(error) => {
            let expected = [Code::OutOfMemory, Code::Busy, Code::Generic];
            checks.check(
                expected.contains(&error.code),
                &format!("session {}: {error}", sessions.len()),
            );
        }
        None => checks.skip(&format!("{MOST} instances fit: nothing ran out")),
    }
    checks.check(sessions.len() > 3, "only few instances fit");
    let first = sessions.first().ok_or(Stop)?;
    checks.succeeds(ta::sha256(first, b"in the middle of it"));
    sessions.clear();
    checks.succeeds(ta::sha256(&tee.open(ta::CRYPT)?, b"afterwards"));
    Ok(())
}

fn shared_memory(checks: &mut Checks) -> Result<(), Stop> {
    let tee = Tee::connect()?;
    let allocated = tee.allocate(1 << 40, Access::Both).map(|_| ());
    checks.fails(allocated, Code::OutOfMemory);
    let memory = tee.allocate(1 << 20, Access::Both)?;
    checks.equal(memory.len(), 1 << 20);
    Ok(())
}

/// Storage with little room, until dropped. `tee-supplicant` holds the folder open, so the file
/// system that it lies on is made small, not another one put over it.
struct Small;

impl Small {
    fn new() -> Result<Self, Stop> {
        resize(c"size=512k")?;
        Ok(Self)
    }
}

fn resize(options: &CStr) -> Result<(), Stop> {
    let resized = mount_remount(FOLDER, MountFlags::empty(), options);
    Ok(resized.map_err(std::io::Error::from)?)
}

impl Drop for Small {
    fn drop(&mut self) {
        // If it stays small, later cases say so.
        let _ = resize(c"size=50%");
    }
}

/// Writes to `object` until that fails.
fn fill(object: &Object<'_>) -> Option<TeeError> {
    (0..100).find_map(|_| object.write(&[0x5a; 8192]).err())
}

fn storage_full(checks: &mut Checks) -> Result<(), Stop> {
    let _small = Small::new()?;
    let session = session()?;
    let object = Object::create(&session, b"full", READ | WRITE | META, b"")?;
    let Some(error) = fill(&object) else {
        checks.check(false, "it never became full");
        return Ok(());
    };
    let expected = [Code::StorageNoSpace, Code::Generic, Code::OutOfMemory];
    checks.check(expected.contains(&error.code), &format!("when it was full: {error}"));
    drop(object);
    // There is room again when it is gone.
    let object = Object::open(&session, b"full", READ | WRITE | META)?;
    object.delete()?;
    Object::create(&session, b"small", META, b"fits")?.delete()?;
    Ok(())
}

fn storage_full_old(checks: &mut Checks) -> Result<(), Stop> {
    let _small = Small::new()?;
    let session = session()?;
    drop(Object::create(&session, b"old", META, b"still there")?);
    let filler = Object::create(&session, b"filler", WRITE | META, b"")?;
    let error = fill(&filler).map(|error| error.code);
    checks.check(error.is_some(), "it never became full");
    checks.check(error != Some(Code::TargetDead), "the TA panicked");
    let object = Object::open(&session, b"old", READ)?;
    checks.equal(object.read(99)?, b"still there".to_vec());
    drop(object);
    let replaced = Object::create(&session, b"another", META | OVERWRITE, &[1; 60_000]).map(|_| ());
    checks.check(replaced.is_err(), "more fits into what is full");
    filler.delete()?;
    let object = Object::open(&session, b"old", READ | META)?;
    checks.equal(object.read(99)?, b"still there".to_vec());
    object.delete()?;
    Ok(())
}
