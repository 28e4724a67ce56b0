// SPDX-License-Identifier: MIT
//! Timers that send signals: `setitimer(2)`, `alarm(2)`, `timer_create(2)`.

use crate::outcome::SysResult;
use crate::signal::{IntervalTimer, SIGALRM, SIGNAL_MAX, SIGPROF, SIGVTALRM, TimerTarget};
use crate::table::{Row, row};
use crate::task::{Call, Limits};
use crate::time::{Clock, SECOND_NS, itimerspec, itimerval, ns_of_timespec, ns_of_timeval};
use crate::user::UserPtr;
use alloc::sync::Arc;
use strongroom_abi::{Errno, Itimerspec, Itimerval, SignalEvent};

pub(crate) const CALLS: &[Row] = &[
    row!(Getitimer, getitimer(2), Partial("ITIMER_VIRTUAL and ITIMER_PROF run in real time")),
    row!(Setitimer, setitimer(3), Partial("ITIMER_VIRTUAL and ITIMER_PROF run in real time")),
    row!(Alarm, alarm(1), Full),
    row!(TimerCreate, timer_create(3), Partial("processor-time clocks run in real time")),
    row!(TimerSettime, timer_settime(4), Full),
    row!(TimerGettime, timer_gettime(2), Full),
    row!(TimerGetoverrun, timer_getoverrun(1), Full),
    row!(TimerDelete, timer_delete(1), Full),
];

/// What is left of an interval timer, and its interval.
fn interval_left(call: &Call<'_>, which: usize) -> Result<(u64, u64), Errno> {
    let timers = call.thread.process.timers.intervals.lock();
    let timer = timers.get(which).ok_or(Errno::EINVAL)?;
    Ok(timer.as_ref().map_or((0, 0), |timer| timer.left()))
}

fn set_interval(call: &Call<'_>, which: usize, value_ns: u64, interval_ns: u64) {
    let process = &call.thread.process;
    let mut timers = process.timers.intervals.lock();
    let Some(slot) = timers.get_mut(which) else { return };
    if value_ns == 0 && slot.is_none() {
        return;
    }
    let timer = slot.get_or_insert_with(|| {
        let signal = match which {
            0 => SIGALRM,
            1 => SIGVTALRM,
            _ => SIGPROF,
        };
        let target = TimerTarget::Plain { process: Arc::downgrade(process), signal };
        IntervalTimer::new(call.kernel, target)
    });
    let deadline_ns = call.kernel.deadline_ns(Clock::Monotonic, value_ns, false);
    timer.set((value_ns > 0).then_some(deadline_ns), interval_ns);
}

fn getitimer(call: &mut Call<'_>, which: u32, to: UserPtr<Itimerval>) -> SysResult {
    let left = interval_left(call, which as usize)?;
    to.write(call.memory, &itimerval(left))?;
    Ok(0)
}

fn setitimer(
    call: &mut Call<'_>,
    which: u32,
    new: UserPtr<Itimerval>,
    old: UserPtr<Itimerval>,
) -> SysResult {
    // A null pointer switches the timer off, as it always has on Linux.
    let new = new.read_optional(call.memory)?.unwrap_or_default();
    let value_ns = ns_of_timeval(new.value)?;
    let interval_ns = ns_of_timeval(new.interval)?;
    let left = interval_left(call, which as usize)?;
    old.write_optional(call.memory, &itimerval(left))?;
    set_interval(call, which as usize, value_ns, interval_ns);
    Ok(0)
}

fn alarm(call: &mut Call<'_>, seconds: u32) -> SysResult {
    let (left_ns, _) = interval_left(call, 0)?;
    set_interval(call, 0, u64::from(seconds) * SECOND_NS, 0);
    Ok(alarm_left(left_ns))
}

/// Seconds left, rounded, but not to zero while the alarm is set.
fn alarm_left(left_ns: u64) -> usize {
    let rounded = left_ns.saturating_add(SECOND_NS / 2) / SECOND_NS;
    if left_ns == 0 { 0 } else { rounded.max(1) as usize }
}

/// The clock of a timer of `timer_create(2)`.
fn clock_of(clock: i32) -> Result<Clock, Errno> {
    match clock {
        0 | 11 => Ok(Clock::Wall),
        1 | 2 | 3 | 7 => Ok(Clock::Monotonic),
        // Those that cannot set a timer, and those that need a battery-backed clock.
        4..=6 | 8 | 9 => Err(Errno::EOPNOTSUPP),
        // Processor-time clocks of a given process or thread.
        _ if clock < 0 && clock & 3 != 3 => Ok(Clock::Monotonic),
        _ => Err(Errno::EINVAL),
    }
}

