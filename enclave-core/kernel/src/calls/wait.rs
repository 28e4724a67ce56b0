// SPDX-License-Identifier: MIT
//! Waiting for children: `wait4(2)`, `waitid(2)`.

use crate::fs::pidfd::PidFd;
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::signal::{SIGCHLD, SIGCONT, code, info_from};
use crate::table::{Row, row};
use crate::task::exit::{child_info, reap};
use crate::task::{Call, Process, ProcessState, Usage};
use crate::user::UserPtr;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use strongroom_abi::{Errno, Rusage, SignalInfo, Timeval};

pub(crate) const CALLS: &[Row] = &[row!(Wait4, wait4(4), Full), row!(Waitid, waitid(5), Full)];

bitflags::bitflags! {
    /// `W*` of `wait(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct WaitOptions: u32 {
        const NO_HANG = 1;
        const STOPPED = 2;
        const EXITED = 4;
        const CONTINUED = 8;
        const NO_WAIT = 0x0100_0000;
        const NO_THREAD = 0x2000_0000;
        const ALL = 0x4000_0000;
        const CLONE = 0x8000_0000;
    }
}

/// Which children are meant.
#[derive(Clone, Copy)]
enum Wanted {
    Any,
    Pid(u32),
    Group(u32),
}

/// What a child has to report.
struct Report {
    child: Arc<Process>,
    state: ProcessState,
    usage: Usage,
}

fn wait4(
    call: &mut Call<'_>,
    pid: i32,
    status: UserPtr<i32>,
    options: u32,
    rusage: UserPtr<Rusage>,
) -> SysResult {
    let options = WaitOptions::from_bits(options).ok_or(Errno::EINVAL)?;
    if options.intersects(WaitOptions::NO_WAIT | WaitOptions::EXITED) {
        return Err(Errno::EINVAL.into());
    }
    let wanted = match pid {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -0x7fff_ffff..=-2 => Wanted::Group(pid.unsigned_abs()),
        -1 => Wanted::Any,
        0 => Wanted::Group(call.thread.process.group()),
        1.. => Wanted::Pid(pid.unsigned_abs()),
    };
    let Some(report) = find(call, wanted, options | WaitOptions::EXITED)? else { return Ok(0) };
    // Results are stored before the zombie is gone, so that a fault loses nothing.
    status.write_optional(call.memory, &wait_status(report.state))?;
    rusage.write_optional(call.memory, &rusage_of(report.usage))?;
    take(call, &report, options);
    Ok(report.child.pid as usize)
}

