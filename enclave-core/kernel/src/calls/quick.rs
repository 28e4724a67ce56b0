// SPDX-License-Identifier: MIT
//! Calls that are answered with no more than a look: the first of the two levels of dispatch.
//!
//! Each declines where anything is unusual, and has changed nothing then.

use crate::calls::signals;
use crate::fs::OpenFlags;
use crate::table::QuickHandler;
use crate::task::Quick;
use crate::task::futex::FutexKey;
use crate::user::UserPtr;
use strongroom_abi::arch::Registers;
use strongroom_abi::{Sysno, Timespec};

pub(crate) const QUICK: &[(Sysno, QuickHandler)] = &[
    (Sysno::Getpid, |quick, _| Some(quick.thread.process.pid as isize)),
    (Sysno::Gettid, |quick, _| Some(quick.thread.tid() as isize)),
    (Sysno::Getppid, |quick, _| Some(quick.thread.process.parent_pid() as isize)),
    (Sysno::SchedYield, sched_yield),
    (Sysno::ClockGettime, clock_gettime),
    (Sysno::Futex, futex),
    (Sysno::Write, write),
    (Sysno::Read, read),
    (Sysno::Lseek, lseek),
    (Sysno::RtSigprocmask, sigprocmask),
];

fn sched_yield(quick: &Quick<'_>, _: &Registers) -> Option<isize> {
    (!quick.thread.kernel.scheduler.has_ready()).then_some(0)
}

fn clock_gettime(quick: &Quick<'_>, registers: &Registers) -> Option<isize> {
    const MONOTONIC: usize = 1;
    const NS_PER_S: u64 = 1_000_000_000;
    let [clock, to, ..] = registers.arguments();
    let ns = match clock {
        0 => quick.thread.kernel.wall_ns().cast_unsigned(),
        MONOTONIC => quick.thread.kernel.now_ns(),
        _ => return None,
    };
    let seconds = ns / NS_PER_S;
    let now = Timespec {
        seconds: seconds.cast_signed(),
        nanoseconds: (ns - seconds * NS_PER_S).cast_signed(),
    };
    UserPtr::at(to).write(quick.memory, &now).ok()?;
    Some(0)
}

/// Waking on a private futex.
fn futex(quick: &Quick<'_>, registers: &Registers) -> Option<isize> {
    const WAKE_PRIVATE: u32 = 0x81;
    let [word, operation, count, ..] = registers.arguments();
    let usable = word.is_multiple_of(4) && word < quick.memory.user_end();
    if operation as u32 != WAKE_PRIVATE || !usable {
        return None;
    }
    let count = (count as u32).cast_signed().max(1).unsigned_abs() as usize;
    let key = FutexKey::new(quick.memory, word, true);
    Some(quick.thread.kernel.futexes.wake(key, count, u32::MAX).cast_signed())
}

fn write(quick: &Quick<'_>, registers: &Registers) -> Option<isize> {
    let [descriptor, buffer, count, ..] = registers.arguments();
    check_range(quick, buffer, count)?;
    quick.files.with(descriptor, |open| {
        if !open.flags().writable() {
            return None;
        }
        let count = open.file.write_now(quick.memory, buffer, count)?;
        Some(count.cast_signed())
    })
}

fn read(quick: &Quick<'_>, registers: &Registers) -> Option<isize> {
    let [descriptor, buffer, count, ..] = registers.arguments();
    check_range(quick, buffer, count)?;
    quick.files.with(descriptor, |open| {
        if !open.flags().readable() {
            return None;
        }
        let count = open.file.read_now(quick.memory, buffer, count)?;
        Some(count.cast_signed())
    })
}

/// To a place counted from the start of a file, or from where it is.
fn lseek(quick: &Quick<'_>, registers: &Registers) -> Option<isize> {
    const START: u32 = 0;
    const CURRENT: u32 = 1;
    let [descriptor, offset, whence, ..] = registers.arguments();
    quick.files.with(descriptor, |open| {
        let base = match whence as u32 {
            START => 0,
            CURRENT => open.offset(),
            _ => return None,
        };
        let path = open.flags().contains(OpenFlags::PATH);
        if path || !open.file.seekable() || open.file.stays_at_zero() {
            return None;
        }
        let target = base.checked_add_signed(offset.cast_signed() as i64)?;
        let result = isize::try_from(target).ok()?;
        open.set_offset(target);
        Some(result)
    })
}

/// Where no signal becomes deliverable by it.
fn sigprocmask(quick: &Quick<'_>, registers: &Registers) -> Option<isize> {
    let [how, new, old, size, ..] = registers.arguments();
    signals::check_size(size).ok()?;
    let new = UserPtr::<u64>::at(new).read_optional(quick.memory).ok()?;
    let mut own = quick.thread.signals.lock();
    let before = own.mask;
    let after = match new {
        Some(set) => before.changed(how as u32, set)?,
        None => before,
    };
    // Asked after the lock was taken: whoever sends to the process looks at the mask afterwards.
    if own.pending.has_any(after.complement()) || quick.thread.process.may_have_pending() {
        return None;
    }
    UserPtr::at(old).write_optional(quick.memory, &before.0).ok()?;
    own.mask = after;
    Some(0)
}

fn check_range(quick: &Quick<'_>, buffer: usize, count: usize) -> Option<()> {
    /// Longer transfers give others a turn on their way.
    const COUNT_MAX: usize = 64 * 1024;
    let end = buffer.checked_add(count)?;
    (count <= COUNT_MAX && end <= quick.memory.user_end()).then_some(())
}
