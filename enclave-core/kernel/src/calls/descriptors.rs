// SPDX-License-Identifier: MIT
//! Descriptors: `open(2)`, `close(2)`, `dup(2)`, `fcntl(2)`, `pipe(2)`.

use crate::calls::record_locks;
use crate::fs::devices::open_device;
use crate::fs::memory_fs::{MemoryFs, Node, Seals};
use crate::fs::pipe::{Pipe, PipeEnd};
use crate::fs::text::TextUse;
use crate::fs::{
    Change, Descriptor, File, Follow, Inode, Kind, Make, NodeKind, OpenFile, OpenFlags, Parent,
    Place, proc_fs, walk, walk_parent,
};
use crate::outcome::{Stop, SysResult};
use crate::table::{Row, row};
use crate::task::{Call, Limits};
use crate::user::{UserPtr, UserStr};
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::Ordering;
use strongroom_abi::{Errno, OpenHow};

pub(crate) const CALLS: &[Row] = &[
    row!(Open, open(3), Full),
    row!(Openat, openat(4), Full),
    row!(Openat2, openat2(4), Partial("no resolve flags")),
    row!(Creat, creat(2), Full),
    row!(Close, close(1), Full),
    row!(CloseRange, close_range(3), Full),
    row!(Dup, dup(1), Full),
    row!(Dup2, dup2(2), Full),
    row!(Dup3, dup3(3), Full),
    row!(Fcntl, fcntl(3), Partial("no leases, no directory notification")),
    row!(Pipe, pipe(1), Full),
    row!(Pipe2, pipe2(2), Partial("no packet mode")),
    row!(MemfdCreate, memfd_create(2), Partial("no huge pages")),
];

/// `AT_FDCWD`.
pub(crate) const AT_FDCWD: i32 = -100;

/// The directory that a relative path starts from.
pub(crate) fn base(call: &Call<'_>, directory: i32, path: &[u8]) -> SysResult<Place> {
    if path.starts_with(b"/") {
        return Ok(call.thread.process.fs().root());
    }
    if directory == AT_FDCWD {
        return Ok(call.thread.process.fs().working());
    }
    let place = call.file(directory)?.place.clone().ok_or(Errno::ENOTDIR)?;
    if path.is_empty() || place.inode.kind() == Kind::Directory {
        Ok(place)
    } else {
        Err(Errno::ENOTDIR.into())
    }
}

/// Gives an open file the lowest free descriptor.
pub(crate) fn install(
    call: &Call<'_>,
    open: Arc<OpenFile>,
    close_on_exec: bool,
) -> Result<usize, Errno> {
    let limit = call.thread.process.limits.lock().soft(Limits::NOFILE);
    call.files.insert(open, close_on_exec, 0, limit)
}

fn open(call: &mut Call<'_>, path: UserStr, flags: OpenFlags, mode: u32) -> SysResult {
    openat(call, AT_FDCWD, path, flags, mode)
}

fn creat(call: &mut Call<'_>, path: UserStr, mode: u32) -> SysResult {
    let flags = OpenFlags::CREATE | OpenFlags::WRITE_ONLY | OpenFlags::TRUNCATE;
    openat(call, AT_FDCWD, path, flags, mode)
}

fn openat2(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    how: UserPtr<OpenHow>,
    size: usize,
) -> SysResult {
    if size < size_of::<OpenHow>() {
        return Err(Errno::EINVAL.into());
    }
    if size > size_of::<OpenHow>() {
        return Err(Errno::E2BIG.into());
    }
    let how = how.read(call.memory)?;
    let flags = u32::try_from(how.flags).ok().and_then(OpenFlags::from_bits);
    let flags = flags.ok_or(Errno::EINVAL)?;
    let creates = flags.intersects(OpenFlags::CREATE | OpenFlags::TEMPORARY);
    if how.mode & !0o7777 != 0 || (how.mode != 0 && !creates) {
        return Err(Errno::EINVAL.into());
    }
    if how.resolve != 0 {
        return Err(if how.resolve & !0x3f == 0 { Errno::EOPNOTSUPP } else { Errno::EINVAL }.into());
    }
    openat(call, directory, path, flags, how.mode as u32)
}

fn openat(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    flags: OpenFlags,
    mode: u32,
) -> SysResult {
    let path = path.read_path(call.memory)?;
    let base = base(call, directory, &path)?;
    let open = open_path(call, &base, &path, flags, mode)?;
    Ok(install(call, open, flags.contains(OpenFlags::CLOSE_ON_EXEC))?)
}

