// SPDX-License-Identifier: MIT
//! What threads tell the kernel about themselves, and scheduling. There is one processor, and
//! threads take turns: policies and priorities are accepted where that changes nothing.

use crate::outcome::{Stop, SysResult};
use crate::table::{Row, row};
use crate::task::{Call, Process, Thread};
use crate::time::timespec;
use crate::user::UserPtr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use strongroom_abi::{Errno, RobustListHead, Timespec};

pub(crate) const CALLS: &[Row] = &[
    row!(SetTidAddress, set_tid_address(1), Full),
    row!(SetRobustList, set_robust_list(2), Full),
    row!(GetRobustList, get_robust_list(3), Full),
    row!(SchedYield, sched_yield(0), Full),
    row!(SchedGetaffinity, sched_getaffinity(3), Full),
    row!(SchedSetaffinity, sched_setaffinity(3), Full),
    row!(SchedGetscheduler, sched_getscheduler(1), Partial("always SCHED_OTHER")),
    row!(
        SchedSetscheduler,
        sched_setscheduler(3),
        Partial("real-time policies are EPERM, the others change nothing")
    ),
    row!(SchedGetparam, sched_getparam(2), Full),
    row!(SchedSetparam, sched_setparam(2), Full),
    row!(SchedGetattr, sched_getattr(4), Partial("always SCHED_OTHER")),
    row!(
        SchedSetattr,
        sched_setattr(3),
        Partial("real-time policies are EPERM, the others set the nice value")
    ),
    row!(SchedGetPriorityMax, sched_get_priority_max(1), Full),
    row!(SchedGetPriorityMin, sched_get_priority_min(1), Full),
    row!(SchedRrGetInterval, sched_rr_get_interval(2), Full),
    row!(Getpriority, getpriority(2), Partial("one nice value for all threads of a process")),
    row!(Setpriority, setpriority(3), Partial("nice values are kept, but have no effect")),
    row!(Getcpu, getcpu(2), Full),
    row!(Membarrier, membarrier(3), Partial("expedited commands need no registration")),
];

fn set_tid_address(call: &mut Call<'_>, address: usize) -> SysResult {
    call.thread.clear_child_tid.store(address, Ordering::Relaxed);
    Ok(call.thread.tid() as usize)
}

fn set_robust_list(call: &mut Call<'_>, head: usize, size: usize) -> SysResult {
    if size != size_of::<RobustListHead>() {
        return Err(Errno::EINVAL.into());
    }
    call.thread.robust_list.store(head, Ordering::Relaxed);
    Ok(0)
}

fn get_robust_list(
    call: &mut Call<'_>,
    tid: i32,
    head: UserPtr<usize>,
    size: UserPtr<usize>,
) -> SysResult {
    let thread = thread(call, tid)?;
    if !may_change(call, &thread.process) {
        return Err(Errno::EPERM.into());
    }
    size.write(call.memory, &size_of::<RobustListHead>())?;
    head.write(call.memory, &thread.robust_list.load(Ordering::Relaxed))?;
    Ok(0)
}

/// The thread with a number, 0 for the caller.
fn thread(call: &Call<'_>, tid: i32) -> Result<Arc<Thread>, Errno> {
    match u32::try_from(tid) {
        Ok(0) => Ok(Arc::clone(call.thread)),
        Ok(tid) => call.kernel.processes.find_thread(tid).ok_or(Errno::ESRCH),
        Err(_) => Err(Errno::ESRCH),
    }
}

/// As [`thread`], where a negative number is `EINVAL`.
fn scheduled(call: &Call<'_>, tid: i32) -> Result<Arc<Thread>, Errno> {
    if tid < 0 { Err(Errno::EINVAL) } else { thread(call, tid) }
}

/// Whether the caller is root or has the same user.
pub(super) fn may_change(call: &Call<'_>, process: &Arc<Process>) -> bool {
    if Arc::ptr_eq(process, &call.thread.process) {
        return true;
    }
    let (root, euid) = {
        let own = call.thread.process.credentials.lock();
        (own.is_root(), own.euid)
    };
    let other = process.credentials.lock();
    root || euid == other.euid || euid == other.uid
}

fn sched_yield(call: &mut Call<'_>) -> SysResult {
    if !call.progress.woken && call.kernel.scheduler.has_ready() {
        return Err(Stop::Turn);
    }
    Ok(0)
}

