// SPDX-License-Identifier: MIT
//! Reading and writing: `read(2)`, `pread(2)`, `readv(2)`, `lseek(2)`, `ioctl(2)` and their kin.

use crate::fs::{Kind, OpenFile, OpenFlags, Whence};
use crate::memory::Memory;
use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::Call;
use crate::user::{Sink, Source, UserPtr};
use strongroom_abi::{Errno, Iovec};

pub(crate) const CALLS: &[Row] = &[
    row!(Read, read(3), Full),
    row!(Write, write(3), Full),
    row!(Pread64, pread64(4), Full),
    row!(Pwrite64, pwrite64(4), Full),
    row!(Readv, readv(3), Full),
    row!(Writev, writev(3), Full),
    row!(Preadv, preadv(4), Full),
    row!(Pwritev, pwritev(4), Full),
    row!(Preadv2, preadv2(6), Partial("flags other than RWF_HIPRI and RWF_NOWAIT are refused")),
    row!(Pwritev2, pwritev2(6), Partial("flags other than RWF_*SYNC and RWF_HIPRI are refused")),
    row!(Lseek, lseek(3), Full),
    row!(
        Ioctl,
        ioctl(3),
        Partial("what terminals, pipes and sockets commonly need, and /dev/sev-guest")
    ),
    row!(Fsync, fsync(1), Full),
    row!(Fdatasync, fsync(1), Full),
    row!(Sync, sync(0), Full),
    row!(Syncfs, syncfs(1), Full),
    row!(SyncFileRange, sync_file_range(4), Full),
    row!(Fadvise64, fadvise64(4), Full),
    row!(Readahead, readahead(3), Full),
];

const FIOCLEX: u32 = 0x5451;
const FIONCLEX: u32 = 0x5450;
const FIONBIO: u32 = 0x5421;
const FIOASYNC: u32 = 0x5452;
const FIONREAD: u32 = 0x541b;

fn read(call: &mut Call<'_>, descriptor: i32, buffer: usize, count: usize) -> SysResult {
    let open = call.file(descriptor)?;
    let memory: &Memory = call.memory;
    check_buffer(memory, buffer, count)?;
    let count = call.reachable(buffer, count);
    read_file(call, &open, &mut Sink::user(memory, buffer, count))
}

fn write(call: &mut Call<'_>, descriptor: i32, buffer: usize, count: usize) -> SysResult {
    let open = call.file(descriptor)?;
    let memory: &Memory = call.memory;
    check_buffer(memory, buffer, count)?;
    let count = call.reachable(buffer, count);
    write_file(call, &open, &mut Source::user(memory, buffer, count))
}

fn pread64(
    call: &mut Call<'_>,
    descriptor: i32,
    buffer: usize,
    count: usize,
    offset: i64,
) -> SysResult {
    let open = call.file(descriptor)?;
    let memory: &Memory = call.memory;
    check_buffer(memory, buffer, count)?;
    let count = call.reachable(buffer, count);
    read_at(call, &open, offset, &mut Sink::user(memory, buffer, count))
}

fn pwrite64(
    call: &mut Call<'_>,
    descriptor: i32,
    buffer: usize,
    count: usize,
    offset: i64,
) -> SysResult {
    let open = call.file(descriptor)?;
    let memory: &Memory = call.memory;
    check_buffer(memory, buffer, count)?;
    let count = call.reachable(buffer, count);
    write_at(call, &open, offset, &mut Source::user(memory, buffer, count))
}

fn readv(call: &mut Call<'_>, descriptor: i32, vector: UserPtr<Iovec>, count: usize) -> SysResult {
    let open = call.file(descriptor)?;
    let memory: &Memory = call.memory;
    read_file(call, &open, &mut Sink::vector(memory, vector, count)?)
}

fn writev(call: &mut Call<'_>, descriptor: i32, vector: UserPtr<Iovec>, count: usize) -> SysResult {
    let open = call.file(descriptor)?;
    let memory: &Memory = call.memory;
    write_file(call, &open, &mut Source::vector(memory, vector, count)?)
}

