// SPDX-License-Identifier: MIT
//! Timers with a descriptor (`timerfd_create(2)`).
//!
//! A timer that has expired and repeats is set again when its count is read: nothing runs for a
//! timer that nobody listens to.

use crate::fs::{Attributes, File, InodeId, Kind, OpenFile, Ready};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::sync::{Alarm, TimerKey, WaitQueue, Waiter};
use crate::task::{Call, Thread};
use crate::time::Clock;
use crate::user::Sink;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use spin::Mutex;
use strongroom_abi::Errno;

/// Bytes of a count.
const SIZE: usize = 8;

#[derive(Clone, Copy, Default)]
struct State {
    /// Set while it runs.
    key: Option<TimerKey>,
    deadline_ns: u64,
    interval_ns: u64,
    /// Expirations that were not read.
    ticks: u64,
    /// It rang and was not set again, though it repeats.
    resting: bool,
}

impl State {
    /// Counts the expirations up to now of a timer that rests, and moves its deadline into the
    /// future; whether it has to be set again.
    fn catch_up(&mut self, now_ns: u64) -> bool {
        if !core::mem::take(&mut self.resting) {
            return false;
        }
        let late = now_ns.saturating_sub(self.deadline_ns);
        let Some(missed) = late.checked_div(self.interval_ns) else { return false };
        self.ticks = self.ticks.saturating_add(missed);
        let ahead = (missed + 1).saturating_mul(self.interval_ns);
        self.deadline_ns = self.deadline_ns.saturating_add(ahead);
        true
    }
}

/// See the module's text.
pub(crate) struct TimerFd {
    kernel: &'static Kernel,
    me: Weak<Self>,
    number: u64,
    clock: Clock,
    state: Mutex<State>,
    readable: WaitQueue,
}

impl TimerFd {
    /// A timer that is not set.
    pub(crate) fn new(kernel: &'static Kernel, clock: Clock) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            kernel,
            me: Weak::clone(me),
            number: kernel.next_number(),
            clock,
            state: Mutex::default(),
            readable: WaitQueue::new(kernel.scheduler),
        })
    }

    /// The clock that absolute times are on.
    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }

    /// Sets it to ring at a time on the monotonic clock, then every `interval_ns`; `None` switches
    /// it off. Expirations that were not read are forgotten.
    pub(crate) fn set(&self, deadline_ns: Option<u64>, interval_ns: u64) {
        let mut state = self.state.lock();
        if let Some(key) = state.key.take() {
            self.kernel.timers.cancel(key);
        }
        *state = State { interval_ns, ..State::default() };
        if let Some(deadline_ns) = deadline_ns {
            state.deadline_ns = deadline_ns;
            state.key = Some(self.arm(deadline_ns));
        }
    }

    /// Nanoseconds until it rings next (0 when it is off), and its interval.
    pub(crate) fn left(&self) -> (u64, u64) {
        let mut state = self.state.lock();
        self.go_on(&mut state);
        let left = match state.key {
            Some(_) => state.deadline_ns.saturating_sub(self.kernel.now_ns()).max(1),
            None => 0,
        };
        (left, state.interval_ns)
    }

    fn go_on(&self, state: &mut State) {
        if state.catch_up(self.kernel.now_ns()) {
            state.key = Some(self.arm(state.deadline_ns));
        }
    }

    fn arm(&self, deadline_ns: u64) -> TimerKey {
        let me: Weak<Self> = Weak::clone(&self.me);
        self.kernel.timers.set(deadline_ns, me)
    }
}

impl Alarm for TimerFd {
    fn ring(self: Arc<Self>, _now_ns: u64) {
        let mut state = self.state.lock();
        state.key = None;
        state.ticks = state.ticks.saturating_add(1);
        state.resting = state.interval_ns > 0;
        drop(state);
        self.readable.wake();
    }
}

impl File for TimerFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        to: &mut Sink<'_>,
    ) -> SysResult {
        if to.room() < SIZE {
            return Err(Errno::EINVAL.into());
        }
        let mut state = self.state.lock();
        if state.ticks == 0 {
            return call.block_on(open, &self.readable);
        }
        self.go_on(&mut state);
        to.put(&state.ticks.to_ne_bytes())?;
        state.ticks = 0;
        Ok(SIZE)
    }

    fn poll(&self, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        let state = self.state.lock();
        if let Some(waiter) = waiter {
            self.readable.register(waiter);
        }
        Ready::IN.when(state.ticks > 0)
    }

    fn forget(&self, waiter: &Waiter) {
        self.readable.deregister(waiter);
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: self.number };
        Ok(Attributes::anonymous(Kind::CharacterDevice, id, 0o600))
    }

    fn label(&self) -> String {
        String::from("anon_inode:[timerfd]")
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        if let Some(key) = self.state.lock().key.take() {
            self.kernel.timers.cancel(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expirations_are_caught_up_with() {
        let mut state = State {
            deadline_ns: 100,
            interval_ns: 10,
            ticks: 1,
            resting: true,
            ..State::default()
        };
        assert!(state.catch_up(135));
        assert_eq!((state.ticks, state.deadline_ns), (4, 140));
        assert!(!state.catch_up(200), "it runs again");
    }

    #[test]
    fn far_deadlines_do_not_wrap() {
        let mut state = State {
            deadline_ns: 5,
            interval_ns: u64::MAX,
            ticks: 1,
            resting: true,
            ..State::default()
        };
        assert!(state.catch_up(10));
        assert_eq!((state.ticks, state.deadline_ns), (1, u64::MAX));
    }
}