/// Bytes of a set of processors.
const SET_SIZE: usize = size_of::<u64>();

fn sched_getaffinity(call: &mut Call<'_>, tid: i32, size: usize, to: UserPtr<u64>) -> SysResult {
    if size == 0 || !size.is_multiple_of(SET_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    thread(call, tid)?;
    to.write(call.memory, &1)?;
    Ok(SET_SIZE)
}

fn sched_setaffinity(call: &mut Call<'_>, tid: i32, size: usize, from: usize) -> SysResult {
    let mut first = [0u8; 1];
    if size > 0 {
        call.memory.space().copy_in(from, &mut first)?;
    }
    let thread = thread(call, tid)?;
    if !may_change(call, &thread.process) {
        return Err(Errno::EPERM.into());
    }
    // There is no processor but the first.
    if first[0] & 1 == 0 { Err(Errno::EINVAL.into()) } else { Ok(0) }
}

const OTHER: u32 = 0;
const FIFO: u32 = 1;
const ROUND_ROBIN: u32 = 2;
const BATCH: u32 = 3;
const IDLE: u32 = 5;
const DEADLINE: u32 = 6;
/// `SCHED_RESET_ON_FORK`.
const RESET_ON_FORK: u32 = 0x4000_0000;

fn sched_getscheduler(call: &mut Call<'_>, tid: i32) -> SysResult {
    scheduled(call, tid)?;
    Ok(OTHER as usize)
}

fn sched_setscheduler(
    call: &mut Call<'_>,
    tid: i32,
    policy: u32,
    priority: UserPtr<i32>,
) -> SysResult {
    if policy.cast_signed() < 0 || tid < 0 || priority.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let priority = priority.read(call.memory)?;
    let thread = thread(call, tid)?;
    check_policy(call, &thread, policy & !RESET_ON_FORK, priority)?;
    Ok(0)
}

fn check_policy(call: &Call<'_>, thread: &Thread, policy: u32, priority: i32) -> Result<(), Errno> {
    match policy {
        OTHER | BATCH | IDLE if priority != 0 => Err(Errno::EINVAL),
        FIFO | ROUND_ROBIN if !(1..=99).contains(&priority) => Err(Errno::EINVAL),
        OTHER | BATCH | IDLE if may_change(call, &thread.process) => Ok(()),
        OTHER | BATCH | IDLE | FIFO | ROUND_ROBIN | DEADLINE => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

fn sched_getparam(call: &mut Call<'_>, tid: i32, to: UserPtr<i32>) -> SysResult {
    if to.is_null() {
        return Err(Errno::EINVAL.into());
    }
    scheduled(call, tid)?;
    to.write(call.memory, &0)?;
    Ok(0)
}

fn sched_setparam(call: &mut Call<'_>, tid: i32, from: UserPtr<i32>) -> SysResult {
    if from.is_null() || tid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = from.read(call.memory)?;
    let thread = thread(call, tid)?;
    check_policy(call, &thread, OTHER, priority)?;
    Ok(0)
}

/// Bytes of the first version of `struct sched_attr`.
const ATTRIBUTES_SIZE: u32 = 48;
/// Its six eight-byte words: size and policy, flags, nice value and priority, and three times.
type Attributes = [u64; 6];

fn sched_getattr(
    call: &mut Call<'_>,
    tid: i32,
    to: UserPtr<Attributes>,
    size: u32,
    flags: u32,
) -> SysResult {
    if to.is_null() || flags != 0 || !(ATTRIBUTES_SIZE..=4096).contains(&size) {
        return Err(Errno::EINVAL.into());
    }
    let nice = scheduled(call, tid)?.process.nice.load(Ordering::Relaxed);
    let size_and_policy = u64::from(ATTRIBUTES_SIZE) | u64::from(OTHER) << 32;
    to.write(call.memory, &[size_and_policy, 0, u64::from(nice.cast_unsigned()), 0, 0, 0])?;
    Ok(0)
}

fn sched_setattr(
    call: &mut Call<'_>,
    tid: i32,
    from: UserPtr<Attributes>,
    flags: u32,
) -> SysResult {
    if from.is_null() || tid < 0 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let size = UserPtr::<u32>::at(from.address()).read(call.memory)?;
    if size != 0 && size < ATTRIBUTES_SIZE {
        return Err(Errno::E2BIG.into());
    }
    let [head, _, middle, ..] = from.read(call.memory)?;
    let policy = (head >> 32) as u32;
    let (nice, priority) = (middle as i32, (middle >> 32) as i32);
    let thread = thread(call, tid)?;
    check_policy(call, &thread, policy, priority)?;
    if matches!(policy, OTHER | BATCH) {
        set_nice(call, &thread.process, nice)?;
    }
    Ok(0)
}

fn sched_get_priority_max(_call: &mut Call<'_>, policy: u32) -> SysResult {
    priority_limit(policy, 99)
}

fn sched_get_priority_min(_call: &mut Call<'_>, policy: u32) -> SysResult {
    priority_limit(policy, 1)
}

fn priority_limit(policy: u32, limit: usize) -> SysResult {
    match policy {
        FIFO | ROUND_ROBIN => Ok(limit),
        OTHER | BATCH | IDLE | DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn sched_rr_get_interval(call: &mut Call<'_>, tid: i32, to: UserPtr<Timespec>) -> SysResult {
    /// Between two ticks, other threads get their turn.
    const TURN_NS: u64 = 4_000_000;
    scheduled(call, tid)?;
    to.write(call.memory, &timespec(TURN_NS))?;
    Ok(0)
}

/// Those that `getpriority` and `setpriority` are about.
fn chosen(call: &Call<'_>, which: u32, who: u32) -> Result<Vec<Arc<Process>>, Errno> {
    const PROCESS: u32 = 0;
    const GROUP: u32 = 1;
    const USER: u32 = 2;
    let own = &call.thread.process;
    let processes = match which {
        PROCESS => {
            let thread = thread(call, who.cast_signed())?;
            Vec::from([Arc::clone(&thread.process)])
        }
        GROUP => call.kernel.processes.in_group(if who == 0 { own.group() } else { who }),
        USER => {
            let uid = if who == 0 { own.credentials.lock().uid } else { who };
            let mut all = call.kernel.processes.all();
            all.retain(|process| process.credentials.lock().uid == uid);
            all
        }
        _ => return Err(Errno::EINVAL),
    };
    if processes.is_empty() { Err(Errno::ESRCH) } else { Ok(processes) }
}

fn getpriority(call: &mut Call<'_>, which: u32, who: u32) -> SysResult {
    let processes = chosen(call, which, who)?;
    let nice = processes.iter().map(|process| process.nice.load(Ordering::Relaxed)).min();
    // Shifted so that it cannot be taken for an error.
    Ok(usize::try_from(20 - nice.unwrap_or(0)).unwrap_or(0))
}

fn setpriority(call: &mut Call<'_>, which: u32, who: u32, nice: i32) -> SysResult {
    for process in chosen(call, which, who)? {
        set_nice(call, &process, nice)?;
    }
    Ok(0)
}

fn set_nice(call: &Call<'_>, process: &Arc<Process>, nice: i32) -> Result<(), Errno> {
    let nice = nice.clamp(-20, 19);
    if !may_change(call, process) {
        return Err(Errno::EPERM);
    }
    let root = call.thread.process.credentials.lock().is_root();
    if nice < process.nice.load(Ordering::Relaxed) && !root {
        return Err(Errno::EACCES);
    }
    process.nice.store(nice, Ordering::Relaxed);
    Ok(())
}

fn getcpu(call: &mut Call<'_>, processor: UserPtr<u32>, node: UserPtr<u32>) -> SysResult {
    processor.write_optional(call.memory, &0)?;
    node.write_optional(call.memory, &0)?;
    Ok(0)
}

/// Threads of a process never run at the same time, and a switch between them is a full barrier:
/// whoever asks has the barrier already.
fn membarrier(_call: &mut Call<'_>, command: u32, flags: u32, _processor: u32) -> SysResult {
    const QUERY: u32 = 0;
    /// Global, global expedited, private expedited and private expedited with core
    /// synchronisation, and the registrations of the latter three.
    const SUPPORTED: u32 = 0x7f;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    match command {
        QUERY => Ok(SUPPORTED as usize),
        _ if command.is_power_of_two() && command & SUPPORTED != 0 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}
