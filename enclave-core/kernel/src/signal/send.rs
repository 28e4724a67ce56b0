// SPDX-License-Identifier: MIT
//! Sending signals.

use crate::signal::{Action, Pending, SIGCONT, SIGKILL, SIGSTOP, SignalSet, code, info_from};
use crate::task::{ExitStatus, Process, ProcessState, Thread, Work};
use alloc::sync::Arc;
use strongroom_abi::SignalInfo;

/// Sends a signal to a process: one of its threads that does not block it acts upon it.
pub(crate) fn send_to_process(process: &Arc<Process>, info: SignalInfo) {
    let signal = info.signo as u8;
    if process.has_ended() || prepare(process, signal) {
        return;
    }
    if is_dropped(process, signal, None) {
        return;
    }
    process.add_pending(info);
    notify(process);
}

/// Sends a signal to one thread.
pub(crate) fn send_to_thread(thread: &Arc<Thread>, info: SignalInfo) {
    let signal = info.signo as u8;
    let process = &thread.process;
    if process.has_ended() || prepare(process, signal) {
        return;
    }
    if is_dropped(process, signal, Some(thread)) {
        return;
    }
    thread.signals.lock().pending.add(info);
    thread.add_work(Work::SIGNAL);
    process.signal_arrived.wake();
}

/// Sends a signal to every process of a group; returns how many there are.
pub(crate) fn send_to_group(
    of: &'static crate::kernel::Kernel,
    group: u32,
    info: SignalInfo,
) -> usize {
    let members = of.processes.in_group(group);
    members.iter().for_each(|process| send_to_process(process, info));
    members.len()
}

/// Makes a thread act upon a signal now, whatever it blocks or ignores: it caused it.
pub(crate) fn force(thread: &Arc<Thread>, info: SignalInfo) {
    let signal = info.signo as u8;
    let handlers = &thread.process.handlers;
    let mut signals = thread.signals.lock();
    let action = handlers.action(signal);
    if signals.mask.has(signal) || action.handler == Action::IGNORE {
        handlers.set_action(signal, Action::default());
        signals.mask = signals.mask.without(signal);
    }
    signals.pending.drop_all(SignalSet::of(signal));
    signals.pending.add(info);
    drop(signals);
    thread.add_work(Work::SIGNAL);
}

/// What a signal does before it is even queued; true when that is all.
fn prepare(process: &Arc<Process>, signal: u8) -> bool {
    if signal == SIGKILL {
        process.end(ExitStatus::Signal(SIGKILL));
        resume(process);
        return true;
    }
    let unwanted = if signal == SIGCONT {
        SignalSet::STOPPING
    } else if SignalSet::STOPPING.has(signal) {
        SignalSet::of(SIGCONT)
    } else {
        return false;
    };
    process.pending.lock().drop_all(unwanted);
    for thread in process.threads.lock().iter() {
        thread.signals.lock().pending.drop_all(unwanted);
    }
    if signal == SIGCONT {
        resume(process);
    }
    false
}

/// Lets a stopped process go on.
fn resume(process: &Arc<Process>) {
    {
        let mut state = process.state.lock();
        if !matches!(*state, ProcessState::Stopped { .. }) {
            return;
        }
        *state = ProcessState::Continued;
    }
    for thread in process.threads.lock().iter() {
        thread.kernel.scheduler.wake(thread.key);
    }
    tell_parent(process, code::CHILD_CONTINUED, i32::from(SIGCONT));
}

/// Stops a process.
pub(super) fn stop(process: &Arc<Process>, signal: u8) {
    *process.state.lock() = ProcessState::Stopped { signal, reported: false };
    for thread in process.threads.lock().iter() {
        thread.add_work(Work::SIGNAL);
    }
    tell_parent(process, code::CHILD_STOPPED, i32::from(signal));
}

/// `SIGCHLD` for a stop or continuation.
fn tell_parent(process: &Arc<Process>, code: i32, status: i32) {
    use crate::signal::{ActionFlags, SIGCHLD};
    let Some(parent) = process.parent() else { return };
    parent.child_changed.wake();
    if parent.handlers.action(SIGCHLD).flags.contains(ActionFlags::NO_CHILD_STOP) {
        return;
    }
    let mut info = info_from(SIGCHLD, code, process.pid, process.credentials.lock().uid);
    info.fields[1] = status.cast_unsigned().into();
    send_to_process(&parent, info);
}

/// Whether a signal would have no effect: ignored, and nobody blocks it to fetch it later.
fn is_dropped(process: &Process, signal: u8, only: Option<&Thread>) -> bool {
    if signal == SIGSTOP || !process.handlers.action(signal).ignores(signal) {
        return false;
    }
    match only {
        Some(thread) => !thread.signals.lock().mask.has(signal),
        None => {
            let threads = process.threads.lock();
            threads.iter().any(|thread| !thread.signals.lock().mask.has(signal))
        }
    }
}

/// A signal that has come to be ignored is pending no more.
pub(crate) fn forget_ignored(process: &Process, signal: u8) {
    if !process.handlers.action(signal).ignores(signal) {
        return;
    }
    process.pending.lock().drop_all(SignalSet::of(signal));
    for thread in process.threads.lock().iter() {
        thread.signals.lock().pending.drop_all(SignalSet::of(signal));
    }
}

/// Has a thread look at the signals of its process.
fn notify(process: &Arc<Process>) {
    let pending = process.pending.lock().set();
    {
        let threads = process.threads.lock();
        let unblocked = |thread: &&Arc<Thread>| pending.0 & !thread.signals.lock().mask.0 != 0;
        let main = threads.iter().find(|thread| thread.tid() == process.pid).filter(unblocked);
        if let Some(thread) = main.or_else(|| threads.iter().find(unblocked)) {
            thread.add_work(Work::SIGNAL);
        }
    }
    process.signal_arrived.wake();
}

impl Pending {
    /// Whether another instance of a real-time signal can be queued under `RLIMIT_SIGPENDING`.
    pub(crate) const fn has_room(&self, limit: u64) -> bool {
        (self.queue.len() as u64) < limit && self.queue.len() < super::QUEUE_MAX
    }

    /// Whether a signal of a set waits.
    pub(crate) const fn has_any(&self, wanted: SignalSet) -> bool {
        self.set().0 & wanted.0 != 0
    }
}