fn timer_create(
    call: &mut Call<'_>,
    clock: i32,
    event: UserPtr<SignalEvent>,
    to: UserPtr<u32>,
) -> SysResult {
    let clock = clock_of(clock)?;
    let event = event.read_optional(call.memory)?;
    let process = &call.thread.process;
    let limit = process.limits.lock().soft(Limits::SIGPENDING);
    let mut timers = process.timers.posix.lock();
    if timers.len() as u64 >= limit {
        return Err(Errno::EAGAIN.into());
    }
    let free = (0..).zip(timers.keys()).find(|(number, used)| number != *used);
    let id = free.map_or_else(|| u32::try_from(timers.len()).unwrap_or(u32::MAX), |(id, _)| id);
    let target = target_of(call, event, id)?;
    to.write(call.memory, &id)?;
    timers.insert(id, IntervalTimer::with_clock(call.kernel, target, clock));
    Ok(0)
}

/// Who is told, as `struct sigevent` says; without one, the process by `SIGALRM`.
fn target_of(call: &Call<'_>, event: Option<SignalEvent>, id: u32) -> Result<TimerTarget, Errno> {
    const SIGNAL: i32 = 0;
    const NONE: i32 = 1;
    const THREAD: i32 = 2;
    const THREAD_ID: i32 = 4;
    let event = event.unwrap_or_else(|| SignalEvent {
        value: u64::from(id),
        signo: i32::from(SIGALRM),
        notify: SIGNAL,
        ..SignalEvent::default()
    });
    let process = &call.thread.process;
    let tid = match event.notify {
        NONE => return Ok(TimerTarget::Silent),
        SIGNAL | THREAD => None,
        THREAD_ID => {
            let tid = event.tid.cast_unsigned();
            Some(process.thread(tid).ok_or(Errno::EINVAL)?.tid())
        }
        _ => return Err(Errno::EINVAL),
    };
    let signal = u8::try_from(event.signo).map_err(|_| Errno::EINVAL)?;
    if signal == 0 || signal > SIGNAL_MAX {
        return Err(Errno::EINVAL);
    }
    let process = Arc::downgrade(process);
    Ok(TimerTarget::Posix { process, tid, signal, id, value: event.value })
}

fn posix_timer(call: &Call<'_>, id: u32) -> Result<Arc<IntervalTimer>, Errno> {
    call.thread.process.timers.posix.lock().get(&id).cloned().ok_or(Errno::EINVAL)
}

fn timer_settime(
    call: &mut Call<'_>,
    id: u32,
    flags: u32,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult {
    const ABSOLUTE: u32 = 1;
    if new.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let new = new.read(call.memory)?;
    let value_ns = ns_of_timespec(new.value)?;
    let interval_ns = ns_of_timespec(new.interval)?;
    let timer = posix_timer(call, id)?;
    old.write_optional(call.memory, &itimerspec(timer.left()))?;
    let deadline_ns = call.kernel.deadline_ns(timer.clock(), value_ns, flags & ABSOLUTE != 0);
    timer.set((value_ns > 0).then_some(deadline_ns), interval_ns);
    Ok(0)
}

fn timer_gettime(call: &mut Call<'_>, id: u32, to: UserPtr<Itimerspec>) -> SysResult {
    let left = posix_timer(call, id)?.left();
    to.write(call.memory, &itimerspec(left))?;
    Ok(0)
}

fn timer_getoverrun(call: &mut Call<'_>, id: u32) -> SysResult {
    Ok(posix_timer(call, id)?.overrun() as usize)
}

fn timer_delete(call: &mut Call<'_>, id: u32) -> SysResult {
    let removed = call.thread.process.timers.posix.lock().remove(&id);
    removed.map(|_| 0).ok_or(Errno::EINVAL.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_rounded() {
        assert_eq!(alarm_left(0), 0);
        assert_eq!(alarm_left(1), 1);
        assert_eq!(alarm_left(1_499_999_999), 1);
        assert_eq!(alarm_left(1_500_000_000), 2);
    }

    #[test]
    fn clocks_of_timers() {
        assert_eq!(clock_of(0), Ok(Clock::Wall));
        assert_eq!(clock_of(1), Ok(Clock::Monotonic));
        assert_eq!(clock_of(5), Err(Errno::EOPNOTSUPP));
        assert_eq!(clock_of(10), Err(Errno::EINVAL));
        assert_eq!(clock_of(!5 << 3 | 2), Ok(Clock::Monotonic));
    }
}
