// SPDX-License-Identifier: MIT
//! Sizes of files: `truncate(2)`, `ftruncate(2)`, `fallocate(2)`.

use crate::calls::attributes::{check_access, check_writable_mount, place_at};
use crate::calls::descriptors::AT_FDCWD;
use crate::fs::text::TextUse;
use crate::fs::{Change, Kind, OpenFlags};
use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::Call;
use crate::user::UserStr;
use strongroom_abi::Errno;

pub(crate) const CALLS: &[Row] = &[
    row!(Truncate, truncate(2), Full),
    row!(Ftruncate, ftruncate(2), Full),
    row!(Fallocate, fallocate(4), Partial("default, keep size, punch hole and zero range")),
];

fn truncate(call: &mut Call<'_>, path: UserStr, length: i64) -> SysResult {
    let size = u64::try_from(length).map_err(|_| Errno::EINVAL)?;
    let place = place_at(call, AT_FDCWD, path, 0)?;
    match place.inode.kind() {
        Kind::Directory => return Err(Errno::EISDIR.into()),
        Kind::Regular => {}
        Kind::Symlink | Kind::CharacterDevice | Kind::BlockDevice | Kind::Fifo | Kind::Socket => {
            return Err(Errno::EINVAL.into());
        }
    }
    check_access(call, &place, 2)?;
    check_writable_mount(&place)?;
    let _writing = TextUse::write(call.kernel, place.inode.id())?;
    place.inode.change(call.thread, &Change { size: Some(size), ..Change::default() })?;
    Ok(0)
}

fn ftruncate(call: &mut Call<'_>, descriptor: i32, length: i64) -> SysResult {
    let open = call.file(descriptor)?;
    let size = u64::try_from(length).map_err(|_| Errno::EINVAL)?;
    if open.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    open.check_writable().map_err(|_| Errno::EINVAL)?;
    open.file.truncate(call.thread, size)?;
    Ok(0)
}

fn fallocate(
    call: &mut Call<'_>,
    descriptor: i32,
    mode: u32,
    offset: i64,
    length: i64,
) -> SysResult {
    const KEEP_SIZE: u32 = 1;
    const PUNCH_HOLE: u32 = 2;
    const ZERO_RANGE: u32 = 16;
    let open = call.file(descriptor)?;
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let length = u64::try_from(length).ok().filter(|length| *length > 0).ok_or(Errno::EINVAL)?;
    open.check_writable()?;
    if !open.file.seekable() {
        return Err(Errno::ESPIPE.into());
    }
    let keep = mode & KEEP_SIZE != 0;
    match mode & !KEEP_SIZE {
        0 => open.file.allocate(call.thread, offset, length, keep)?,
        PUNCH_HOLE if keep => open.file.punch(call.thread, offset, length)?,
        ZERO_RANGE => {
            open.file.allocate(call.thread, offset, length, keep)?;
            open.file.punch(call.thread, offset, length)?;
        }
        _ => return Err(Errno::EOPNOTSUPP.into()),
    }
    Ok(0)
}
