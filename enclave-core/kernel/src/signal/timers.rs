// SPDX-License-Identifier: MIT
//! Timers that send signals: `setitimer(2)`, `alarm(2)`, `timer_create(2)`.

use crate::kernel::Kernel;
use crate::signal::{code, info_kernel, send_to_process, send_to_thread};
use crate::sync::{Alarm, TimerKey};
use crate::task::Process;
use crate::time::Clock;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use spin::Mutex;
use strongroom_abi::SignalInfo;

/// Who gets the signal.
#[derive(Clone)]
pub(crate) enum TimerTarget {
    /// The process, with `SIGALRM` and its like.
    Plain { process: Weak<Process>, signal: u8 },
    /// A timer of `timer_create(2)`: the process, or one of its threads.
    Posix { process: Weak<Process>, tid: Option<u32>, signal: u8, id: u32, value: u64 },
    /// Nobody: the timer is only looked at.
    Silent,
}

#[derive(Default)]
struct State {
    key: Option<TimerKey>,
    deadline_ns: u64,
    interval_ns: u64,
    overrun: u32,
}

/// One timer.
pub(crate) struct IntervalTimer {
    kernel: &'static Kernel,
    target: TimerTarget,
    clock: Clock,
    state: Mutex<State>,
}

impl IntervalTimer {
    /// A timer that is not set, on the monotonic clock.
    pub(crate) fn new(kernel: &'static Kernel, target: TimerTarget) -> Arc<Self> {
        Self::with_clock(kernel, target, Clock::Monotonic)
    }

    /// A timer that is not set.
    pub(crate) fn with_clock(
        kernel: &'static Kernel,
        target: TimerTarget,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self { kernel, target, clock, state: Mutex::new(State::default()) })
    }

    /// The clock that absolute times are on.
    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }

    /// Sets it to ring at `deadline_ns` on the monotonic clock, then every `interval_ns`; `None`
    /// switches it off. Returns what was left and the interval before.
    pub(crate) fn set(self: &Arc<Self>, deadline_ns: Option<u64>, interval_ns: u64) -> (u64, u64) {
        let before = self.left();
        let mut state = self.state.lock();
        if let Some(key) = state.key.take() {
            self.kernel.timers.cancel(key);
        }
        state.interval_ns = interval_ns;
        state.overrun = 0;
        if let Some(deadline_ns) = deadline_ns {
            state.deadline_ns = deadline_ns;
            state.key = Some(self.arm(deadline_ns));
        }
        before
    }

    /// Nanoseconds until it rings (0 when it is off), and its interval.
    pub(crate) fn left(&self) -> (u64, u64) {
        let state = self.state.lock();
        let left = match state.key {
            Some(_) => state.deadline_ns.saturating_sub(self.kernel.now_ns()).max(1),
            None => 0,
        };
        (left, state.interval_ns)
    }

    /// Times it rang while the last signal was waiting.
    pub(crate) fn overrun(&self) -> u32 {
        self.state.lock().overrun.min(i32::MAX.unsigned_abs())
    }

    fn arm(self: &Arc<Self>, deadline_ns: u64) -> TimerKey {
        let me: Weak<Self> = Arc::downgrade(self);
        self.kernel.timers.set(deadline_ns, me)
    }
}

impl IntervalTimer {
    /// Tells whom it concerns that it rang, `missed` times too late. A signal of an earlier time
    /// that still waits is not sent again: it counts.
    fn tell(&self, missed: u32) {
        match &self.target {
            TimerTarget::Silent => {}
            TimerTarget::Plain { process, signal } => {
                if let Some(process) = process.upgrade() {
                    send_to_process(&process, info_kernel(*signal));
                }
            }
            TimerTarget::Posix { process, tid, signal, id, value } => {
                let Some(process) = process.upgrade() else { return };
                let thread = tid.and_then(|tid| process.thread(tid));
                let again = missed.saturating_add(1);
                let waits = match (&thread, tid) {
                    (Some(thread), _) => {
                        thread.signals.lock().pending.add_overruns(*signal, *id, again)
                    }
                    (None, Some(_)) => return,
                    (None, None) => process.pending.lock().add_overruns(*signal, *id, again),
                };
                let mut state = self.state.lock();
                state.overrun = if waits { state.overrun.saturating_add(again) } else { missed };
                drop(state);
                if waits {
                    return;
                }
                let mut info = SignalInfo {
                    signo: i32::from(*signal),
                    code: code::TIMER,
                    ..SignalInfo::default()
                };
                info.fields[0] = u64::from(*id) | u64::from(missed) << 32;
                info.fields[1] = *value;
                match thread {
                    Some(thread) => send_to_thread(&thread, info),
                    None => send_to_process(&process, info),
                }
            }
        }
    }
}

impl Alarm for IntervalTimer {
    fn ring(self: Arc<Self>, now_ns: u64) {
        let mut state = self.state.lock();
        state.key = None;
        let mut missed = 0;
        if state.interval_ns > 0 {
            let late = now_ns.saturating_sub(state.deadline_ns);
            missed = late.checked_div(state.interval_ns).unwrap_or(0);
            let ahead = (missed + 1).saturating_mul(state.interval_ns);
            state.deadline_ns = state.deadline_ns.saturating_add(ahead);
            state.key = Some(self.arm(state.deadline_ns));
        }
        drop(state);
        // As Linux does, the count ends at the largest int (DELAYTIMER_MAX).
        self.tell(u32::try_from(missed.min(i32::MAX as u64)).unwrap_or(0));
    }
}

impl Drop for IntervalTimer {
    fn drop(&mut self) {
        if let Some(key) = self.state.lock().key.take() {
            self.kernel.timers.cancel(key);
        }
    }
}

/// Timers of a process. `ITIMER_VIRTUAL` and `ITIMER_PROF` run on the monotonic clock too.
#[derive(Default)]
pub(crate) struct ProcessTimers {
    /// `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`, made when first set.
    pub(crate) intervals: Mutex<[Option<Arc<IntervalTimer>>; 3]>,
    /// Timers of `timer_create(2)` by id.
    pub(crate) posix: Mutex<BTreeMap<u32, Arc<IntervalTimer>>>,
}