/// `open(2)` without the descriptor.
fn open_path(
    call: &mut Call<'_>,
    base: &Place,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
) -> SysResult<Arc<OpenFile>> {
    if flags.contains(OpenFlags::PATH) {
        let kept = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NO_FOLLOW;
        return open_place_only(call, base, path, flags & (kept | OpenFlags::CLOSE_ON_EXEC));
    }
    if flags.contains(OpenFlags::TEMPORARY) {
        return open_temporary(call, base, path, flags, mode);
    }
    if flags.contains(OpenFlags::CREATE | OpenFlags::DIRECTORY) {
        return Err(Errno::EINVAL.into());
    }
    let (place, created) = if flags.contains(OpenFlags::CREATE) {
        find_or_make(call, base, path, flags, mode)?
    } else {
        (walk(call.thread, base, path, follow(flags))?, false)
    };
    if !created {
        check_open(call, &place, flags)?;
    }
    let truncates = flags.contains(OpenFlags::TRUNCATE) && !created;
    let writing = text_use(call, &place, flags.writable() || truncates)?;
    let file = open_inode(call, &place, flags)?;
    if truncates && place.inode.kind() == Kind::Regular {
        place.inode.change(call.thread, &Change { size: Some(0), ..Change::default() })?;
    }
    let writing = writing.filter(|_| flags.writable());
    Ok(OpenFile::writing(call.kernel, file, Some(place), flags, writing))
}

/// Keeps a regular file that is to be changed from being run meanwhile.
fn text_use(call: &Call<'_>, place: &Place, changes: bool) -> Result<Option<TextUse>, Errno> {
    let regular = place.inode.kind() == Kind::Regular;
    (changes && regular).then(|| TextUse::write(call.kernel, place.inode.id())).transpose()
}

fn follow(flags: OpenFlags) -> Follow {
    if flags.contains(OpenFlags::NO_FOLLOW) { Follow::No } else { Follow::Yes }
}

fn open_place_only(
    call: &mut Call<'_>,
    base: &Place,
    path: &[u8],
    flags: OpenFlags,
) -> SysResult<Arc<OpenFile>> {
    let place = walk(call.thread, base, path, follow(flags))?;
    if flags.contains(OpenFlags::DIRECTORY) && place.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    let file = Arc::new(PathOnly { inode: Arc::clone(&place.inode) });
    Ok(OpenFile::new(call.kernel, file, Some(place), flags))
}

/// `O_TMPFILE`.
fn open_temporary(
    call: &mut Call<'_>,
    base: &Place,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
) -> SysResult<Arc<OpenFile>> {
    if !flags.contains(OpenFlags::DIRECTORY) || !flags.writable() {
        return Err(Errno::EINVAL.into());
    }
    let directory = walk(call.thread, base, path, Follow::Yes)?;
    if directory.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    let node = directory.inode.as_any().downcast_ref::<Node>().ok_or(Errno::EOPNOTSUPP)?;
    let umask = call.thread.process.fs().umask();
    let inode: Arc<dyn Inode> = node.fs().unnamed(mode & 0o7777 & !umask);
    let place = Place { mount: Arc::clone(&directory.mount), inode, entry: None };
    let file = open_inode(call, &place, flags)?;
    let writing = text_use(call, &place, true)?;
    let flags = flags - OpenFlags::DIRECTORY;
    Ok(OpenFile::writing(call.kernel, file, Some(place), flags, writing))
}

/// Where an existing name must follow links, a dangling one names what is made.
fn find_or_make(
    call: &mut Call<'_>,
    base: &Place,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
) -> SysResult<(Place, bool)> {
    const LINKS_MAX: usize = 40;
    let exclusive = flags.contains(OpenFlags::EXCLUSIVE);
    let mut base = base.clone();
    let mut path = path.to_vec();
    for _ in 0..LINKS_MAX {
        let parent = walk_parent(call.thread, &base, &path)?;
        if parent.is_special() || parent.wants_directory {
            let place = match walk(call.thread, &base, &path, Follow::Yes) {
                Err(Stop::Errno(Errno::ENOENT)) => return Err(Errno::EISDIR.into()),
                found => found?,
            };
            let errno = if exclusive { Errno::EEXIST } else { Errno::EISDIR };
            return if place.inode.kind() == Kind::Directory {
                Err(errno.into())
            } else {
                Err(Errno::ENOTDIR.into())
            };
        }
        match parent.find(call.thread) {
            Ok(_) if exclusive => return Err(Errno::EEXIST.into()),
            Ok(place) if place.inode.kind() != Kind::Symlink => return Ok((place, false)),
            Ok(_) if flags.contains(OpenFlags::NO_FOLLOW) => return Err(Errno::ELOOP.into()),
            Ok(link) => match link.inode.target(call.thread)? {
                crate::fs::Target::Place(place) => return Ok((place, false)),
                crate::fs::Target::Path(target) => {
                    base = parent.directory;
                    path = target.into_vec();
                }
            },
            Err(Stop::Errno(Errno::ENOENT)) => return make_regular(call, &parent, mode),
            Err(stop) => return Err(stop),
        }
    }
    Err(Errno::ELOOP.into())
}

