// SPDX-License-Identifier: MIT
//! Calls that are answered with no more than a look: the first of the two levels of dispatch.
//!
//! Each declines where anything is unusual, and has changed nothing then.

use crate::table::QuickHandler;
use crate::task::Quick;
use crate::task::futex::FutexKey;
use crate::user::UserPtr;
use strongroom_abi::arch::Registers;
use strongroom_abi::{Sysno, Timespec};

pub(crate) const QUICK: &[(Sysno, QuickHandler)] = &[
    (Sysno::Getpid, |quick, _| Some(quick.thread.process.pid as isize)),
    (Sysno::Gettid, |quick, _| Some(quick.thread.tid() as isize)),
    (Sysno::SchedYield, sched_yield),
    (Sysno::ClockGettime, clock_gettime),
    (Sysno::Futex, futex),
    (Sysno::Write, write),
    (Sysno::Read, read),
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

fn check_range(quick: &Quick<'_>, buffer: usize, count: usize) -> Option<()> {
    /// Longer transfers give others a turn on their way.
    const COUNT_MAX: usize = 64 * 1024;
    let end = buffer.checked_add(count)?;
    (count <= COUNT_MAX && end <= quick.memory.user_end()).then_some(())
}