fn preadv(
    call: &mut Call<'_>,
    descriptor: i32,
    vector: UserPtr<Iovec>,
    count: usize,
    offset: i64,
) -> SysResult {
    let open = call.file(descriptor)?;
    let memory: &Memory = call.memory;
    read_at(call, &open, offset, &mut Sink::vector(memory, vector, count)?)
}

fn pwritev(
    call: &mut Call<'_>,
    descriptor: i32,
    vector: UserPtr<Iovec>,
    count: usize,
    offset: i64,
) -> SysResult {
    let open = call.file(descriptor)?;
    let memory: &Memory = call.memory;
    write_at(call, &open, offset, &mut Source::vector(memory, vector, count)?)
}

fn preadv2(
    call: &mut Call<'_>,
    descriptor: i32,
    vector: UserPtr<Iovec>,
    count: usize,
    offset: i64,
    _offset_high: usize,
    flags: u32,
) -> SysResult {
    const HIPRI: u32 = 1;
    const NOWAIT: u32 = 8;
    if flags & !(HIPRI | NOWAIT) != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if offset == -1 {
        return readv(call, descriptor, vector, count);
    }
    preadv(call, descriptor, vector, count, offset)
}

fn pwritev2(
    call: &mut Call<'_>,
    descriptor: i32,
    vector: UserPtr<Iovec>,
    count: usize,
    offset: i64,
    _offset_high: usize,
    flags: u32,
) -> SysResult {
    const ACCEPTED: u32 = 1 | 2 | 4;
    if flags & !ACCEPTED != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if offset == -1 {
        return writev(call, descriptor, vector, count);
    }
    pwritev(call, descriptor, vector, count, offset)
}

/// `EFAULT` for a buffer that does not lie in user space at all.
fn check_buffer(memory: &Memory, address: usize, count: usize) -> Result<(), Errno> {
    match address.checked_add(count) {
        Some(end) if end <= memory.space().user_end() => Ok(()),
        Some(_) | None => Err(Errno::EFAULT),
    }
}

/// Reads at the file offset and moves it.
pub(super) fn read_file(call: &mut Call<'_>, open: &OpenFile, to: &mut Sink<'_>) -> SysResult {
    open.check_readable()?;
    check_not_directory(open)?;
    if !open.file.seekable() {
        return open.file.read(call, open, 0, to);
    }
    let offset = open.offset();
    let count = open.file.read(call, open, offset, to)?;
    open.set_offset(offset.wrapping_add(count as u64));
    Ok(count)
}

/// Writes at the file offset, or at the end where the file appends, and moves it.
pub(super) fn write_file(call: &mut Call<'_>, open: &OpenFile, from: &mut Source<'_>) -> SysResult {
    open.check_writable()?;
    if open.file.keeps_bytes() {
        call.kernel.check_heap()?;
    }
    if !open.file.seekable() {
        return open.file.write(call, open, 0, from);
    }
    let offset = if open.flags().contains(OpenFlags::APPEND) {
        open.file.size(call.thread)?
    } else {
        open.offset()
    };
    let count = open.file.write(call, open, offset, from)?;
    open.set_offset(offset.wrapping_add(count as u64));
    Ok(count)
}

/// Reads at an offset.
pub(super) fn read_at(
    call: &mut Call<'_>,
    open: &OpenFile,
    offset: i64,
    to: &mut Sink<'_>,
) -> SysResult {
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    open.check_readable()?;
    if !open.file.seekable() {
        return Err(Errno::ESPIPE.into());
    }
    check_not_directory(open)?;
    open.file.read(call, open, offset, to)
}

/// Writes at an offset; appends where the file does, as Linux has it.
pub(super) fn write_at(
    call: &mut Call<'_>,
    open: &OpenFile,
    offset: i64,
    from: &mut Source<'_>,
) -> SysResult {
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    open.check_writable()?;
    if !open.file.seekable() {
        return Err(Errno::ESPIPE.into());
    }
    let append = open.flags().contains(OpenFlags::APPEND);
    let offset = if append { open.file.size(call.thread)? } else { offset };
    open.file.write(call, open, offset, from)
}

