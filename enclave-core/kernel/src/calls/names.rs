// SPDX-License-Identifier: MIT
//! Names: making, linking, renaming, removing and listing them; the working directory.

use crate::calls::attributes::{check_access, check_writable_mount};
use crate::calls::descriptors::{AT_FDCWD, base, make_node};
use crate::fs::{
    Follow, Kind, NodeKind, Parent, Place, RenameMode, Target, path_of, walk, walk_parent,
};
use crate::outcome::{Stop, SysResult};
use crate::table::{Row, row};
use crate::task::Call;
use crate::user::{UserPtr, UserStr};
use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_abi::Errno;

pub(crate) const CALLS: &[Row] = &[
    row!(Mkdir, mkdir(2), Full),
    row!(Mkdirat, mkdirat(3), Full),
    row!(Mknod, mknod(3), Full),
    row!(Mknodat, mknodat(4), Full),
    row!(Symlink, symlink(2), Full),
    row!(Symlinkat, symlinkat(3), Full),
    row!(Link, link(2), Full),
    row!(Linkat, linkat(5), Full),
    row!(Unlink, unlink(1), Full),
    row!(Unlinkat, unlinkat(3), Full),
    row!(Rmdir, rmdir(1), Full),
    row!(Rename, rename(2), Full),
    row!(Renameat, renameat(4), Full),
    row!(Renameat2, renameat2(5), Partial("no whiteouts")),
    row!(Readlink, readlink(3), Full),
    row!(Readlinkat, readlinkat(4), Full),
    row!(Getdents64, getdents64(3), Full),
    row!(Getcwd, getcwd(2), Full),
    row!(Chdir, chdir(1), Full),
    row!(Fchdir, fchdir(1), Full),
    row!(Chroot, chroot(1), Full),
];

const AT_REMOVEDIR: u32 = 0x200;
const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_EMPTY_PATH: u32 = 0x1000;

/// The directory and last name of a path.
fn parent(call: &Call<'_>, directory: i32, path: UserStr) -> SysResult<Parent> {
    let path = path.read_path(call.memory)?;
    let base = base(call, directory, &path)?;
    walk_parent(call.thread, &base, &path)
}

/// What a path leads to.
pub(super) fn place(
    call: &Call<'_>,
    directory: i32,
    path: UserStr,
    follow: Follow,
) -> SysResult<Place> {
    let path = path.read_path(call.memory)?;
    let base = base(call, directory, &path)?;
    walk(call.thread, &base, &path, follow)
}

/// Makes something that must not exist.
fn make(
    call: &Call<'_>,
    directory: i32,
    path: UserStr,
    node: NodeKind<'_>,
    mode: u32,
) -> SysResult {
    let parent = parent(call, directory, path)?;
    if parent.is_special() {
        return Err(Errno::EEXIST.into());
    }
    match parent.find(call.thread) {
        Ok(_) => return Err(Errno::EEXIST.into()),
        Err(Stop::Errno(Errno::ENOENT)) => {}
        Err(stop) => return Err(stop),
    }
    if parent.wants_directory && !matches!(node, NodeKind::Directory) {
        return Err(Errno::ENOENT.into());
    }
    make_node(call, &parent, node, mode)?;
    Ok(0)
}

fn mkdir(call: &mut Call<'_>, path: UserStr, mode: u32) -> SysResult {
    mkdirat(call, AT_FDCWD, path, mode)
}

fn mkdirat(call: &mut Call<'_>, directory: i32, path: UserStr, mode: u32) -> SysResult {
    make(call, directory, path, NodeKind::Directory, mode & 0o1777)
}

fn mknod(call: &mut Call<'_>, path: UserStr, mode: u32, device: u32) -> SysResult {
    mknodat(call, AT_FDCWD, path, mode, device)
}

