// SPDX-License-Identifier: MIT
//! Points in time at which something happens.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
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
#[derive(Default)]
pub(crate) struct Timers {
    inner: Mutex<Inner>,
}

impl Timers {
    /// Sets a timer.
    pub(crate) fn set(&self, deadline_ns: u64, alarm: Weak<dyn Alarm>) -> TimerKey {
        let mut inner = self.inner.lock();
        let key = TimerKey { deadline_ns, number: inner.next };
        inner.next += 1;
        inner.timers.insert(key, alarm);
        key
    }

    /// Takes a timer back; one that rang already is no error.
    pub(crate) fn cancel(&self, key: TimerKey) {
        self.inner.lock().timers.remove(&key);
    }

    /// The next deadline.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.inner.lock().timers.first_key_value().map(|(key, _)| key.deadline_ns)
    }

    /// Rings all whose time has come.
    pub(crate) fn expire(&self, now_ns: u64) {
        loop {
            let alarm = {
                let mut inner = self.inner.lock();
                match inner.timers.first_entry() {
                    Some(entry) if entry.key().deadline_ns <= now_ns => entry.remove(),
                    Some(_) | None => return,
                }
            };
            if let Some(alarm) = alarm.upgrade() {
                alarm.ring(now_ns);
            }
        }
    }
}
