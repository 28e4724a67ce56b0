// SPDX-License-Identifier: MIT
//! Advisory locks: `fcntl(2)` record locks and `flock(2)`.

use crate::fs::locks::{Lock, NotTaken, Owner};
use crate::fs::{InodeId, OpenFile};
use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::{Call, Process};
use crate::user::UserPtr;
use strongroom_abi::{Errno, Flock};

pub(crate) const CALLS: &[Row] = &[row!(Flock, flock(2), Full)];

const F_GETLK: u32 = 5;
const F_SETLKW: u32 = 7;
const F_OFD_GETLK: u32 = 36;
const F_OFD_SETLKW: u32 = 38;
const F_RDLCK: i16 = 0;
const F_WRLCK: i16 = 1;
const F_UNLCK: i16 = 2;

/// A process has closed a descriptor: all its record locks on that inode go.
pub(crate) fn release_record_locks(process: &Process, open: &OpenFile) {
    if let Some(place) = &open.place {
        process.kernel.locks.release_process(place.inode.id(), process.pid);
    }
}

/// The lock commands of `fcntl(2)`.
pub(super) fn control(
    call: &Call<'_>,
    open: &OpenFile,
    command: u32,
    pointer: UserPtr<Flock>,
) -> SysResult {
    let request = pointer.read(call.memory)?;
    let inode = open.place.as_ref().ok_or(Errno::EBADF)?.inode.id();
    let (start, end) = range(call, open, &request)?;
    let owner = if command >= F_OFD_GETLK {
        if request.pid != 0 {
            return Err(Errno::EINVAL.into());
        }
        Owner::OpenFile(open.number)
    } else {
        Owner::Process(call.thread.process.pid)
    };
    let exclusive = match request.kind {
        F_RDLCK => false,
        F_WRLCK => true,
        F_UNLCK if !matches!(command, F_GETLK | F_OFD_GETLK) => {
            call.kernel.locks.release(inode, owner, start, end);
            return Ok(0);
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let lock = Lock { owner, exclusive, start, end };
    if matches!(command, F_GETLK | F_OFD_GETLK) {
        return report(call, inode, &lock, request, pointer);
    }
    if exclusive {
        open.check_writable()?
    } else {
        open.check_readable()?
    }
    let waits = matches!(command, F_SETLKW | F_OFD_SETLKW);
    if call.progress.woken {
        call.kernel.locks.forget(call.thread.key);
    }
    match call.kernel.locks.acquire(inode, lock) {
        Ok(()) => Ok(0),
        Err(NotTaken::Full) => Err(Errno::ENOLCK.into()),
        Err(NotTaken::Conflict(changed)) if waits => {
            if command == F_SETLKW && !call.kernel.locks.wait(call.thread.key, inode, lock) {
                return Err(Errno::EDEADLK.into());
            }
            call.sleep_on(&changed)
        }
        Err(NotTaken::Conflict(_)) => Err(Errno::EAGAIN.into()),
    }
}

/// `F_GETLK`: who is in the way.
fn report(
    call: &Call<'_>,
    inode: InodeId,
    lock: &Lock,
    request: Flock,
    pointer: UserPtr<Flock>,
) -> SysResult {
    let answer = match call.kernel.locks.conflict(inode, lock) {
        None => Flock { kind: F_UNLCK, ..request },
        Some(held) => Flock {
            kind: if held.exclusive { F_WRLCK } else { F_RDLCK },
            whence: 0,
            start: held.start.cast_signed(),
            length: if held.end == u64::MAX { 0 } else { (held.end - held.start).cast_signed() },
            pid: match held.owner {
                Owner::Process(pid) => pid.cast_signed(),
                Owner::Flock(_) | Owner::OpenFile(_) => -1,
            },
            ..request
        },
    };
    pointer.write(call.memory, &answer)?;
    Ok(0)
}

/// The bytes that a `struct flock` names.
fn range(call: &Call<'_>, open: &OpenFile, request: &Flock) -> SysResult<(u64, u64)> {
    let base = match request.whence {
        0 => 0,
        1 => open.offset().cast_signed(),
        2 => open.file.size(call.thread)?.cast_signed(),
        _ => return Err(Errno::EINVAL.into()),
    };
    let start = base.checked_add(request.start).ok_or(Errno::EOVERFLOW)?;
    let other = start.checked_add(request.length).ok_or(Errno::EOVERFLOW)?;
    let (low, high) = if request.length < 0 { (other, start) } else { (start, other) };
    let low = u64::try_from(low).map_err(|_| Errno::EINVAL)?;
    let high = u64::try_from(high).map_err(|_| Errno::EINVAL)?;
    Ok((low, if request.length == 0 { u64::MAX } else { high }))
}

fn flock(call: &mut Call<'_>, descriptor: i32, operation: u32) -> SysResult {
    const SHARED: u32 = 1;
    const EXCLUSIVE: u32 = 2;
    const NONBLOCK: u32 = 4;
    const UNLOCK: u32 = 8;
    let open = call.file(descriptor)?;
    let inode = open.place.as_ref().ok_or(Errno::EBADF)?.inode.id();
    let owner = Owner::Flock(open.number);
    let exclusive = match operation & !NONBLOCK {
        SHARED => false,
        EXCLUSIVE => true,
        UNLOCK => {
            call.kernel.locks.release(inode, owner, 0, u64::MAX);
            return Ok(0);
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let lock = Lock { owner, exclusive, start: 0, end: u64::MAX };
    match call.kernel.locks.acquire(inode, lock) {
        Ok(()) => Ok(0),
        Err(NotTaken::Full) => Err(Errno::ENOLCK.into()),
        Err(NotTaken::Conflict(_)) if operation & NONBLOCK != 0 => Err(Errno::EAGAIN.into()),
        Err(NotTaken::Conflict(changed)) => call.sleep_on(&changed),
    }
}
