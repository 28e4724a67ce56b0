// SPDX-License-Identifier: MIT
//! Attributes: `stat(2)`, `statx(2)`, `access(2)`, `chmod(2)`, `chown(2)`, `statfs(2)`.

use crate::calls::descriptors::{AT_FDCWD, base};
use crate::fs::{Attributes, Change, Follow, Kind, OpenFlags, Place, Timestamp, walk};
use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::{Call, Credentials};
use crate::user::{UserPtr, UserStr};
use strongroom_abi::{Errno, Statfs, Statx, StatxTimestamp, Timespec, arch};

pub(crate) const CALLS: &[Row] = &[
    row!(Stat, stat(2), Full),
    row!(Lstat, lstat(2), Full),
    row!(Fstat, fstat(2), Full),
    row!(Newfstatat, newfstatat(4), Full),
    row!(Statx, statx(5), Partial("no birth time, no mount id")),
    row!(Access, access(2), Full),
    row!(Faccessat, faccessat(3), Full),
    row!(Faccessat2, faccessat2(4), Full),
    row!(Chmod, chmod(2), Full),
    row!(Fchmod, fchmod(2), Full),
    row!(Fchmodat, fchmodat(3), Full),
    row!(Fchmodat2, fchmodat2(4), Full),
    row!(Chown, chown(3), Full),
    row!(Lchown, lchown(3), Full),
    row!(Fchown, fchown(3), Full),
    row!(Fchownat, fchownat(5), Full),
    row!(Statfs, statfs(2), Full),
    row!(Fstatfs, fstatfs(2), Full),
    row!(Umask, umask(1), Full),
    row!(Getxattr, getxattr(4), Refused("no extended attributes")),
    row!(Lgetxattr, getxattr(4), Refused("no extended attributes")),
    row!(Fgetxattr, getxattr(4), Refused("no extended attributes")),
    row!(Setxattr, getxattr(4), Refused("no extended attributes")),
    row!(Lsetxattr, getxattr(4), Refused("no extended attributes")),
    row!(Fsetxattr, getxattr(4), Refused("no extended attributes")),
    row!(Listxattr, getxattr(4), Refused("no extended attributes")),
    row!(Llistxattr, getxattr(4), Refused("no extended attributes")),
    row!(Flistxattr, getxattr(4), Refused("no extended attributes")),
    row!(Removexattr, getxattr(4), Refused("no extended attributes")),
];

pub(super) const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EACCESS: u32 = 0x200;
const AT_NO_AUTOMOUNT: u32 = 0x800;
pub(super) const AT_EMPTY_PATH: u32 = 0x1000;
const AT_STATX_SYNC: u32 = 0x6000;
const NS_PER_S: i64 = 1_000_000_000;
/// Block size that programs are advised to use.
const BLOCK_SIZE: u16 = 4096;

/// Whether the caller may do `wanted` (4 read, 2 write, 1 execute or search).
pub(crate) fn check_access(call: &Call<'_>, place: &Place, wanted: u32) -> SysResult<()> {
    let credentials = call.thread.process.credentials.lock().clone();
    check_as(call, &credentials, place, wanted)
}

fn check_as(
    call: &Call<'_>,
    credentials: &Credentials,
    place: &Place,
    wanted: u32,
) -> SysResult<()> {
    if credentials.is_root() && wanted & 1 == 0 {
        return Ok(());
    }
    let attributes = place.inode.attributes(call.thread)?;
    if credentials.may(wanted, attributes.mode(), attributes.uid, attributes.gid) {
        Ok(())
    } else {
        Err(Errno::EACCES.into())
    }
}

/// `EROFS` on a mount that is read-only.
pub(crate) fn check_writable_mount(place: &Place) -> SysResult<()> {
    if place.mount.read_only { Err(Errno::EROFS.into()) } else { Ok(()) }
}

/// What a path leads to, or the descriptor itself where the path is empty and may be.
pub(super) fn place_at(
    call: &Call<'_>,
    directory: i32,
    path: UserStr,
    flags: u32,
) -> SysResult<Place> {
    let path = path.read_path(call.memory)?;
    let base = base(call, directory, &path)?;
    if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
        return Ok(base);
    }
    let follow = if flags & AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
    walk(call.thread, &base, &path, follow)
}

fn stat(call: &mut Call<'_>, path: UserStr, buffer: UserPtr<arch::Stat>) -> SysResult {
    newfstatat(call, AT_FDCWD, path, buffer, 0)
}

fn lstat(call: &mut Call<'_>, path: UserStr, buffer: UserPtr<arch::Stat>) -> SysResult {
    newfstatat(call, AT_FDCWD, path, buffer, AT_SYMLINK_NOFOLLOW)
}

