// SPDX-License-Identifier: MIT
//! Clocks and units of time as programs see them.
//!
//! The kernel counts nanoseconds on one monotonic clock; everything else is derived from it.

use crate::kernel::Kernel;
use strongroom_abi::{Errno, Itimerspec, Itimerval, Timespec, Timeval};

pub(crate) const SECOND_NS: u64 = 1_000_000_000;
const MICROSECOND_NS: u64 = 1_000;

/// Clocks that timers and sleeps can be set by (`clock_gettime(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The wall clock, with or without leap seconds.
    Wall,
    /// Time since the start.
    Monotonic,
}

impl Kernel {
    /// The monotonic deadline for an absolute time, or for a duration from now.
    pub(crate) fn deadline_ns(&self, clock: Clock, value_ns: u64, absolute: bool) -> u64 {
        let now = self.now_ns();
        match (clock, absolute) {
            (_, false) => now.saturating_add(value_ns),
            (Clock::Monotonic, true) => value_ns,
            (Clock::Wall, true) => {
                let ahead = i128::from(value_ns) - i128::from(self.wall_ns());
                let deadline = i128::from(now) + ahead;
                u64::try_from(deadline.max(0)).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Nanoseconds of a duration or a point in time; `EINVAL` unless it is normalised and not
/// negative. What cannot be expressed becomes the far future.
pub(crate) fn ns_of_timespec(time: Timespec) -> Result<u64, Errno> {
    let seconds = u64::try_from(time.seconds).map_err(|_| Errno::EINVAL)?;
    let rest = u64::try_from(time.nanoseconds).map_err(|_| Errno::EINVAL)?;
    if rest >= SECOND_NS {
        return Err(Errno::EINVAL);
    }
    Ok(seconds.saturating_mul(SECOND_NS).saturating_add(rest))
}

/// As [`ns_of_timespec`], in microseconds.
pub(crate) fn ns_of_timeval(time: Timeval) -> Result<u64, Errno> {
    if !(0..1_000_000).contains(&time.microseconds) {
        return Err(Errno::EINVAL);
    }
    let nanoseconds = time.microseconds * 1_000;
    ns_of_timespec(Timespec { seconds: time.seconds, nanoseconds })
}

/// Nanoseconds as a `struct timespec`.
pub(crate) const fn timespec(ns: u64) -> Timespec {
    Timespec {
        seconds: (ns / SECOND_NS).cast_signed(),
        nanoseconds: (ns % SECOND_NS).cast_signed(),
    }
}

/// Nanoseconds as a `struct timeval`, rounded down.
pub(crate) const fn timeval(ns: u64) -> Timeval {
    Timeval {
        seconds: (ns / SECOND_NS).cast_signed(),
        microseconds: (ns % SECOND_NS / MICROSECOND_NS).cast_signed(),
    }
}

/// What is left of a timer, and its interval, as a `struct itimerspec`.
pub(crate) const fn itimerspec((left, interval): (u64, u64)) -> Itimerspec {
    Itimerspec { interval: timespec(interval), value: timespec(left) }
}

/// As [`itimerspec`]; a timer that runs has at least a microsecond left.
pub(crate) const fn itimerval((left, interval): (u64, u64)) -> Itimerval {
    let left = if left > 0 && left < MICROSECOND_NS { MICROSECOND_NS } else { left };
    Itimerval { interval: timeval(interval), value: timeval(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timespecs_are_checked() {
        let spec = |seconds, nanoseconds| Timespec { seconds, nanoseconds };
        assert_eq!(ns_of_timespec(spec(2, 5)), Ok(2_000_000_005));
        assert_eq!(ns_of_timespec(spec(0, 1_000_000_000)), Err(Errno::EINVAL));
        assert_eq!(ns_of_timespec(spec(-1, 0)), Err(Errno::EINVAL));
        assert_eq!(ns_of_timespec(spec(0, -1)), Err(Errno::EINVAL));
        assert_eq!(ns_of_timespec(spec(i64::MAX, 0)), Ok(u64::MAX));
    }

    #[test]
    fn timevals_are_checked_and_rounded_down() {
        let value = |seconds, microseconds| Timeval { seconds, microseconds };
        assert_eq!(ns_of_timeval(value(1, 999_999)), Ok(1_999_999_000));
        assert_eq!(ns_of_timeval(value(0, 1_000_000)), Err(Errno::EINVAL));
        assert_eq!(ns_of_timeval(value(0, -1)), Err(Errno::EINVAL));
        assert_eq!(timeval(1_000_001_999), value(1, 1));
    }

    #[test]
    fn a_running_timer_never_reads_as_off() {
        assert_eq!(itimerval((1, 0)).value.microseconds, 1);
        assert_eq!(itimerval((0, 0)).value.microseconds, 0);
        assert_eq!(itimerspec((1, 2)).interval.nanoseconds, 2);
    }
}