fn waitid(
    call: &mut Call<'_>,
    kind: u32,
    id: u32,
    info: UserPtr<SignalInfo>,
    options: u32,
    rusage: UserPtr<Rusage>,
) -> SysResult {
    let options = WaitOptions::from_bits(options).ok_or(Errno::EINVAL)?;
    let events = WaitOptions::EXITED | WaitOptions::STOPPED | WaitOptions::CONTINUED;
    if !options.intersects(events) {
        return Err(Errno::EINVAL.into());
    }
    let mut blocks = true;
    let wanted = match kind {
        0 => Wanted::Any,
        1 if id != 0 => Wanted::Pid(id),
        2 if id == 0 => Wanted::Group(call.thread.process.group()),
        2 => Wanted::Group(id),
        3 => {
            let descriptor = id.cast_signed();
            if descriptor < 0 {
                return Err(Errno::EINVAL.into());
            }
            let open = call.file(descriptor)?;
            blocks = !open.nonblocking();
            Wanted::Pid(PidFd::process(&open)?.pid)
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let may_fail = !blocks && !options.contains(WaitOptions::NO_HANG);
    let looked = if may_fail { options | WaitOptions::NO_HANG } else { options };
    let Some(report) = find(call, wanted, looked)? else {
        if may_fail {
            return Err(Errno::EAGAIN.into());
        }
        info.write_optional(call.memory, &SignalInfo::default())?;
        return Ok(0);
    };
    info.write_optional(call.memory, &info_of(&report))?;
    rusage.write_optional(call.memory, &rusage_of(report.usage))?;
    take(call, &report, options);
    Ok(0)
}

/// A child with something to report; `None` with `WNOHANG` where there is none yet.
fn find(call: &Call<'_>, wanted: Wanted, options: WaitOptions) -> SysResult<Option<Report>> {
    let process = &call.thread.process;
    let mut any = false;
    for child in process.children() {
        let matches = match wanted {
            Wanted::Any => true,
            Wanted::Pid(pid) => child.pid == pid,
            Wanted::Group(group) => child.group() == group,
        };
        if !matches || !is_of_kind(&child, options) {
            continue;
        }
        any = true;
        let state = *child.state.lock();
        if reports(state, options) {
            let mut usage = child.usage();
            usage.add(*child.children_usage.lock());
            return Ok(Some(Report { child, state, usage }));
        }
    }
    if !any {
        return Err(Errno::ECHILD.into());
    }
    if options.contains(WaitOptions::NO_HANG) {
        return Ok(None);
    }
    process.child_changed.register(&call.waiter());
    Err(Stop::Sleep(Interrupt::Restart))
}

/// `__WCLONE` selects children that do not send `SIGCHLD`, `__WALL` all of them.
fn is_of_kind(child: &Process, options: WaitOptions) -> bool {
    let clone = child.exit_signal.load(Ordering::Relaxed) != u32::from(SIGCHLD);
    options.contains(WaitOptions::ALL) || clone == options.contains(WaitOptions::CLONE)
}

fn reports(state: ProcessState, options: WaitOptions) -> bool {
    match state {
        ProcessState::Zombie(_) => options.contains(WaitOptions::EXITED),
        ProcessState::Stopped { reported, .. } => {
            !reported && options.contains(WaitOptions::STOPPED)
        }
        ProcessState::Continued => options.contains(WaitOptions::CONTINUED),
        ProcessState::Running | ProcessState::Gone => false,
    }
}

/// Takes note that a report was given.
fn take(call: &Call<'_>, report: &Report, options: WaitOptions) {
    if options.contains(WaitOptions::NO_WAIT) {
        return;
    }
    let mut state = report.child.state.lock();
    match *state {
        ProcessState::Zombie(_) => {
            drop(state);
            reap(&call.thread.process, &report.child);
        }
        ProcessState::Stopped { signal, .. } => {
            *state = ProcessState::Stopped { signal, reported: true };
        }
        ProcessState::Continued => *state = ProcessState::Running,
        ProcessState::Running | ProcessState::Gone => {}
    }
}

const fn wait_status(state: ProcessState) -> i32 {
    const CONTINUED: i32 = 0xffff;
    match state {
        ProcessState::Zombie(status) => status.wait_status(),
        ProcessState::Stopped { signal, .. } => (signal as i32) << 8 | 0x7f,
        ProcessState::Continued => CONTINUED,
        ProcessState::Running | ProcessState::Gone => 0,
    }
}

fn info_of(report: &Report) -> SignalInfo {
    let child = &report.child;
    let (code, value) = match report.state {
        ProcessState::Zombie(status) => return child_info(child, SIGCHLD, status),
        ProcessState::Stopped { signal, .. } => (code::CHILD_STOPPED, signal),
        ProcessState::Continued | ProcessState::Running | ProcessState::Gone => {
            (code::CHILD_CONTINUED, SIGCONT)
        }
    };
    let mut info = info_from(SIGCHLD, code, child.pid, child.credentials.lock().uid);
    info.fields[1] = u64::from(value);
    info
}

/// Processor time and memory as `getrusage(2)` gives them.
pub(crate) fn rusage_of(usage: Usage) -> Rusage {
    const KIB_PER_PAGE: i64 = 4;
    let time = |ns: u64| Timeval {
        seconds: (ns / 1_000_000_000).cast_signed(),
        microseconds: (ns % 1_000_000_000 / 1000).cast_signed(),
    };
    Rusage {
        user: time(usage.user_ns),
        system: time(usage.system_ns),
        maxrss: usage.peak_pages as i64 * KIB_PER_PAGE,
        ..Rusage::default()
    }
}
