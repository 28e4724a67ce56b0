// SPDX-License-Identifier: MIT
//! Times of files: `utimensat(2)`, `utime(2)`, `utimes(2)`, `futimesat(2)`.

use crate::calls::attributes::{
    AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, check_access, check_owner, check_writable_mount, place_at,
};
use crate::calls::descriptors::AT_FDCWD;
use crate::fs::{Change, Place, Timestamp};
use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::Call;
use crate::user::{UserPtr, UserStr};
use strongroom_abi::{Errno, Timespec, Timeval};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(crate) const CALLS: &[Row] = &[
    row!(Utime, utime(2), Full),
    row!(Utimes, utimes(2), Full),
    row!(Futimesat, futimesat(3), Full),
    row!(Utimensat, utimensat(4), Full),
];

const NS_PER_S: i64 = 1_000_000_000;

/// Times of access and modification; `None` leaves one as it is.
type Times = [Option<Timestamp>; 2];

fn utimensat(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    times: UserPtr<Timespec>,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let now = call.kernel.wall_ns();
    let times = both(call, times, |time| wanted_time(time, now))?;
    let place = if path.is_null() {
        call.file(directory)?.place.clone().ok_or(Errno::EINVAL)?
    } else {
        place_at(call, directory, path, flags)?
    };
    if times == Some([None, None]) {
        return Ok(0);
    }
    set_times(call, &place, times)
}

/// `UTIME_NOW`, `UTIME_OMIT`, or a time.
fn wanted_time(time: Timespec, now: Timestamp) -> Result<Option<Timestamp>, Errno> {
    const NOW: i64 = 0x3fff_ffff;
    const OMIT: i64 = 0x3fff_fffe;
    match time.nanoseconds {
        NOW => Ok(Some(now)),
        OMIT => Ok(None),
        0..NS_PER_S => {
            Ok(Some(time.seconds.saturating_mul(NS_PER_S).saturating_add(time.nanoseconds)))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn futimesat(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    times: UserPtr<Timeval>,
) -> SysResult {
    let times = both(call, times, |time| {
        if (0..1_000_000).contains(&time.microseconds) {
            let ns = time.microseconds * 1000;
            Ok(Some(time.seconds.saturating_mul(NS_PER_S).saturating_add(ns)))
        } else {
            Err(Errno::EINVAL)
        }
    })?;
    let place = place_at(call, directory, path, 0)?;
    set_times(call, &place, times)
}

fn utimes(call: &mut Call<'_>, path: UserStr, times: UserPtr<Timeval>) -> SysResult {
    futimesat(call, AT_FDCWD, path, times)
}

fn utime(call: &mut Call<'_>, path: UserStr, times: UserPtr<i64>) -> SysResult {
    let times = both(call, times, |time: i64| Ok(Some(time.saturating_mul(NS_PER_S))))?;
    let place = place_at(call, AT_FDCWD, path, 0)?;
    set_times(call, &place, times)
}

/// The two times behind a pointer; `None` where it is null.
fn both<T: FromBytes + IntoBytes + Immutable>(
    call: &Call<'_>,
    times: UserPtr<T>,
    convert: impl Fn(T) -> Result<Option<Timestamp>, Errno>,
) -> SysResult<Option<Times>> {
    if times.is_null() {
        return Ok(None);
    }
    let accessed = times.read(call.memory)?;
    let modified = times.element(1).read(call.memory)?;
    Ok(Some([convert(accessed)?, convert(modified)?]))
}

/// Sets times; without any, both are now.
fn set_times(call: &Call<'_>, place: &Place, times: Option<Times>) -> SysResult {
    check_writable_mount(place)?;
    let now = call.kernel.wall_ns();
    if times.is_some() {
        check_owner(call, place)?;
    } else if check_owner(call, place).is_err() {
        check_access(call, place, 2)?;
    }
    let [accessed_ns, modified_ns] = times.unwrap_or([Some(now); 2]);
    let change = Change { accessed_ns, modified_ns, ..Change::default() };
    place.inode.change(call.thread, &change)?;
    Ok(0)
}
