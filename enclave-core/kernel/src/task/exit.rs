// SPDX-License-Identifier: MIT
//! The end of threads and processes, and waiting for it.

use crate::memory::Memory;
use crate::signal::{self, Action, ActionFlags, SIGCHLD, SIGCONT, SIGHUP, code};
use crate::task::futex::FutexKey;
use crate::task::{ExitStatus, Process, ProcessState, Thread};
use crate::user::UserPtr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use strongroom_abi::{RobustListHead, SignalInfo};

/// Entries of a robust list that are looked at (`ROBUST_LIST_LIMIT`).
const ROBUST_MAX: usize = 2048;
const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;

/// The part of a thread's end that needs its memory: robust futexes, and the word that joiners
/// wait on.
pub(crate) fn end_thread(thread: &Arc<Thread>, memory: &Memory) {
    thread.kernel.futexes.forget(thread);
    thread.kernel.locks.forget(thread.key);
    release_robust(thread, memory);
    let address = thread.clear_child_tid.swap(0, Ordering::Relaxed);
    if address != 0 {
        let pointer = UserPtr::<u32>::at(address);
        if bring_in_and(thread, memory, || pointer.write(memory, &0)).is_some() {
            let key = FutexKey::new(memory, address, false);
            thread.kernel.futexes.wake(key, 1, u32::MAX);
        }
    }
}

/// Performs a small access for a thread that cannot sleep (any more); pages that would have to
/// come from the host are given up.
pub(crate) fn bring_in_and<T>(
    thread: &Thread,
    memory: &Memory,
    access: impl Fn() -> crate::outcome::SysResult<T>,
) -> Option<T> {
    for _ in 0..3 {
        match access() {
            Ok(value) => return Some(value),
            Err(crate::outcome::Stop::Page(fault)) => {
                memory.resolve(thread, fault.address, fault.write, false).ok()?.ok()?;
            }
            Err(_) => return None,
        }
    }
    None
}

fn release_robust(thread: &Arc<Thread>, memory: &Memory) {
    let head = thread.robust_list.swap(0, Ordering::Relaxed);
    if head == 0 {
        return;
    }
    let pointer = UserPtr::<RobustListHead>::at(head);
    let Some(list) = bring_in_and(thread, memory, || pointer.read(memory)) else { return };
    let word = |entry: u64| (entry & !1).wrapping_add(list.futex_offset.cast_unsigned()) as usize;
    let mut entry = list.list;
    for _ in 0..ROBUST_MAX {
        if entry & !1 == head as u64 || entry == 0 {
            break;
        }
        let next = UserPtr::<u64>::at((entry & !1) as usize);
        let next = bring_in_and(thread, memory, || next.read(memory));
        if entry != list.pending {
            mark_owner_died(thread, memory, word(entry));
        }
        match next {
            Some(next) => entry = next,
            None => break,
        }
    }
    if list.pending != 0 {
        mark_owner_died(thread, memory, word(list.pending));
    }
}