fn mknodat(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    mode: u32,
    device: u32,
) -> SysResult {
    let device = u64::from(device);
    let node = match mode & 0o170_000 {
        0 | 0o100_000 => NodeKind::Regular,
        0o020_000 => NodeKind::CharacterDevice(device),
        0o060_000 => NodeKind::BlockDevice(device),
        0o010_000 => NodeKind::Fifo,
        0o140_000 => NodeKind::Socket,
        0o040_000 => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let privileged = matches!(node, NodeKind::CharacterDevice(_) | NodeKind::BlockDevice(_));
    if privileged && !call.thread.process.credentials.lock().is_root() {
        return Err(Errno::EPERM.into());
    }
    make(call, directory, path, node, mode)
}

fn symlink(call: &mut Call<'_>, target: UserStr, path: UserStr) -> SysResult {
    symlinkat(call, target, AT_FDCWD, path)
}

fn symlinkat(call: &mut Call<'_>, target: UserStr, directory: i32, path: UserStr) -> SysResult {
    let target = target.read_path(call.memory)?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    make(call, directory, path, NodeKind::Symlink(&target), 0o777)
}

fn link(call: &mut Call<'_>, old: UserStr, new: UserStr) -> SysResult {
    linkat(call, AT_FDCWD, old, AT_FDCWD, new, 0)
}

fn linkat(
    call: &mut Call<'_>,
    old_directory: i32,
    old: UserStr,
    new_directory: i32,
    new: UserStr,
    flags: u32,
) -> SysResult {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = old.read_path(call.memory)?;
    let source = if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
        call.file(old_directory)?.place.clone().ok_or(Errno::ENOENT)?
    } else {
        let follow = if flags & AT_SYMLINK_FOLLOW != 0 { Follow::Yes } else { Follow::No };
        let base = base(call, old_directory, &path)?;
        walk(call.thread, &base, &path, follow)?
    };
    let target = parent(call, new_directory, new)?;
    if source.inode.kind() == Kind::Directory {
        return Err(Errno::EPERM.into());
    }
    if target.is_special() {
        return Err(Errno::EEXIST.into());
    }
    if target.wants_directory {
        return Err(Errno::ENOENT.into());
    }
    if !Arc::ptr_eq(&source.mount, &target.directory.mount) {
        return Err(Errno::EXDEV.into());
    }
    check_access(call, &target.directory, 3)?;
    check_writable_mount(&target.directory)?;
    target.directory.inode.link(call.thread, &target.name, &source.inode)?;
    Ok(0)
}

fn unlink(call: &mut Call<'_>, path: UserStr) -> SysResult {
    unlinkat(call, AT_FDCWD, path, 0)
}

fn rmdir(call: &mut Call<'_>, path: UserStr) -> SysResult {
    unlinkat(call, AT_FDCWD, path, AT_REMOVEDIR)
}

fn unlinkat(call: &mut Call<'_>, directory: i32, path: UserStr, flags: u32) -> SysResult {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL.into());
    }
    let removes_directory = flags & AT_REMOVEDIR != 0;
    let parent = parent(call, directory, path)?;
    if removes_directory {
        match &*parent.name {
            b"." => return Err(Errno::EINVAL.into()),
            b".." => return Err(Errno::ENOTEMPTY.into()),
            b"" => return Err(Errno::EBUSY.into()),
            _ => {}
        }
    } else if parent.is_special() {
        return Err(Errno::EISDIR.into());
    }
    let found = parent.find(call.thread)?;
    if found.is_mount_root() {
        return Err(Errno::EBUSY.into());
    }
    if parent.wants_directory && found.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    check_removal(call, &parent.directory, &found)?;
    parent.directory.inode.remove(call.thread, &parent.name, removes_directory)?;
    Ok(0)
}