fn make_regular(call: &mut Call<'_>, parent: &Parent, mode: u32) -> SysResult<(Place, bool)> {
    let inode = make_node(call, parent, NodeKind::Regular, mode)?;
    Ok((parent.directory.child(&parent.name, inode), true))
}

/// Makes a node in a directory, with the checks and ids that every new node has.
pub(crate) fn make_node(
    call: &Call<'_>,
    parent: &Parent,
    node: NodeKind<'_>,
    mode: u32,
) -> SysResult<Arc<dyn Inode>> {
    super::attributes::check_access(call, &parent.directory, 3)?;
    super::attributes::check_writable_mount(&parent.directory)?;
    let process = &call.thread.process;
    let (uid, gid) = {
        let credentials = process.credentials.lock();
        (credentials.euid, credentials.egid)
    };
    let permissions = match node {
        NodeKind::Symlink(_) => 0o777,
        NodeKind::Regular
        | NodeKind::Directory
        | NodeKind::CharacterDevice(_)
        | NodeKind::BlockDevice(_)
        | NodeKind::Fifo
        | NodeKind::Socket => mode & 0o7777 & !process.fs().umask(),
    };
    parent.directory.inode.make(call.thread, &parent.name, &Make { node, permissions, uid, gid })
}

/// The checks of `open(2)` on something that exists.
fn check_open(call: &Call<'_>, place: &Place, flags: OpenFlags) -> SysResult<()> {
    let kind = place.inode.kind();
    if kind == Kind::Symlink {
        return Err(Errno::ELOOP.into());
    }
    if flags.contains(OpenFlags::DIRECTORY) && kind != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    let changes = flags.writable() || flags.contains(OpenFlags::TRUNCATE);
    if kind == Kind::Directory && (changes || flags.contains(OpenFlags::CREATE)) {
        return Err(Errno::EISDIR.into());
    }
    if kind == Kind::Socket {
        return Err(Errno::ENXIO.into());
    }
    let wanted = if flags.readable() { 4 } else { 0 } | if changes { 2 } else { 0 };
    super::attributes::check_access(call, place, wanted)?;
    if changes && matches!(kind, Kind::Regular | Kind::Directory) {
        super::attributes::check_writable_mount(place)?;
    }
    Ok(())
}

/// The behaviour behind an inode.
fn open_inode(call: &mut Call<'_>, place: &Place, flags: OpenFlags) -> SysResult<Arc<dyn File>> {
    if let Some(outcome) = proc_fs::reopened(place, flags) {
        return outcome;
    }
    match place.inode.kind() {
        Kind::CharacterDevice => {
            let device = place.inode.attributes(call.thread)?.device;
            open_device(call, device, flags)
        }
        Kind::Fifo => open_fifo(call, place, flags),
        Kind::BlockDevice | Kind::Socket => Err(Errno::ENXIO.into()),
        Kind::Regular | Kind::Directory | Kind::Symlink => {
            Arc::clone(&place.inode).open(call, place, flags)
        }
    }
}

/// A FIFO is opened together with a partner, unless non-blocking.
fn open_fifo(call: &mut Call<'_>, place: &Place, flags: OpenFlags) -> SysResult<Arc<dyn File>> {
    let node = place.inode.as_any().downcast_ref::<Node>().ok_or(Errno::ENXIO)?;
    let attached = node.attached().and_then(|object| object.downcast::<Pipe>().ok());
    let pipe = attached.unwrap_or_else(|| {
        let pipe = Pipe::new(call.kernel);
        let object: Arc<dyn Any + Send + Sync> = pipe.clone();
        node.attach(Arc::downgrade(&object));
        pipe
    });
    let (reads, writes) = (flags.readable(), flags.writable());
    if reads && writes {
        return Ok(pipe.end(true, true));
    }
    if flags.contains(OpenFlags::NONBLOCK) {
        let (readers, _) = pipe.partners();
        if writes && readers == 0 {
            return Err(Errno::ENXIO.into());
        }
        return Ok(pipe.end(reads, writes));
    }
    // The own end is kept in the progress while the partner is awaited.
    let end = match call.progress.fifo.take() {
        Some(end) => end,
        None => {
            let partner = pipe.openings();
            call.progress.items = if reads { partner.1 } else { partner.0 };
            pipe.end(reads, writes)
        }
    };
    let (readers, writers) = pipe.partners();
    let (readers_ever, writers_ever) = pipe.openings();
    let (present, ever) = if reads { (writers, writers_ever) } else { (readers, readers_ever) };
    if present > 0 || ever > call.progress.items {
        return Ok(end);
    }
    call.progress.fifo = Some(end);
    call.sleep_on(pipe.opened())
}

