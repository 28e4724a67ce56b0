// SPDX-License-Identifier: MIT
//! Processes: `fork(2)`, `clone(2)`, `execve(2)`, `exit(2)`.

use crate::calls::descriptors::base;
use crate::exec::{self, ARGUMENT_MAX, ARGUMENTS_MAX, Arguments};
use crate::fs::{Follow, Kind, walk};
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::signal::SIGCHLD;
use crate::table::{Row, row};
use crate::task::clone::{CloneFlags, CloneRequest, clone as start_clone};
use crate::task::{Call, ExitStatus, Work};
use crate::user::{UserPtr, UserStr};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use strongroom_abi::{CloneArgs, Errno};

pub(crate) const CALLS: &[Row] = &[
    row!(Fork, fork(0), Full),
    row!(Vfork, vfork(0), Full),
    row!(Clone, clone(5), Partial("no name spaces")),
    row!(Clone3, clone3(2), Partial("no name spaces, no set_tid")),
    row!(Execve, execve(3), Full),
    row!(Execveat, execveat(5), Full),
    row!(Exit, exit(1), Full),
    row!(ExitGroup, exit_group(1), Full),
    row!(Unshare, unshare(1), Partial("only CLONE_FS and CLONE_FILES")),
];

fn request(flags: CloneFlags, exit_signal: u8) -> CloneRequest {
    CloneRequest {
        flags,
        exit_signal,
        stack: 0,
        tls: 0,
        parent_tid: UserPtr::at(0),
        child_tid: UserPtr::at(0),
        pidfd: UserPtr::at(0),
    }
}

fn fork(call: &mut Call<'_>) -> SysResult {
    run_clone(call, &request(CloneFlags::empty(), SIGCHLD))
}

fn vfork(call: &mut Call<'_>) -> SysResult {
    run_clone(call, &request(CloneFlags::MEMORY | CloneFlags::VFORK, SIGCHLD))
}

/// The last two arguments of `x86_64` are exchanged on other architectures.
fn clone(
    call: &mut Call<'_>,
    flags: u64,
    stack: usize,
    parent_tid: UserPtr<u32>,
    fourth: usize,
    fifth: usize,
) -> SysResult {
    const SIGNAL_MASK: u64 = 0xff;
    let (child_tid, tls) = strongroom_abi::arch::clone_tail(fourth, fifth);
    let exit_signal = (flags & SIGNAL_MASK) as u8;
    let flags = CloneFlags::from_bits(flags & !SIGNAL_MASK).ok_or(Errno::EINVAL)?;
    let child_tid = UserPtr::at(child_tid);
    // One place cannot take both the number and the descriptor.
    let both = flags.contains(CloneFlags::PIDFD)
        && flags.intersects(CloneFlags::PARENT_SET_TID | CloneFlags::DETACHED);
    if both {
        return Err(Errno::EINVAL.into());
    }
    let pidfd = UserPtr::at(parent_tid.address());
    let request = CloneRequest { flags, exit_signal, stack, tls, parent_tid, child_tid, pidfd };
    run_clone(call, &request)
}

fn clone3(call: &mut Call<'_>, arguments: UserPtr<CloneArgs>, size: usize) -> SysResult {
    /// Size of the first version, without `set_tid`.
    const SIZE_MIN: usize = 64;
    if size < SIZE_MIN {
        return Err(Errno::EINVAL.into());
    }
    if size > size_of::<CloneArgs>() {
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = [0; size_of::<CloneArgs>()];
    let given = bytes.get_mut(..size).ok_or(Errno::EINVAL)?;
    call.memory.space().copy_in(arguments.address(), given)?;
    let arguments =
        <CloneArgs as zerocopy::FromBytes>::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)?;
    let flags = CloneFlags::from_bits(arguments.flags).ok_or(Errno::EINVAL)?;
    let exit_signal = u8::try_from(arguments.exit_signal).map_err(|_| Errno::EINVAL)?;
    let bad_stack = (arguments.stack == 0) != (arguments.stack_size == 0);
    let obsolete = flags.contains(CloneFlags::DETACHED);
    if bad_stack || obsolete || arguments.set_tid_size != 0 || exit_signal > 64 {
        return Err(Errno::EINVAL.into());
    }
    let stack = arguments.stack.checked_add(arguments.stack_size).ok_or(Errno::EINVAL)?;
    let request = CloneRequest {
        flags,
        exit_signal,
        stack: stack as usize,
        tls: arguments.tls as usize,
        parent_tid: UserPtr::at(arguments.parent_tid as usize),
        child_tid: UserPtr::at(arguments.child_tid as usize),
        pidfd: UserPtr::at(arguments.pidfd as usize),
    };
    run_clone(call, &request)
}

/// Clones once, then waits for a `vfork` child to let go of the memory.
fn run_clone(call: &mut Call<'_>, request: &CloneRequest) -> SysResult {
    if call.progress.items == 0 {
        let (tid, vfork) = start_clone(call, request)?;
        if vfork.is_none() {
            return Ok(tid as usize);
        }
        call.progress.items = tid as usize;
    }
    let tid = call.progress.items;
    match call.kernel.processes.find(tid as u32) {
        Some(child) if !child.executed.load(Ordering::Acquire) && !child.has_ended() => {
            child.released.register(&call.waiter());
            Err(Stop::Sleep(Interrupt::Never))
        }
        Some(_) | None => Ok(tid),
    }
}

