// SPDX-License-Identifier: MIT
//! Points in time at which something happens.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// Told when its time has come.
pub(crate) trait Alarm: Send + Sync {
    /// Called outside all locks of the timer queue; may set timers again.
    fn ring(self: Arc<Self>, now_ns: u64);
}

/// Names a timer that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    deadline_ns: u64,
    number: u64,
}

#[derive(Default)]
struct Inner {
    next: u64,
    timers: BTreeMap<TimerKey, Weak<dyn Alarm>>,
}

/// All timers of the kernel, on the monotonic clock.
pub(crate) struct Timers {
    inner: Mutex<Inner>,
    /// The first deadline, to be looked at without the lock; `u64::MAX` where none is set.
    next_ns: AtomicU64,
}

impl Default for Timers {
    fn default() -> Self {
        Self { inner: Mutex::default(), next_ns: AtomicU64::new(u64::MAX) }
    }
}

impl Timers {
    /// Sets a timer.
    pub(crate) fn set(&self, deadline_ns: u64, alarm: Weak<dyn Alarm>) -> TimerKey {
        let mut inner = self.inner.lock();
        let key = TimerKey { deadline_ns, number: inner.next };
        inner.next += 1;
        inner.timers.insert(key, alarm);
        self.note_next(&inner);
        key
    }

    /// Takes a timer back; one that rang already is no error.
    pub(crate) fn cancel(&self, key: TimerKey) {
        let mut inner = self.inner.lock();
        inner.timers.remove(&key);
        self.note_next(&inner);
    }

    /// The next deadline.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        let next = self.next_ns.load(Ordering::Relaxed);
        (next != u64::MAX).then_some(next)
    }

    fn note_next(&self, inner: &Inner) {
        let first = inner.timers.first_key_value();
        let next = first.map_or(u64::MAX, |(key, _)| key.deadline_ns);
        self.next_ns.store(next, Ordering::Relaxed);
    }

    /// Rings all whose time has come.
    pub(crate) fn expire(&self, now_ns: u64) {
        loop {
            let alarm = {
                let mut inner = self.inner.lock();
                let alarm = match inner.timers.first_entry() {
                    Some(entry) if entry.key().deadline_ns <= now_ns => entry.remove(),
                    Some(_) | None => return,
                };
                self.note_next(&inner);
                alarm
            };
            if let Some(alarm) = alarm.upgrade() {
                alarm.ring(now_ns);
            }
        }
    }
}
