// SPDX-License-Identifier: MIT
//! Clocks, sleeping, and how much processor time was used.

use crate::calls::wait::rusage_of;
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::table::{Row, row};
use crate::task::{Call, Thread, Usage};
use crate::time::{Clock, SECOND_NS, ns_of_timespec, timespec, timeval};
use crate::user::UserPtr;
use core::sync::atomic::Ordering;
use strongroom_abi::{Errno, Rusage, Timespec, Timeval, Tms};

pub(crate) const CALLS: &[Row] = &[
    row!(ClockGettime, clock_gettime(2), Partial("processor time is counted in ticks of 4 ms")),
    row!(ClockGetres, clock_getres(2), Full),
    row!(ClockSettime, clock_settime(2), Partial("nobody may set a clock")),
    row!(
        ClockNanosleep,
        clock_nanosleep(4),
        Partial("the processor-time clock runs as the monotonic one")
    ),
    row!(Nanosleep, nanosleep(2), Full),
    row!(Gettimeofday, gettimeofday(2), Full),
    row!(Settimeofday, settimeofday(2), Partial("nobody may set a clock")),
    row!(Time, time(1), Full),
    row!(Adjtimex, adjtimex(1), Partial("nobody may adjust a clock")),
    row!(ClockAdjtime, clock_adjtime(2), Partial("nobody may adjust a clock")),
    row!(Times, times(1), Partial("processor time is counted in ticks of 4 ms")),
    row!(Getrusage, getrusage(2), Partial("times and the peak of memory; the rest is zero")),
];

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;
const PROCESS_CPUTIME: i32 = 2;
const THREAD_CPUTIME: i32 = 3;
const MONOTONIC_RAW: i32 = 4;
const REALTIME_COARSE: i32 = 5;
const MONOTONIC_COARSE: i32 = 6;
const BOOTTIME: i32 = 7;
// Without a battery-backed clock these two cannot be read or slept on.
const REALTIME_ALARM: i32 = 8;
const BOOTTIME_ALARM: i32 = 9;
const TAI: i32 = 11;

fn clock_gettime(call: &mut Call<'_>, clock: i32, to: UserPtr<Timespec>) -> SysResult {
    let ns = match clock {
        MONOTONIC | MONOTONIC_RAW | MONOTONIC_COARSE | BOOTTIME => call.kernel.now_ns(),
        REALTIME | REALTIME_COARSE | TAI => call.kernel.wall_ns().max(0) as u64,
        _ => processor_time(call, clock)?,
    };
    to.write(call.memory, &timespec(ns))?;
    Ok(0)
}

/// Processor time of a process or thread (`clock_getcpuclockid(3)`).
#[cold]
fn processor_time(call: &Call<'_>, clock: i32) -> Result<u64, Errno> {
    const PER_THREAD: i32 = 4;
    const KIND: i32 = 3;
    let own = call.thread;
    // Negative numbers hold the complement of a pid and which of its clocks is meant.
    let number = (!(clock >> 3)).cast_unsigned();
    let usage = match clock {
        PROCESS_CPUTIME => own.process.usage(),
        THREAD_CPUTIME => thread_usage(own),
        _ if clock >= 0 || clock & KIND == KIND => return Err(Errno::EINVAL),
        _ if clock & PER_THREAD != 0 => {
            let number = if number == 0 { own.tid() } else { number };
            let thread = own.process.thread(number).ok_or(Errno::EINVAL)?;
            thread_usage(&thread)
        }
        _ if number == 0 => own.process.usage(),
        _ => call.kernel.processes.find(number).ok_or(Errno::EINVAL)?.usage(),
    };
    Ok(usage.user_ns + usage.system_ns)
}

fn thread_usage(thread: &Thread) -> Usage {
    Usage {
        user_ns: thread.user_ns.load(Ordering::Relaxed),
        system_ns: thread.system_ns.load(Ordering::Relaxed),
        peak_pages: 0,
    }
}

fn clock_getres(call: &mut Call<'_>, clock: i32, to: UserPtr<Timespec>) -> SysResult {
    const TICK_NS: u64 = 4_000_000;
    let resolution_ns = match clock {
        REALTIME_COARSE | MONOTONIC_COARSE => TICK_NS,
        REALTIME | MONOTONIC | MONOTONIC_RAW | BOOTTIME | TAI => 1,
        _ => {
            processor_time(call, clock)?;
            1
        }
    };
    to.write_optional(call.memory, &timespec(resolution_ns))?;
    Ok(0)
}

fn clock_settime(call: &mut Call<'_>, clock: i32, time: UserPtr<Timespec>) -> SysResult {
    if clock != REALTIME {
        return Err(Errno::EINVAL.into());
    }
    ns_of_timespec(time.read(call.memory)?)?;
    Err(Errno::EPERM.into())
}

fn settimeofday(call: &mut Call<'_>, time: UserPtr<Timeval>, _zone: usize) -> SysResult {
    if let Some(time) = time.read_optional(call.memory)?
        && !(0..=1_000_000).contains(&time.microseconds)
    {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::EPERM.into())
}

fn gettimeofday(call: &mut Call<'_>, to: UserPtr<Timeval>, zone: UserPtr<[i32; 2]>) -> SysResult {
    if !to.is_null() {
        to.write(call.memory, &timeval(call.kernel.wall_ns().max(0) as u64))?;
    }
    zone.write_optional(call.memory, &[0, 0])?;
    Ok(0)
}