fn fstat(call: &mut Call<'_>, descriptor: i32, buffer: UserPtr<arch::Stat>) -> SysResult {
    let attributes = call.file(descriptor)?.attributes(call.thread)?;
    buffer.write(call.memory, &stat_of(&attributes))?;
    Ok(0)
}

fn newfstatat(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    buffer: UserPtr<arch::Stat>,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let attributes = attributes_at(call, directory, path, flags)?;
    buffer.write(call.memory, &stat_of(&attributes))?;
    Ok(0)
}

/// Attributes by path, or of a descriptor of any kind.
fn attributes_at(
    call: &Call<'_>,
    directory: i32,
    path: UserStr,
    flags: u32,
) -> SysResult<Attributes> {
    if flags & AT_EMPTY_PATH != 0 && directory != AT_FDCWD {
        let empty = path.is_null() || path.read_path(call.memory)?.is_empty();
        if empty {
            return call.file(directory)?.attributes(call.thread);
        }
    }
    place_at(call, directory, path, flags)?.inode.attributes(call.thread)
}

#[allow(
    clippy::useless_conversion,
    reason = "the number of links is wider on one of the two processors"
)]
fn stat_of(attributes: &Attributes) -> arch::Stat {
    let time = |ns: Timestamp| Timespec {
        seconds: ns.div_euclid(NS_PER_S),
        nanoseconds: ns.rem_euclid(NS_PER_S),
    };
    arch::Stat {
        dev: attributes.id.device,
        ino: attributes.id.number,
        nlink: attributes.links.into(),
        mode: attributes.mode(),
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.device,
        size: attributes.size.cast_signed(),
        blksize: BLOCK_SIZE.into(),
        blocks: attributes.blocks.cast_signed(),
        atime: time(attributes.accessed_ns),
        mtime: time(attributes.modified_ns),
        ctime: time(attributes.changed_ns),
        ..arch::Stat::default()
    }
}

fn statx(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    flags: u32,
    mask: u32,
    buffer: UserPtr<Statx>,
) -> SysResult {
    /// `STATX__RESERVED`.
    const RESERVED: u32 = 0x8000_0000;
    /// All of `STATX_BASIC_STATS`.
    const BASIC: u32 = 0x7ff;
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC;
    if flags & !known != 0 || flags & AT_STATX_SYNC == AT_STATX_SYNC || mask & RESERVED != 0 {
        return Err(Errno::EINVAL.into());
    }
    let attributes = attributes_at(call, directory, path, flags)?;
    let time = |ns: Timestamp| StatxTimestamp {
        seconds: ns.div_euclid(NS_PER_S),
        nanoseconds: ns.rem_euclid(NS_PER_S) as u32,
        reserved: 0,
    };
    let statx = Statx {
        mask: BASIC,
        blksize: BLOCK_SIZE.into(),
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        mode: attributes.mode() as u16,
        ino: attributes.id.number,
        size: attributes.size,
        blocks: attributes.blocks,
        atime: time(attributes.accessed_ns),
        ctime: time(attributes.changed_ns),
        mtime: time(attributes.modified_ns),
        rdev_major: major(attributes.device),
        rdev_minor: minor(attributes.device),
        dev_major: major(attributes.id.device),
        dev_minor: minor(attributes.id.device),
        ..Statx::default()
    };
    buffer.write(call.memory, &statx)?;
    Ok(0)
}

const fn major(device: u64) -> u32 {
    ((device >> 8) & 0xfff | (device >> 32) & !0xfff) as u32
}

const fn minor(device: u64) -> u32 {
    (device & 0xff | (device >> 12) & !0xff) as u32
}

fn access(call: &mut Call<'_>, path: UserStr, mode: u32) -> SysResult {
    faccessat2(call, AT_FDCWD, path, mode, 0)
}

fn faccessat(call: &mut Call<'_>, directory: i32, path: UserStr, mode: u32) -> SysResult {
    faccessat2(call, directory, path, mode, 0)
}

fn faccessat2(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    mode: u32,
    flags: u32,
) -> SysResult {
    let known = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
    if mode & !7 != 0 || flags & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = place_at(call, directory, path, flags)?;
    let mut credentials = call.thread.process.credentials.lock().clone();
    if flags & AT_EACCESS == 0 {
        credentials.euid = credentials.uid;
        credentials.egid = credentials.gid;
    }
    check_as(call, &credentials, &place, mode)?;
    let changes_file = mode & 2 != 0
        && matches!(place.inode.kind(), Kind::Regular | Kind::Directory | Kind::Symlink);
    if changes_file {
        check_writable_mount(&place)?;
    }
    Ok(0)
}

/// `chmod` on a place.
fn change_mode(call: &Call<'_>, place: &Place, mode: u32) -> SysResult {
    check_writable_mount(place)?;
    check_owner(call, place)?;
    let change = Change { permissions: Some(mode & 0o7777), ..Change::default() };
    place.inode.change(call.thread, &change)?;
    Ok(0)
}

