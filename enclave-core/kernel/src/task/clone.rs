// SPDX-License-Identifier: MIT
//! New threads and processes.

use crate::fs::pidfd::PidFd;
use crate::fs::{FileTable, OpenFlags};
use crate::memory::Memory;
use crate::outcome::SysResult;
use crate::signal::{STACK_DISABLED, SignalSet, ThreadSignals};
use crate::task::process::Inherited;
use crate::task::{Call, Limits, Process, Thread, exit, run};
use crate::user::UserPtr;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use strongroom_abi::{Errno, SignalStack};
use strongroom_south::Context;
use zerocopy::{FromBytes, Immutable, IntoBytes};

bitflags::bitflags! {
    /// `CLONE_*` of `clone(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct CloneFlags: u64 {
        const MEMORY = 0x100;
        const FS = 0x200;
        const FILES = 0x400;
        const HANDLERS = 0x800;
        const PIDFD = 0x1000;
        const PTRACE = 0x2000;
        const VFORK = 0x4000;
        const PARENT = 0x8000;
        const THREAD = 0x1_0000;
        const NEW_MOUNTS = 0x2_0000;
        const SEMAPHORES = 0x4_0000;
        const SET_TLS = 0x8_0000;
        const PARENT_SET_TID = 0x10_0000;
        const CHILD_CLEAR_TID = 0x20_0000;
        const DETACHED = 0x40_0000;
        const UNTRACED = 0x80_0000;
        const CHILD_SET_TID = 0x100_0000;
        const IO = 0x8000_0000;
        const CLEAR_HANDLERS = 0x1_0000_0000;
    }
}

/// A request of `clone`, `clone3`, `fork` or `vfork`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CloneRequest {
    pub(crate) flags: CloneFlags,
    pub(crate) exit_signal: u8,
    /// Stack pointer of the child; 0 keeps the parent's.
    pub(crate) stack: usize,
    pub(crate) tls: usize,
    pub(crate) parent_tid: UserPtr<u32>,
    pub(crate) child_tid: UserPtr<u32>,
    /// Where the child's descriptor is stored.
    pub(crate) pidfd: UserPtr<i32>,
}