fn time(call: &mut Call<'_>, to: UserPtr<i64>) -> SysResult {
    let seconds = call.kernel.wall_ns().max(0) as u64 / SECOND_NS;
    to.write_optional(call.memory, &seconds.cast_signed())?;
    Ok(seconds as usize)
}

fn nanosleep(
    call: &mut Call<'_>,
    duration: UserPtr<Timespec>,
    left: UserPtr<Timespec>,
) -> SysResult {
    sleep(call, Clock::Monotonic, false, duration, left)
}

fn clock_nanosleep(
    call: &mut Call<'_>,
    clock: i32,
    flags: u32,
    time: UserPtr<Timespec>,
    left: UserPtr<Timespec>,
) -> SysResult {
    const ABSOLUTE: u32 = 1;
    let clock = match clock {
        REALTIME | TAI => Clock::Wall,
        MONOTONIC | BOOTTIME | PROCESS_CPUTIME => Clock::Monotonic,
        THREAD_CPUTIME | MONOTONIC_RAW | REALTIME_COARSE | MONOTONIC_COARSE | REALTIME_ALARM
        | BOOTTIME_ALARM => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    sleep(call, clock, flags & ABSOLUTE != 0, time, left)
}

fn sleep(
    call: &mut Call<'_>,
    clock: Clock,
    absolute: bool,
    time: UserPtr<Timespec>,
    left: UserPtr<Timespec>,
) -> SysResult {
    let deadline_ns = if let Some(deadline_ns) = call.progress.deadline_ns {
        deadline_ns
    } else {
        let value_ns = ns_of_timespec(time.read(call.memory)?)?;
        call.kernel.deadline_ns(clock, value_ns, absolute)
    };
    call.progress.deadline_ns = Some(deadline_ns);
    let now_ns = call.kernel.now_ns();
    if deadline_ns <= now_ns {
        // Even the shortest sleep lets others run.
        let first = !call.progress.woken && call.kernel.scheduler.has_ready();
        return if first { Err(Stop::Turn) } else { Ok(0) };
    }
    if !call.progress.interrupted {
        return Err(Stop::Sleep(Interrupt::Fail));
    }
    if !absolute {
        left.write_optional(call.memory, &timespec(deadline_ns - now_ns))?;
    }
    Err(Errno::EINTR.into())
}

fn adjtimex(call: &mut Call<'_>, state: UserPtr<[i64; 26]>) -> SysResult {
    clock_adjtime(call, REALTIME, state)
}

/// Reads the state of a clock that nobody disciplines.
fn clock_adjtime(call: &mut Call<'_>, clock: i32, state: UserPtr<[i64; 26]>) -> SysResult {
    /// `ADJ_OFFSET_SS_READ`: reads what an adjustment has left to do.
    const READ_OFFSET: u32 = 0xa001;
    /// `TIME_ERROR`, also returned while the clock is not synchronised.
    const NOT_SYNCHRONISED: usize = 5;
    const UNSYNCHRONISED: i64 = 0x40;
    const ERROR_MAX: i64 = 16_000_000;
    if clock != REALTIME {
        return Err(if clock == TAI || clock == MONOTONIC {
            Errno::EOPNOTSUPP.into()
        } else {
            Errno::EINVAL.into()
        });
    }
    let [first, ..] = state.read(call.memory)?;
    let modes = first as u32;
    if modes != 0 && modes != READ_OFFSET {
        return Err(Errno::EPERM.into());
    }
    let now = timeval(call.kernel.wall_ns().max(0) as u64);
    let [seconds, microseconds] = [now.seconds, now.microseconds];
    let head = [
        first,
        0,
        0,
        ERROR_MAX,
        ERROR_MAX,
        UNSYNCHRONISED,
        2,
        1,
        32_768_000,
        seconds,
        microseconds,
        10_000,
    ];
    let mut words = [0; 26];
    words.iter_mut().zip(head).for_each(|(word, value)| *word = value);
    state.write(call.memory, &words)?;
    Ok(NOT_SYNCHRONISED)
}

fn times(call: &mut Call<'_>, to: UserPtr<Tms>) -> SysResult {
    let ticks = |ns: u64| (ns / (SECOND_NS / 100)).cast_signed();
    if !to.is_null() {
        let process = &call.thread.process;
        let (own, children) = (process.usage(), *process.children_usage.lock());
        let times = Tms {
            utime: ticks(own.user_ns),
            stime: ticks(own.system_ns),
            cutime: ticks(children.user_ns),
            cstime: ticks(children.system_ns),
        };
        to.write(call.memory, &times)?;
    }
    Ok(ticks(call.kernel.now_ns()) as usize)
}

fn getrusage(call: &mut Call<'_>, who: i32, to: UserPtr<Rusage>) -> SysResult {
    const OWN: i32 = 0;
    const CHILDREN: i32 = -1;
    const THREAD: i32 = 1;
    let process = &call.thread.process;
    let usage = match who {
        OWN => process.usage(),
        CHILDREN => *process.children_usage.lock(),
        THREAD => {
            let peak_pages = process.usage().peak_pages;
            Usage { peak_pages, ..thread_usage(call.thread) }
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    to.write(call.memory, &rusage_of(usage))?;
    Ok(0)
}