pub(super) fn check_owner(call: &Call<'_>, place: &Place) -> SysResult<()> {
    let credentials = call.thread.process.credentials.lock().clone();
    if credentials.is_root() || place.inode.attributes(call.thread)?.uid == credentials.euid {
        Ok(())
    } else {
        Err(Errno::EPERM.into())
    }
}

fn chmod(call: &mut Call<'_>, path: UserStr, mode: u32) -> SysResult {
    fchmodat2(call, AT_FDCWD, path, mode, 0)
}

fn fchmodat(call: &mut Call<'_>, directory: i32, path: UserStr, mode: u32) -> SysResult {
    fchmodat2(call, directory, path, mode, 0)
}

fn fchmodat2(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    mode: u32,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = place_at(call, directory, path, flags)?;
    if place.inode.kind() == Kind::Symlink {
        return Err(Errno::EOPNOTSUPP.into());
    }
    change_mode(call, &place, mode)
}

fn fchmod(call: &mut Call<'_>, descriptor: i32, mode: u32) -> SysResult {
    let open = call.file(descriptor)?;
    if open.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    match &open.place {
        Some(place) => change_mode(call, place, mode),
        None => Ok(0),
    }
}

fn chown(call: &mut Call<'_>, path: UserStr, uid: u32, gid: u32) -> SysResult {
    fchownat(call, AT_FDCWD, path, uid, gid, 0)
}

fn lchown(call: &mut Call<'_>, path: UserStr, uid: u32, gid: u32) -> SysResult {
    fchownat(call, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)
}

fn fchownat(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    uid: u32,
    gid: u32,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = place_at(call, directory, path, flags)?;
    change_owner(call, &place, uid, gid)
}

fn fchown(call: &mut Call<'_>, descriptor: i32, uid: u32, gid: u32) -> SysResult {
    let open = call.file(descriptor)?;
    if open.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    match &open.place {
        Some(place) => change_owner(call, place, uid, gid),
        None => Ok(0),
    }
}

fn change_owner(call: &Call<'_>, place: &Place, uid: u32, gid: u32) -> SysResult {
    const SET_IDS: u32 = 0o6000;
    check_writable_mount(place)?;
    let attributes = place.inode.attributes(call.thread)?;
    let credentials = call.thread.process.credentials.lock().clone();
    let (uid, gid) = ((uid != u32::MAX).then_some(uid), (gid != u32::MAX).then_some(gid));
    if !credentials.is_root() {
        let same_owner = uid.is_none_or(|uid| uid == attributes.uid);
        let mine = attributes.uid == credentials.euid;
        let my_group = gid.is_none_or(|gid| credentials.in_group(gid));
        if !(same_owner && mine && my_group) {
            return Err(Errno::EPERM.into());
        }
    }
    let executable = attributes.kind == Kind::Regular && attributes.permissions & 0o111 != 0;
    let permissions = executable.then_some(attributes.permissions & !SET_IDS);
    let change = Change { uid, gid, permissions, ..Change::default() };
    place.inode.change(call.thread, &change)?;
    Ok(0)
}

fn statfs(call: &mut Call<'_>, path: UserStr, buffer: UserPtr<Statfs>) -> SysResult {
    let place = place_at(call, AT_FDCWD, path, 0)?;
    buffer.write(call.memory, &statfs_of(call, place.mount.kind))?;
    Ok(0)
}

fn fstatfs(call: &mut Call<'_>, descriptor: i32, buffer: UserPtr<Statfs>) -> SysResult {
    let open = call.file(descriptor)?;
    let kind = open.place.as_ref().map_or("anon", |place| place.mount.kind);
    buffer.write(call.memory, &statfs_of(call, kind))?;
    Ok(0)
}

fn statfs_of(call: &Call<'_>, kind: &str) -> Statfs {
    let counts = call.kernel.machine.counts();
    let magic = match kind {
        "proc" => 0x9fa0,
        "sysfs" => 0x6265_6572,
        "devpts" => 0x1cd1,
        _ => 0x0102_1994, // tmpfs
    };
    Statfs {
        kind: magic,
        bsize: BLOCK_SIZE.into(),
        blocks: counts.total as u64,
        bfree: counts.free as u64,
        bavail: counts.free as u64,
        files: 1 << 20,
        ffree: 1 << 20,
        namelen: 255,
        frsize: BLOCK_SIZE.into(),
        ..Statfs::default()
    }
}

fn umask(call: &mut Call<'_>, mask: u32) -> SysResult {
    Ok(call.thread.process.fs().set_umask(mask) as usize)
}

fn getxattr(_call: &mut Call<'_>, _a: usize, _b: usize, _c: usize, _d: usize) -> SysResult {
    Err(Errno::EOPNOTSUPP.into())
}