impl CloneRequest {
    fn check(&self) -> Result<(), Errno> {
        let flags = self.flags;
        let needs =
            |one: CloneFlags, other: CloneFlags| !flags.contains(one) || flags.contains(other);
        if !needs(CloneFlags::THREAD, CloneFlags::HANDLERS)
            || !needs(CloneFlags::HANDLERS, CloneFlags::MEMORY)
            || flags.contains(CloneFlags::CLEAR_HANDLERS | CloneFlags::HANDLERS)
            || flags.contains(CloneFlags::NEW_MOUNTS)
            || flags.contains(CloneFlags::PIDFD | CloneFlags::THREAD)
        {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// Makes a thread or a process and starts it; returns its number and the process that a `vfork`
/// waits for.
pub(crate) fn clone(
    call: &mut Call<'_>,
    request: &CloneRequest,
) -> SysResult<(u32, Option<Arc<Process>>)> {
    request.check()?;
    call.context()?;
    let flags = request.flags;
    let parent = &call.thread.process;
    if flags.contains(CloneFlags::PARENT) && parent.pid == 1 {
        return Err(Errno::EINVAL.into());
    }
    check_process_limit(call)?;
    if flags.contains(CloneFlags::PARENT_SET_TID) {
        // Written before anything exists, so that a fault changes nothing.
        request.parent_tid.write(call.memory, &0)?;
    }
    if flags.contains(CloneFlags::PIDFD) {
        request.pidfd.write(call.memory, &0)?;
        let limit = parent.limits.lock().soft(Limits::NOFILE);
        call.files.check_room(limit)?;
    }
    let memory = if flags.contains(CloneFlags::MEMORY) {
        Arc::clone(call.memory)
    } else if !call.memory.is_paged() {
        return Err(Errno::ENOSYS.into());
    } else {
        Arc::new(call.memory.fork()?)
    };
    let files = if flags.contains(CloneFlags::FILES) {
        Arc::clone(call.files)
    } else {
        Arc::new(call.files.duplicate()?)
    };
    let context = child_context(call, request, &memory)?;
    let tid = call.kernel.processes.allocate()?;
    let process = if flags.contains(CloneFlags::THREAD) {
        Arc::clone(parent)
    } else {
        child_process(call, request, tid, &memory)
    };
    let thread = child_thread(call, request, &process, tid, files);
    if flags.contains(CloneFlags::PIDFD) {
        let open = PidFd::open(call.kernel, Arc::clone(&process), OpenFlags::empty());
        let limit = parent.limits.lock().soft(Limits::NOFILE);
        let descriptor = call.files.insert(open, true, 0, limit)? as i32;
        store(call, call.memory, request.pidfd, &descriptor);
    }
    if flags.contains(CloneFlags::PARENT_SET_TID) {
        store(call, call.memory, request.parent_tid, &tid);
    }
    if flags.contains(CloneFlags::CHILD_SET_TID) {
        store(call, &memory, request.child_tid, &tid);
    }
    let vfork = flags.contains(CloneFlags::VFORK).then(|| Arc::clone(&process));
    start(thread, memory, context);
    Ok((tid, vfork))
}

/// Stores a number now that the child exists. The page is copied for it: it became copy-on-write
/// with the fork. Without effect where it cannot be had, as on Linux.
fn store<T>(call: &Call<'_>, memory: &Memory, pointer: UserPtr<T>, value: &T)
where
    T: FromBytes + IntoBytes + Immutable,
{
    let _ignored = exit::bring_in_and(call.thread, memory, || pointer.write(memory, value));
}

/// Adds a thread to its process and makes it ready.
pub(crate) fn start(thread: Arc<Thread>, memory: Arc<Memory>, context: Box<dyn Context>) {
    let process = Arc::clone(&thread.process);
    let (kernel, key) = (thread.kernel, thread.key);
    kernel.processes.add_thread(thread.tid(), &process);
    process.threads.lock().push(Arc::clone(&thread));
    if process.ending.lock().is_some() {
        thread.add_work(crate::task::Work::EXIT);
    }
    kernel.scheduler.spawn(key, Box::pin(run(thread, memory, context)));
}

fn check_process_limit(call: &Call<'_>) -> Result<(), Errno> {
    let limit = call.thread.process.limits.lock().soft(Limits::NPROC);
    let root = call.thread.process.credentials.lock().is_root();
    if !root && call.kernel.processes.all().len() as u64 >= limit {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

fn child_context(
    call: &mut Call<'_>,
    request: &CloneRequest,
    memory: &Memory,
) -> SysResult<Box<dyn Context>> {
    let mut context = memory.shared_space().new_context()?;
    let parent = call.context()?;
    let mut registers = *parent.registers();
    registers.set_result(0);
    registers.mark_edited();
    if request.stack != 0 {
        registers.set_stack_pointer(request.stack);
    }
    *context.registers() = registers;
    let tls = if request.flags.contains(CloneFlags::SET_TLS) {
        request.tls as u64
    } else {
        parent.thread_pointer()
    };
    context.set_thread_pointer(tls);
    let state = parent.extended_state();
    context.set_extended_state(state).map_err(|_| Errno::EINVAL)?;
    Ok(context)
}

fn child_process(
    call: &Call<'_>,
    request: &CloneRequest,
    pid: u32,
    memory: &Arc<Memory>,
) -> Arc<Process> {
    let parent = &call.thread.process;
    let flags = request.flags;
    let fs = parent.fs();
    let handlers = if flags.contains(CloneFlags::HANDLERS) {
        Arc::clone(&parent.handlers)
    } else {
        let handlers = parent.handlers.duplicate();
        if flags.contains(CloneFlags::CLEAR_HANDLERS) {
            handlers.reset_for_exec();
        }
        handlers
    };
    let inherited = Inherited {
        memory: Arc::clone(memory),
        fs: if flags.contains(CloneFlags::FS) { fs } else { Arc::new(fs.duplicate()) },
        handlers,
        credentials: parent.credentials.lock().clone(),
        limits: *parent.limits.lock(),
        exit_signal: if flags.contains(CloneFlags::PARENT) {
            // A sibling ends as its maker would: nobody chooses signals for its own parent.
            parent.exit_signal.load(Ordering::Relaxed)
        } else {
            u32::from(request.exit_signal)
        },
    };
    let adopter = if flags.contains(CloneFlags::PARENT) { parent.parent() } else { None };
    let adopter = adopter.unwrap_or_else(|| Arc::clone(parent));
    let child = Process::new(call.kernel, pid, Some(parent), inherited);
    call.kernel.processes.add(&child);
    adopter.adopt(&child);
    child
}

fn child_thread(
    call: &Call<'_>,
    request: &CloneRequest,
    process: &Arc<Process>,
    tid: u32,
    files: Arc<FileTable>,
) -> Arc<Thread> {
    let flags = request.flags;
    let (mask, stack) = {
        let signals = call.thread.signals.lock();
        (signals.mask, signals.stack)
    };
    let mut signals = ThreadSignals::with_mask(SignalSet(mask.0));
    let shares = flags.contains(CloneFlags::MEMORY) && !flags.contains(CloneFlags::VFORK);
    signals.stack = if shares {
        SignalStack { flags: STACK_DISABLED, ..SignalStack::default() }
    } else {
        stack
    };
    let name = call.thread.name.lock().clone();
    let key = call.kernel.scheduler.reserve();
    let thread = Thread::new(Arc::clone(process), key, tid, files, signals, name);
    if flags.contains(CloneFlags::CHILD_CLEAR_TID) {
        thread.clear_child_tid.store(request.child_tid.address(), Ordering::Relaxed);
    }
    Arc::new(thread)
}