fn execve(
    call: &mut Call<'_>,
    path: UserStr,
    arguments: UserPtr<u64>,
    environment: UserPtr<u64>,
) -> SysResult {
    execveat(call, super::descriptors::AT_FDCWD, path, arguments, environment, 0)
}

fn execveat(
    call: &mut Call<'_>,
    directory: i32,
    path: UserStr,
    arguments: UserPtr<u64>,
    environment: UserPtr<u64>,
    flags: u32,
) -> SysResult {
    const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
    const AT_EMPTY_PATH: u32 = 0x1000;
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if call.progress.image.is_none() {
        let name = path.read_path(call.memory)?;
        let base = base(call, directory, &name)?;
        let place = if name.is_empty() && flags & AT_EMPTY_PATH != 0 {
            base.clone()
        } else {
            let nofollow = flags & AT_SYMLINK_NOFOLLOW != 0;
            let follow = if nofollow { Follow::No } else { Follow::Yes };
            walk(call.thread, &base, &name, follow)?
        };
        if place.inode.kind() == Kind::Symlink {
            return Err(Errno::ELOOP.into());
        }
        let strings = read_strings(call, arguments, environment)?;
        let shown = shown_path(directory, &name);
        call.progress.image = Some(exec::prepare(call, place, &shown, strings)?);
    }
    finish_exec(call)
}

/// The path that a script's interpreter is given.
fn shown_path(directory: i32, name: &[u8]) -> Vec<u8> {
    if directory == super::descriptors::AT_FDCWD || name.starts_with(b"/") {
        return name.to_vec();
    }
    let mut shown = format!("/dev/fd/{directory}").into_bytes();
    if !name.is_empty() {
        shown.push(b'/');
        shown.extend_from_slice(name);
    }
    shown
}

/// The other threads end first; then the new program takes over.
fn finish_exec(call: &mut Call<'_>) -> SysResult {
    let process = &call.thread.process;
    let others: Vec<_> = {
        let threads = process.threads.lock();
        threads.iter().filter(|other| !Arc::ptr_eq(other, call.thread)).cloned().collect()
    };
    if !others.is_empty() {
        others.iter().for_each(|other| other.add_work(Work::EXIT));
        return Err(Stop::Turn);
    }
    {
        let mut files = call.thread.files.lock();
        if Arc::strong_count(&files) > 2 {
            *files = Arc::new(files.duplicate()?);
        }
    }
    if let Some(image) = &call.progress.image {
        exec::commit(call.thread, image);
    }
    Ok(0)
}

fn read_strings(
    call: &Call<'_>,
    arguments: UserPtr<u64>,
    environment: UserPtr<u64>,
) -> SysResult<Arguments> {
    let mut budget = ARGUMENTS_MAX;
    let mut arguments = read_vector(call, arguments, &mut budget)?;
    if arguments.is_empty() {
        // As Linux does since 5.18: a program has at least one argument.
        arguments.push(Vec::new());
    }
    let environment = read_vector(call, environment, &mut budget)?;
    Ok(Arguments { arguments, environment })
}

/// A NULL-terminated vector of strings; `budget` is what is left for all of them.
fn read_vector(
    call: &Call<'_>,
    vector: UserPtr<u64>,
    budget: &mut usize,
) -> SysResult<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    if vector.is_null() {
        return Ok(strings);
    }
    for index in 0.. {
        let pointer = vector.element(index).read(call.memory)?;
        if pointer == 0 {
            break;
        }
        let text = UserStr::at(pointer as usize).read(call.memory, ARGUMENT_MAX, Errno::E2BIG)?;
        let cost = text.len() + 1 + size_of::<u64>();
        *budget = budget.checked_sub(cost).ok_or(Errno::E2BIG)?;
        strings.push(text);
    }
    Ok(strings)
}

fn exit(call: &mut Call<'_>, code: u32) -> SysResult {
    let alone = call.thread.process.threads.lock().len() == 1;
    if alone {
        return exit_group(call, code);
    }
    call.thread.add_work(Work::EXIT);
    Ok(0)
}

fn exit_group(call: &mut Call<'_>, code: u32) -> SysResult {
    call.thread.process.end(ExitStatus::Code(code as u8));
    Ok(0)
}

fn unshare(call: &mut Call<'_>, flags: u64) -> SysResult {
    let flags = CloneFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if !(CloneFlags::FS | CloneFlags::FILES | CloneFlags::SEMAPHORES).contains(flags) {
        return Err(Errno::EPERM.into());
    }
    if flags.contains(CloneFlags::FS) {
        let fs = call.thread.process.fs().duplicate();
        call.thread.process.set_fs(fs);
    }
    if flags.contains(CloneFlags::FILES) {
        let copy = Arc::new(call.files.duplicate()?);
        *call.thread.files.lock() = copy;
        call.thread.add_work(Work::RELOAD);
    }
    Ok(0)
}