/// An `O_PATH` file: it names a place and does nothing.
struct PathOnly {
    inode: Arc<dyn Inode>,
}

impl File for PathOnly {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attributes(&self, by: &crate::task::Thread) -> SysResult<crate::fs::Attributes> {
        self.inode.attributes(by)
    }

    fn label(&self) -> alloc::string::String {
        alloc::string::String::from("path")
    }
}

fn close(call: &mut Call<'_>, descriptor: i32) -> SysResult {
    let descriptor = call.files.remove(descriptor)?;
    closed(call, &descriptor);
    Ok(0)
}

fn closed(call: &Call<'_>, descriptor: &Descriptor) {
    record_locks::release_record_locks(&call.thread.process, &descriptor.open);
}

fn close_range(call: &mut Call<'_>, first: u32, last: u32, flags: u32) -> SysResult {
    const UNSHARE: u32 = 2;
    const CLOSE_ON_EXEC: u32 = 4;
    if first > last || flags & !(UNSHARE | CLOSE_ON_EXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & UNSHARE != 0 && Arc::strong_count(call.files) > 2 {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLOSE_ON_EXEC != 0 {
        for number in call.files.numbers() {
            if (first as usize..=last as usize).contains(&number) {
                call.files.set_close_on_exec(number as i32, true)?;
            }
        }
        return Ok(0);
    }
    for descriptor in call.files.take_range(first as usize, last as usize) {
        closed(call, &descriptor);
    }
    Ok(0)
}

fn dup(call: &mut Call<'_>, descriptor: i32) -> SysResult {
    let open = call.file(descriptor)?;
    Ok(install(call, open, false)?)
}

fn dup2(call: &mut Call<'_>, from: i32, to: i32) -> SysResult {
    if from == to {
        call.file(from)?;
        return Ok(to as usize);
    }
    duplicate_to(call, from, to, false)
}

fn dup3(call: &mut Call<'_>, from: i32, to: i32, flags: u32) -> SysResult {
    if from == to || flags & !OpenFlags::CLOSE_ON_EXEC.bits() != 0 {
        return Err(Errno::EINVAL.into());
    }
    duplicate_to(call, from, to, flags != 0)
}

fn duplicate_to(call: &mut Call<'_>, from: i32, to: i32, close_on_exec: bool) -> SysResult {
    let open = call.file(from)?;
    let number = usize::try_from(to).map_err(|_| Errno::EBADF)?;
    let limit = call.thread.process.limits.lock().soft(Limits::NOFILE);
    if let Some(old) = call.files.replace(number, open, close_on_exec, limit)? {
        closed(call, &old);
    }
    Ok(number)
}

fn fcntl(call: &mut Call<'_>, descriptor: i32, command: u32, argument: usize) -> SysResult {
    const CLOSE_ON_EXEC: usize = 1;
    let entry = call.files.descriptor(descriptor)?;
    let open = &entry.open;
    let path_only = open.flags().contains(OpenFlags::PATH);
    match command {
        0 | 1030 => {
            let limit = call.thread.process.limits.lock().soft(Limits::NOFILE);
            if argument as u64 >= limit {
                return Err(Errno::EINVAL.into());
            }
            Ok(call.files.insert(Arc::clone(open), command != 0, argument, limit)?)
        }
        1 => Ok(usize::from(entry.close_on_exec)),
        2 => {
            call.files.set_close_on_exec(descriptor, argument & CLOSE_ON_EXEC != 0)?;
            Ok(0)
        }
        3 => Ok((open.flags() | OpenFlags::LARGE_FILE).bits() as usize),
        _ if path_only => Err(Errno::EBADF.into()),
        4 => {
            open.set_flags(OpenFlags::from_bits_truncate(argument as u32));
            Ok(0)
        }
        5..=7 | 36..=38 => record_locks::control(call, open, command, UserPtr::at(argument)),
        8 => {
            open.owner.store(argument as i32, Ordering::Relaxed);
            Ok(0)
        }
        9 => Ok(open.owner.load(Ordering::Relaxed) as usize),
        10 | 11 => Ok(0),
        1031 | 1032 => pipe_size(open, command, argument),
        1033 => add_seals(open, argument),
        1034 => seals(open),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `F_SETPIPE_SZ` and `F_GETPIPE_SZ`.
fn pipe_size(open: &OpenFile, command: u32, argument: usize) -> SysResult {
    let end = open.file.as_any().downcast_ref::<PipeEnd>().ok_or(Errno::EBADF)?;
    if command == 1031 { end.set_capacity(argument) } else { Ok(end.capacity()) }
}

fn pipe(call: &mut Call<'_>, descriptors: UserPtr<i32>) -> SysResult {
    pipe2(call, descriptors, 0)
}

fn pipe2(call: &mut Call<'_>, descriptors: UserPtr<i32>, flags: u32) -> SysResult {
    let allowed = OpenFlags::CLOSE_ON_EXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT;
    if flags & !allowed.bits() != 0 {
        return Err(Errno::EINVAL.into());
    }
    // Written before anything is made, so that a fault changes nothing.
    descriptors.write(call.memory, &0)?;
    descriptors.element(1).write(call.memory, &0)?;
    let flags = OpenFlags::from_bits_truncate(flags);
    let close_on_exec = flags.contains(OpenFlags::CLOSE_ON_EXEC);
    let pipe = Pipe::new(call.kernel);
    let reader = OpenFile::new(call.kernel, pipe.end(true, false), None, flags);
    let write_flags = flags | OpenFlags::WRITE_ONLY;
    let writer = OpenFile::new(call.kernel, pipe.end(false, true), None, write_flags);
    let first = install(call, reader, close_on_exec)?;
    let second = match install(call, writer, close_on_exec) {
        Ok(second) => second,
        Err(errno) => {
            call.files.remove(first as i32)?;
            return Err(errno.into());
        }
    };
    descriptors.write(call.memory, &(first as i32))?;
    descriptors.element(1).write(call.memory, &(second as i32))?;
    Ok(0)
}

fn memfd_create(call: &mut Call<'_>, name: UserStr, flags: u32) -> SysResult {
    const CLOSE_ON_EXEC: u32 = 1;
    const ALLOW_SEALING: u32 = 2;
    const NO_EXEC_SEAL: u32 = 8;
    const EXEC: u32 = 16;
    let known = CLOSE_ON_EXEC | ALLOW_SEALING | NO_EXEC_SEAL | EXEC;
    if flags & !known != 0 || flags & (NO_EXEC_SEAL | EXEC) == NO_EXEC_SEAL | EXEC {
        return Err(Errno::EINVAL.into());
    }
    let name = name.read(call.memory, 250, Errno::EINVAL)?;
    let (permissions, seals) = if flags & NO_EXEC_SEAL != 0 {
        (0o666, Seals::EXEC)
    } else if flags & ALLOW_SEALING != 0 {
        (0o777, Seals::empty())
    } else {
        (0o777, Seals::SEAL)
    };
    let node = MemoryFs::nameless(call.kernel, &name, permissions);
    node.set_seals(seals);
    let mount = call.thread.process.fs().root().mount;
    let place = Place { mount, inode: node, entry: None };
    let file = open_inode(call, &place, OpenFlags::READ_WRITE)?;
    let open = OpenFile::new(call.kernel, file, Some(place), OpenFlags::READ_WRITE);
    Ok(install(call, open, flags & CLOSE_ON_EXEC != 0)?)
}

/// `F_ADD_SEALS`.
fn add_seals(open: &OpenFile, argument: usize) -> SysResult {
    open.check_writable().map_err(|_| Errno::EPERM)?;
    let seals = u32::try_from(argument).ok().and_then(Seals::from_bits).ok_or(Errno::EINVAL)?;
    node_of(open).ok_or(Errno::EINVAL)?.add_seals(seals)?;
    Ok(0)
}

/// `F_GET_SEALS`.
fn seals(open: &OpenFile) -> SysResult {
    let seals = node_of(open).and_then(Node::seals).ok_or(Errno::EINVAL)?;
    Ok(seals.bits() as usize)
}

/// The node of a file in memory.
fn node_of(open: &OpenFile) -> Option<&Node> {
    open.place.as_ref()?.inode.as_any().downcast_ref()
}
