// SPDX-License-Identifier: MIT
//! Signals: `sigaction(2)`, `sigprocmask(2)`, `kill(2)`, `sigsuspend(2)`, `sigtimedwait(2)`.

use crate::outcome::{Interrupt, Stop, SysResult};
use crate::signal::{
    self, Action, ActionFlags, SIGCONT, SIGNAL_MAX, STACK_AUTO_DISARM, STACK_DISABLED,
    STACK_IN_USE, SignalSet, code, info_from, send_to_process, send_to_thread,
};
use crate::table::{Row, row};
use crate::task::{Call, Limits, Process, Work};
use crate::user::UserPtr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_abi::{Errno, SignalAction, SignalInfo, SignalStack, Timespec};

pub(crate) const CALLS: &[Row] = &[
    row!(RtSigaction, rt_sigaction(4), Full),
    row!(RtSigprocmask, rt_sigprocmask(4), Full),
    row!(RtSigpending, rt_sigpending(2), Full),
    row!(RtSigsuspend, rt_sigsuspend(2), Full),
    row!(RtSigtimedwait, rt_sigtimedwait(4), Full),
    row!(RtSigreturn, rt_sigreturn(0), Full),
    row!(RtSigqueueinfo, rt_sigqueueinfo(3), Full),
    row!(RtTgsigqueueinfo, rt_tgsigqueueinfo(4), Full),
    row!(Sigaltstack, sigaltstack(2), Full),
    row!(Kill, kill(2), Full),
    row!(Tkill, tkill(2), Full),
    row!(Tgkill, tgkill(3), Full),
    row!(Pause, pause(0), Full),
];

/// Bytes of the kernel's `sigset_t`.
const SET_SIZE: usize = 8;
/// Smallest alternate stack (`MINSIGSTKSZ`).
const STACK_MIN: u64 = 2048;

pub(crate) fn check_size(size: usize) -> Result<(), Errno> {
    if size == SET_SIZE { Ok(()) } else { Err(Errno::EINVAL) }
}

fn checked_signal(number: i32) -> Result<u8, Errno> {
    match u8::try_from(number) {
        Ok(signal @ 1..=SIGNAL_MAX) => Ok(signal),
        Ok(_) | Err(_) => Err(Errno::EINVAL),
    }
}

fn rt_sigaction(
    call: &mut Call<'_>,
    number: i32,
    new: UserPtr<SignalAction>,
    old: UserPtr<SignalAction>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let signal = checked_signal(number)?;
    let handlers = &call.thread.process.handlers;
    let new = new.read_optional(call.memory)?;
    if new.is_some() && SignalSet::UNBLOCKABLE.has(signal) {
        return Err(Errno::EINVAL.into());
    }
    let before = handlers.action(signal);
    let reported = SignalAction {
        handler: before.handler as u64,
        flags: before.flags.bits(),
        restorer: before.restorer as u64,
        mask: before.mask.0,
    };
    old.write_optional(call.memory, &reported)?;
    if let Some(new) = new {
        let action = Action {
            handler: new.handler as usize,
            flags: ActionFlags::from_bits_retain(new.flags),
            restorer: new.restorer as usize,
            mask: SignalSet(new.mask).blockable(),
        };
        handlers.set_action(signal, action);
        signal::forget_ignored(&call.thread.process, signal);
    }
    Ok(0)
}

fn rt_sigprocmask(
    call: &mut Call<'_>,
    how: u32,
    new: UserPtr<u64>,
    old: UserPtr<u64>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let new = new.read_optional(call.memory)?;
    let before = call.thread.signals.lock().mask;
    let after = new.map(|set| before.changed(how, set).ok_or(Errno::EINVAL)).transpose()?;
    old.write_optional(call.memory, &before.0)?;
    if let Some(mask) = after {
        set_mask(call, mask);
    }
    Ok(0)
}

/// Changes the mask; signals that it lets through are acted upon at once.
fn set_mask(call: &Call<'_>, mask: SignalSet) {
    let unblocked = mask.complement();
    let own = {
        let mut signals = call.thread.signals.lock();
        signals.mask = mask.blockable();
        signals.pending.has_any(unblocked)
    };
    if own || call.thread.process.has_pending(unblocked) {
        call.thread.add_work(Work::SIGNAL);
    }
}

fn has_pending(call: &Call<'_>, wanted: SignalSet) -> bool {
    call.thread.signals.lock().pending.has_any(wanted)
        || call.thread.process.pending.lock().has_any(wanted)
}