fn check_not_directory(open: &OpenFile) -> Result<(), Errno> {
    match &open.place {
        Some(place) if place.inode.kind() == Kind::Directory => Err(Errno::EISDIR),
        Some(_) | None => Ok(()),
    }
}

fn lseek(call: &mut Call<'_>, descriptor: i32, offset: i64, whence: u32) -> SysResult {
    let open = call.file(descriptor)?;
    if open.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    if !open.file.seekable() {
        return Err(Errno::ESPIPE.into());
    }
    let whence = match whence {
        0 => Whence::Start,
        1 => Whence::Current,
        2 => Whence::End,
        3 => Whence::Data,
        4 => Whence::Hole,
        _ => return Err(Errno::EINVAL.into()),
    };
    let size = |call: &Call<'_>| -> SysResult<i64> {
        Ok(i64::try_from(open.file.size(call.thread)?).unwrap_or(i64::MAX))
    };
    let target = match whence {
        Whence::Start => Some(offset),
        Whence::Current => open.offset().cast_signed().checked_add(offset),
        Whence::End => size(call)?.checked_add(offset),
        Whence::Data | Whence::Hole => {
            let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            Some(open.file.find(call.thread, from, whence)?.cast_signed())
        }
    };
    let target = target.ok_or(Errno::EOVERFLOW)?;
    let target = u64::try_from(target).map_err(|_| Errno::EINVAL)?;
    let target = if open.file.stays_at_zero() { 0 } else { target };
    open.set_offset(target);
    Ok(target as usize)
}

fn ioctl(call: &mut Call<'_>, descriptor: i32, request: u32, argument: usize) -> SysResult {
    let open = call.file(descriptor)?;
    if open.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    match request {
        FIOCLEX => call.files.set_close_on_exec(descriptor, true)?,
        FIONCLEX => call.files.set_close_on_exec(descriptor, false)?,
        FIONBIO | FIOASYNC => {
            let on = UserPtr::<i32>::at(argument).read(call.memory)? != 0;
            let flag = if request == FIONBIO { OpenFlags::NONBLOCK } else { OpenFlags::ASYNC };
            let mut flags = open.flags();
            flags.set(flag, on);
            open.set_flags(flags);
        }
        FIONREAD if is_regular(&open) => {
            let left = open.file.size(call.thread)?.saturating_sub(open.offset());
            let left = i32::try_from(left).unwrap_or(i32::MAX);
            UserPtr::<i32>::at(argument).write(call.memory, &left)?;
        }
        _ => return open.file.ioctl(call, &open, request, argument),
    }
    Ok(0)
}

fn is_regular(open: &OpenFile) -> bool {
    open.place.as_ref().is_some_and(|place| place.inode.kind() == Kind::Regular)
}

fn fsync(call: &mut Call<'_>, descriptor: i32) -> SysResult {
    let open = call.file(descriptor)?;
    if open.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    open.file.sync(call.thread)?;
    Ok(0)
}

fn sync(_call: &mut Call<'_>) -> SysResult {
    Ok(0)
}

fn syncfs(call: &mut Call<'_>, descriptor: i32) -> SysResult {
    call.file(descriptor)?;
    Ok(0)
}

fn sync_file_range(
    call: &mut Call<'_>,
    descriptor: i32,
    offset: i64,
    length: i64,
    flags: u32,
) -> SysResult {
    let open = call.file(descriptor)?;
    if offset < 0 || length < 0 || offset.checked_add(length).is_none() || flags & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    if !open.file.seekable() {
        return Err(Errno::ESPIPE.into());
    }
    Ok(0)
}

fn fadvise64(
    call: &mut Call<'_>,
    descriptor: i32,
    _offset: i64,
    length: i64,
    advice: u32,
) -> SysResult {
    let open = call.file(descriptor)?;
    if !open.file.seekable() {
        return Err(Errno::ESPIPE.into());
    }
    if length < 0 || advice > 5 {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

fn readahead(call: &mut Call<'_>, descriptor: i32, _offset: i64, _count: usize) -> SysResult {
    let open = call.file(descriptor)?;
    open.check_readable()?;
    if is_regular(&open) { Ok(0) } else { Err(Errno::EINVAL.into()) }
}