fn mark_owner_died(thread: &Thread, memory: &Memory, address: usize) {
    let space = memory.space();
    let mark = || {
        let held = space.load_u32(address)?;
        if held & FUTEX_TID_MASK == thread.tid() {
            let marked = (held & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
            space.compare_exchange_u32(address, held, marked)?;
        }
        Ok(held)
    };
    if let Some(held) = bring_in_and(thread, memory, mark)
        && held & FUTEX_WAITERS != 0
    {
        for private in [true, false] {
            let key = FutexKey::new(memory, address, private);
            thread.kernel.futexes.wake(key, 1, u32::MAX);
        }
    }
}

/// The rest of a thread's end; the last thread ends the process.
pub(crate) fn finish_thread(thread: &Arc<Thread>) {
    let process = &thread.process;
    let last = {
        let mut threads = process.threads.lock();
        threads.retain(|other| !Arc::ptr_eq(other, thread));
        threads.is_empty()
    };
    let mut usage = process.past_usage.lock();
    usage.user_ns += thread.user_ns.load(Ordering::Relaxed);
    usage.system_ns += thread.system_ns.load(Ordering::Relaxed);
    drop(usage);
    thread.kernel.processes.remove_thread(thread.tid());
    if last {
        let files = core::mem::take(&mut *thread.files.lock());
        if let Some(files) = Arc::into_inner(files) {
            let closing = files.take_range(0, usize::MAX - 1);
            for descriptor in &closing {
                crate::calls::release_record_locks(process, &descriptor.open);
            }
            drop(closing);
        }
        end_process(process);
    }
}

fn end_process(process: &Arc<Process>) {
    let status = process.ending.lock().unwrap_or(ExitStatus::Code(0));
    process.set_memory(None);
    process.timers.intervals.lock().iter_mut().for_each(|timer| *timer = None);
    process.timers.posix.lock().clear();
    *process.executable.lock() = None;
    if process.pid == 1 {
        process.kernel.finish(status);
        return;
    }
    reparent_children(process);
    hang_up_orphans(process);
    if process.session() == process.pid {
        process.kernel.leave_terminal(process);
    }
    *process.state.lock() = ProcessState::Zombie(status);
    process.released.wake();
    notify_parent(process, status);
}

fn reparent_children(process: &Arc<Process>) {
    let children = process.take_children();
    if children.is_empty() {
        return;
    }
    let mut guardian = process.parent();
    while let Some(candidate) = &guardian {
        if (candidate.pid == 1 || candidate.reaper.load(Ordering::Relaxed))
            && !candidate.has_ended()
        {
            break;
        }
        guardian = candidate.parent();
    }
    let guardian = guardian.or_else(|| process.kernel.processes.find(1));
    let Some(guardian) = guardian else { return };
    for child in children {
        guardian.adopt(&child);
        child.exit_signal.store(u32::from(SIGCHLD), Ordering::Relaxed);
        let signal = child.parent_death_signal.load(Ordering::Relaxed) as u8;
        if signal != 0 {
            let info = signal::info_from(signal, code::USER, process.pid, 0);
            signal::send_to_process(&child, info);
        }
        let state = *child.state.lock();
        if let ProcessState::Zombie(status) = state {
            notify_parent(&child, status);
        }
    }
}

/// Stopped process groups that have lost their last controlling relative are hung up.
fn hang_up_orphans(process: &Arc<Process>) {
    let Some(parent) = process.parent() else { return };
    let mut groups: Vec<u32> = Vec::new();
    for member in process.kernel.processes.all() {
        let stopped = matches!(*member.state.lock(), ProcessState::Stopped { .. });
        let related = member.session() == process.session() && member.group() != parent.group();
        if stopped && related && !groups.contains(&member.group()) {
            groups.push(member.group());
        }
    }
    for group in groups {
        let members = process.kernel.processes.in_group(group);
        let controlled = members.iter().any(|member| {
            member.parent().is_some_and(|parent| {
                parent.pid != process.pid
                    && parent.group() != group
                    && parent.session() == member.session()
            })
        });
        if !controlled {
            for number in [SIGHUP, SIGCONT] {
                signal::send_to_group(process.kernel, group, signal::info_kernel(number));
            }
        }
    }
}

fn notify_parent(process: &Arc<Process>, status: ExitStatus) {
    let Some(parent) = process.parent() else { return };
    let signal = process.exit_signal.load(Ordering::Relaxed) as u8;
    let action = parent.handlers.action(SIGCHLD);
    let unwanted = signal == SIGCHLD
        && (action.handler == Action::IGNORE || action.flags.contains(ActionFlags::NO_CHILD_WAIT));
    if unwanted {
        reap(&parent, process);
    }
    if signal != 0 {
        signal::send_to_process(&parent, child_info(process, signal, status));
    }
    parent.child_changed.wake();
}

/// `siginfo_t` of a child that has ended.
pub(crate) fn child_info(process: &Process, signal: u8, status: ExitStatus) -> SignalInfo {
    let (code, value) = match status {
        ExitStatus::Code(value) => (code::CHILD_EXITED, value),
        ExitStatus::Signal(value) => (code::CHILD_KILLED, value),
    };
    let uid = process.credentials.lock().uid;
    let mut info = signal::info_from(signal, code, process.pid, uid);
    info.fields[1] = u64::from(value);
    info
}

/// Forgets a zombie: it was waited for.
pub(crate) fn reap(parent: &Process, child: &Process) {
    let mut usage = child.usage();
    usage.add(*child.children_usage.lock());
    parent.children_usage.lock().add(usage);
    *child.state.lock() = ProcessState::Gone;
    parent.forget_child(child.pid);
    parent.kernel.processes.remove(child.pid);
}