fn rt_sigpending(call: &mut Call<'_>, set: UserPtr<u64>, size: usize) -> SysResult {
    if size > SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let own = call.thread.signals.lock();
    let shared = call.thread.process.pending.lock().set();
    let pending = (own.pending.set().0 | shared.0) & own.mask.0;
    drop(own);
    set.write(call.memory, &pending)?;
    Ok(0)
}

fn rt_sigsuspend(call: &mut Call<'_>, set: UserPtr<u64>, size: usize) -> SysResult {
    check_size(size)?;
    // Not judged by whether it was woken: bringing in the page of the set wakes it too.
    if call.progress.items == 0 {
        let mask = SignalSet(set.read(call.memory)?);
        let mut signals = call.thread.signals.lock();
        signals.saved_mask = Some(signals.mask);
        drop(signals);
        set_mask(call, mask);
        call.progress.items = 1;
    }
    Err(Stop::Sleep(Interrupt::Fail))
}

fn pause(_call: &mut Call<'_>) -> SysResult {
    Err(Stop::Sleep(Interrupt::Fail))
}

fn rt_sigtimedwait(
    call: &mut Call<'_>,
    set: UserPtr<u64>,
    info: UserPtr<SignalInfo>,
    timeout: UserPtr<Timespec>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let wanted = SignalSet(set.read(call.memory)?).blockable();
    if let Some(timeout) = timeout.read_optional(call.memory)? {
        let valid = timeout.seconds >= 0 && (0..1_000_000_000).contains(&timeout.nanoseconds);
        if !valid {
            return Err(Errno::EINVAL.into());
        }
        let ns = timeout.seconds.saturating_mul(1_000_000_000).saturating_add(timeout.nanoseconds);
        call.set_timeout(ns.unsigned_abs());
    }
    if has_pending(call, wanted) {
        // Checked before it is taken, so that a fault loses no signal.
        info.write_optional(call.memory, &SignalInfo::default())?;
        if let Some(taken) = signal::take(call.thread, wanted) {
            info.write_optional(call.memory, &taken)?;
            return Ok(taken.signo as usize);
        }
    }
    if call.timed_out() {
        return Err(Errno::EAGAIN.into());
    }
    call.thread.process.signal_arrived.register(&call.waiter());
    Err(Stop::Sleep(Interrupt::Fail))
}

fn rt_sigreturn(call: &mut Call<'_>) -> SysResult {
    let (thread, memory) = (call.thread, call.memory);
    let context = call.context()?;
    match signal::return_from_handler(thread, memory, context) {
        Ok(()) => Ok(context.registers().result()),
        Err(stop @ Stop::Page(_)) if call.progress.bad_address.is_none() => Err(stop),
        Err(_) => {
            signal::force(call.thread, signal::info_kernel(signal::SIGSEGV));
            Ok(0)
        }
    }
}