/// Whether a name may be taken out of a directory (with regard to its sticky bit).
fn check_removal(call: &Call<'_>, directory: &Place, found: &Place) -> SysResult<()> {
    const STICKY: u32 = 0o1000;
    check_writable_mount(directory)?;
    check_access(call, directory, 3)?;
    let credentials = call.thread.process.credentials.lock().clone();
    if credentials.is_root() {
        return Ok(());
    }
    let above = directory.inode.attributes(call.thread)?;
    let owner = found.inode.attributes(call.thread)?.uid;
    let mine = owner == credentials.euid || above.uid == credentials.euid;
    if above.permissions & STICKY != 0 && !mine { Err(Errno::EPERM.into()) } else { Ok(()) }
}

fn rename(call: &mut Call<'_>, old: UserStr, new: UserStr) -> SysResult {
    renameat2(call, AT_FDCWD, old, AT_FDCWD, new, 0)
}

fn renameat(
    call: &mut Call<'_>,
    old_directory: i32,
    old: UserStr,
    new_directory: i32,
    new: UserStr,
) -> SysResult {
    renameat2(call, old_directory, old, new_directory, new, 0)
}

fn renameat2(
    call: &mut Call<'_>,
    old_directory: i32,
    old: UserStr,
    new_directory: i32,
    new: UserStr,
    flags: u32,
) -> SysResult {
    let mode = match flags {
        0 => RenameMode::Replace,
        1 => RenameMode::NoReplace,
        2 => RenameMode::Exchange,
        _ => return Err(Errno::EINVAL.into()),
    };
    let from = parent(call, old_directory, old)?;
    let to = parent(call, new_directory, new)?;
    if !Arc::ptr_eq(&from.directory.mount, &to.directory.mount) {
        return Err(Errno::EXDEV.into());
    }
    if from.is_special() || to.is_special() {
        return Err(Errno::EBUSY.into());
    }
    let source = from.find(call.thread)?;
    let target = match to.find(call.thread) {
        Ok(target) => Some(target),
        Err(Stop::Errno(Errno::ENOENT)) => None,
        Err(stop) => return Err(stop),
    };
    let wants_directory = from.wants_directory || to.wants_directory;
    if wants_directory && source.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    if source.is_mount_root() || target.as_ref().is_some_and(Place::is_mount_root) {
        return Err(Errno::EBUSY.into());
    }
    check_removal(call, &from.directory, &source)?;
    check_removal(call, &to.directory, target.as_ref().unwrap_or(&to.directory))?;
    from.directory.inode.rename(call.thread, &from.name, &to.directory.inode, &to.name, mode)?;
    Ok(0)
}

fn readlink(call: &mut Call<'_>, path: UserStr, buffer: usize, size: usize) -> SysResult {
    readlinkat(call, AT_FDCWD, path, buffer, size)
}

