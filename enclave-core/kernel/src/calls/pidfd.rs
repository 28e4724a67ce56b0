// SPDX-License-Identifier: MIT
//! Processes with a descriptor: `pidfd_open(2)`, `pidfd_send_signal(2)`, `pidfd_getfd(2)`.

use crate::calls::descriptors::install;
use crate::calls::signals::{may_signal, optional_signal, own_info};
use crate::calls::threads::may_change;
use crate::fs::pidfd::PidFd;
use crate::fs::proc_fs::process_of;
use crate::fs::{OpenFile, OpenFlags};
use crate::outcome::SysResult;
use crate::signal::{code, send_to_process};
use crate::table::{Row, row};
use crate::task::{Call, Process, ProcessState};
use crate::user::UserPtr;
use alloc::sync::Arc;
use strongroom_abi::{Errno, SignalInfo};

pub(crate) const CALLS: &[Row] = &[
    row!(PidfdOpen, pidfd_open(2), Partial("no PIDFD_THREAD")),
    row!(PidfdSendSignal, pidfd_send_signal(4), Partial("no flags")),
    row!(PidfdGetfd, pidfd_getfd(3), Full),
];

fn pidfd_open(call: &mut Call<'_>, pid: i32, flags: u32) -> SysResult {
    let flags = OpenFlags::from_bits(flags).filter(|flags| OpenFlags::NONBLOCK.contains(*flags));
    let flags = flags.ok_or(Errno::EINVAL)?;
    let pid = u32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(Errno::EINVAL)?;
    let Some(process) = call.kernel.processes.find(pid) else {
        // The number of a thread that does not lead its process names none.
        let thread = call.kernel.processes.find_thread(pid);
        return Err(if thread.is_some() { Errno::EINVAL } else { Errno::ESRCH }.into());
    };
    Ok(install(call, PidFd::open(call.kernel, process, flags), true)?)
}

fn pidfd_send_signal(
    call: &mut Call<'_>,
    descriptor: i32,
    number: i32,
    info: UserPtr<SignalInfo>,
    flags: u32,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let open = call.file(descriptor)?;
    let target = &addressed(call, &open)?;
    let signal = optional_signal(number)?;
    let given = info.read_optional(call.memory)?;
    if let Some(given) = given {
        if given.signo != number {
            return Err(Errno::EINVAL.into());
        }
        let forged = given.code >= 0 || given.code == code::TKILL;
        if forged && target.pid != call.thread.process.pid {
            return Err(Errno::EPERM.into());
        }
    }
    if *target.state.lock() == ProcessState::Gone {
        return Err(Errno::ESRCH.into());
    }
    if !may_signal(call, target, signal) {
        return Err(Errno::EPERM.into());
    }
    if let Some(signal) = signal {
        let info = given.unwrap_or_else(|| own_info(call, signal, code::USER));
        send_to_process(target, info);
    }
    Ok(0)
}

/// The process behind a pidfd, or behind an open directory `/proc/PID`.
fn addressed(call: &Call<'_>, open: &OpenFile) -> Result<Arc<Process>, Errno> {
    let directory = open.place.as_ref().and_then(|place| process_of(&*place.inode));
    match directory {
        Some(pid) => call.kernel.processes.find(pid).ok_or(Errno::ESRCH),
        None => PidFd::process(open).map(Arc::clone),
    }
}

fn pidfd_getfd(call: &mut Call<'_>, descriptor: i32, wanted: i32, flags: u32) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let open = call.file(descriptor)?;
    let target = PidFd::process(&open)?;
    let thread = target.main_thread().ok_or(Errno::ESRCH)?;
    if !may_change(call, target) {
        return Err(Errno::EPERM.into());
    }
    let files = Arc::clone(&thread.files.lock());
    let found = files.file(wanted)?;
    Ok(install(call, found, true)?)
}