fn sigaltstack(
    call: &mut Call<'_>,
    new: UserPtr<SignalStack>,
    old: UserPtr<SignalStack>,
) -> SysResult {
    let sp = call.context()?.registers().stack_pointer();
    let new = new.read_optional(call.memory)?;
    let before = call.thread.signals.lock().stack;
    old.write_optional(call.memory, &signal::reported_stack(&before, sp))?;
    let Some(new) = new else { return Ok(0) };
    if signal::is_on(&before, sp) {
        return Err(Errno::EPERM.into());
    }
    let flags = new.flags & !STACK_AUTO_DISARM;
    let stack = match flags {
        STACK_DISABLED => SignalStack { flags: STACK_DISABLED, ..SignalStack::default() },
        0 | STACK_IN_USE => {
            if new.size < STACK_MIN {
                return Err(Errno::ENOMEM.into());
            }
            SignalStack { flags: new.flags & STACK_AUTO_DISARM, padding: 0, ..new }
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    call.thread.signals.lock().stack = stack;
    Ok(0)
}

/// A signal number of `kill`, where 0 only asks.
pub(super) fn optional_signal(number: i32) -> Result<Option<u8>, Errno> {
    if number == 0 { Ok(None) } else { checked_signal(number).map(Some) }
}

/// Whether the caller may send a signal to a process.
pub(super) fn may_signal(call: &Call<'_>, target: &Process, signal: Option<u8>) -> bool {
    let me = &call.thread.process;
    if me.pid == target.pid {
        return true;
    }
    let mine = me.credentials.lock().clone();
    let theirs = target.credentials.lock();
    mine.is_root()
        || [theirs.uid, theirs.suid].iter().any(|id| *id == mine.euid || *id == mine.uid)
        || (signal == Some(SIGCONT) && target.session() == me.session())
}

pub(super) fn own_info(call: &Call<'_>, signal: u8, code: i32) -> SignalInfo {
    let process = &call.thread.process;
    info_from(signal, code, process.pid, process.credentials.lock().uid)
}

fn kill(call: &mut Call<'_>, pid: i32, number: i32) -> SysResult {
    let signal = optional_signal(number)?;
    let processes = &call.kernel.processes;
    let targets: Vec<Arc<Process>> = match pid {
        1.. => processes.find(pid.unsigned_abs()).into_iter().collect(),
        0 => processes.in_group(call.thread.process.group()),
        -1 => {
            let all = processes.all().into_iter();
            all.filter(|one| one.pid != 1 && one.pid != call.thread.process.pid).collect()
        }
        i32::MIN => Vec::new(),
        -0x7fff_ffff..=-2 => processes.in_group(pid.unsigned_abs()),
    };
    if targets.is_empty() {
        return Err(Errno::ESRCH.into());
    }
    let allowed: Vec<_> =
        targets.iter().filter(|target| may_signal(call, target, signal)).collect();
    if allowed.is_empty() {
        return Err(Errno::EPERM.into());
    }
    if let Some(signal) = signal {
        let info = own_info(call, signal, code::USER);
        let open = allowed.iter().filter(|target| !is_shielded(call, target, signal));
        open.for_each(|target| send_to_process(target, info));
    }
    Ok(0)
}

/// The first process gets from others only what it has a handler for, as on Linux: were it to
/// end, everything would. What it sends to itself, and what the host sends, it gets.
fn is_shielded(call: &Call<'_>, target: &Process, signal: u8) -> bool {
    target.pid == 1
        && call.thread.process.pid != 1
        && target.handlers.action(signal).handler == Action::DEFAULT
}

fn tkill(call: &mut Call<'_>, tid: i32, number: i32) -> SysResult {
    send_to(call, None, tid, number, None)
}

fn tgkill(call: &mut Call<'_>, pid: i32, tid: i32, number: i32) -> SysResult {
    if pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    send_to(call, Some(pid.unsigned_abs()), tid, number, None)
}

/// Sends to one thread, which has to belong to `pid` if that is given.
fn send_to(
    call: &Call<'_>,
    pid: Option<u32>,
    tid: i32,
    number: i32,
    info: Option<SignalInfo>,
) -> SysResult {
    if tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let signal = optional_signal(number)?;
    let target = call.kernel.processes.find_thread(tid.unsigned_abs()).ok_or(Errno::ESRCH)?;
    if pid.is_some_and(|pid| target.process.pid != pid) {
        return Err(Errno::ESRCH.into());
    }
    if !may_signal(call, &target.process, signal) {
        return Err(Errno::EPERM.into());
    }
    if let Some(signal) = signal
        && !is_shielded(call, &target.process, signal)
    {
        send_to_thread(&target, info.unwrap_or_else(|| own_info(call, signal, code::TKILL)));
    }
    Ok(0)
}

/// A `siginfo_t` of the caller: it may not pretend to come from the kernel, except to itself.
fn read_info(
    call: &Call<'_>,
    pointer: UserPtr<SignalInfo>,
    number: i32,
    to: u32,
) -> SysResult<SignalInfo> {
    let mut info = pointer.read(call.memory)?;
    info.signo = number;
    let forged = info.code >= 0 || info.code == code::TKILL;
    if forged && to != call.thread.process.pid {
        return Err(Errno::EPERM.into());
    }
    Ok(info)
}

fn rt_sigqueueinfo(
    call: &mut Call<'_>,
    pid: i32,
    number: i32,
    info: UserPtr<SignalInfo>,
) -> SysResult {
    let signal = optional_signal(number)?;
    let info = read_info(call, info, number, pid.unsigned_abs())?;
    let target = call.kernel.processes.find(pid.unsigned_abs()).ok_or(Errno::ESRCH)?;
    if !may_signal(call, &target, signal) {
        return Err(Errno::EPERM.into());
    }
    if signal.is_some() {
        let limit = target.limits.lock().soft(Limits::SIGPENDING);
        if !target.pending.lock().has_room(limit) {
            return Err(Errno::EAGAIN.into());
        }
        if !signal.is_some_and(|signal| is_shielded(call, &target, signal)) {
            send_to_process(&target, info);
        }
    }
    Ok(0)
}

fn rt_tgsigqueueinfo(
    call: &mut Call<'_>,
    pid: i32,
    tid: i32,
    number: i32,
    info: UserPtr<SignalInfo>,
) -> SysResult {
    if pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let info = read_info(call, info, number, pid.unsigned_abs())?;
    send_to(call, Some(pid.unsigned_abs()), tid, number, Some(info))
}