fn readlinkat(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    buffer: usize,
    size: usize,
) -> SysResult {
    if size == 0 || size > i32::MAX as usize {
        return Err(Errno::EINVAL.into());
    }
    let path = path.read_path(call.memory)?;
    let base = base(call, directory, &path)?;
    let link = if path.is_empty() && directory != AT_FDCWD {
        base
    } else {
        walk(call.thread, &base, &path, Follow::No)?
    };
    if link.inode.kind() != Kind::Symlink {
        return Err(if path.is_empty() { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    let target = link_text(call, &link)?;
    let length = target.len().min(size);
    call.memory.space().copy_out(buffer, target.get(..length).unwrap_or_default())?;
    Ok(length)
}

/// The text of a link; one that leads straight to a place shows that place's path.
fn link_text(call: &Call<'_>, link: &Place) -> SysResult<Vec<u8>> {
    match link.inode.target(call.thread)? {
        Target::Path(path) => Ok(path.into_vec()),
        Target::Place(place) => {
            Ok(path_of(call.thread, &place).unwrap_or_else(|| b"(unreachable)".to_vec()))
        }
    }
}

fn getdents64(call: &mut Call<'_>, descriptor: i32, buffer: usize, size: usize) -> SysResult {
    const HEAD: usize = 19;
    /// Cursor values of `.` and `..`; those of entries start behind.
    const SPECIAL: u64 = 2;
    let open = call.file(descriptor)?;
    open.check_readable()?;
    let place = open.place.as_ref().ok_or(Errno::ENOTDIR)?;
    if place.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    let room = size.min(1 << 20);
    let mut listing = Listing { bytes: Vec::new(), room, is_short: false, end: open.offset() };
    if listing.end == 0 {
        listing.add(place.inode.id().number, Kind::Directory, b".", 1);
    }
    if listing.end == 1 {
        let above = place.inode.position().map_or(place.inode.id(), |(parent, _)| parent.id());
        listing.add(above.number, Kind::Directory, b"..", SPECIAL);
    }
    if listing.end >= SPECIAL {
        let cursor = listing.end - SPECIAL;
        place.inode.list(call.thread, cursor, &mut |entry| {
            listing.add(entry.number, entry.kind, entry.name, entry.next + SPECIAL)
        })?;
    }
    if listing.bytes.is_empty() && listing.is_short {
        return Err(Errno::ENOMEM.into());
    }
    if listing.bytes.is_empty() && listing.room < HEAD + 5 {
        return Err(Errno::EINVAL.into());
    }
    call.memory.space().copy_out(buffer, &listing.bytes)?;
    open.set_offset(listing.end);
    Ok(listing.bytes.len())
}

/// A buffer of `struct linux_dirent64`.
struct Listing {
    bytes: Vec<u8>,
    room: usize,
    /// An entry would have fitted, and the kernel had no memory for it.
    is_short: bool,
    /// Cursor behind the last entry that fitted.
    end: u64,
}

impl Listing {
    /// Adds an entry; false when it does not fit.
    fn add(&mut self, number: u64, kind: Kind, name: &[u8], next: u64) -> bool {
        let length = (19 + name.len() + 1).next_multiple_of(8);
        if self.bytes.len() + length > self.room {
            return false;
        }
        self.is_short = self.bytes.try_reserve(length).is_err();
        if self.is_short {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.extend_from_slice(&next.to_le_bytes());
        self.bytes.extend_from_slice(&(length as u16).to_le_bytes());
        self.bytes.push(kind.directory_type());
        self.bytes.extend_from_slice(name);
        self.bytes.resize(start + length, 0);
        self.end = next;
        true
    }
}

fn getcwd(call: &mut Call<'_>, buffer: UserPtr<u8>, size: usize) -> SysResult {
    let working = call.thread.process.fs().working();
    let mut path = path_of(call.thread, &working).unwrap_or_else(|| b"(unreachable)/".to_vec());
    if path.ends_with(b" (deleted)") {
        return Err(Errno::ENOENT.into());
    }
    path.push(0);
    if path.len() > size {
        return Err(Errno::ERANGE.into());
    }
    call.memory.space().copy_out(buffer.address(), &path)?;
    Ok(path.len())
}

fn chdir(call: &mut Call<'_>, path: UserStr) -> SysResult {
    let place = place(call, AT_FDCWD, path, Follow::Yes)?;
    enter(call, &place)?;
    call.thread.process.fs().set_working(place);
    Ok(0)
}

fn fchdir(call: &mut Call<'_>, descriptor: i32) -> SysResult {
    let place = call.file(descriptor)?.place.clone().ok_or(Errno::ENOTDIR)?;
    enter(call, &place)?;
    call.thread.process.fs().set_working(place);
    Ok(0)
}

fn chroot(call: &mut Call<'_>, path: UserStr) -> SysResult {
    let place = place(call, AT_FDCWD, path, Follow::Yes)?;
    enter(call, &place)?;
    if !call.thread.process.credentials.lock().is_root() {
        return Err(Errno::EPERM.into());
    }
    call.thread.process.fs().set_root(place);
    Ok(0)
}

fn enter(call: &Call<'_>, place: &Place) -> SysResult<()> {
    if place.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    check_access(call, place, 1)
}
