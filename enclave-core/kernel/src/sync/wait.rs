// SPDX-License-Identifier: MIT
//! Queues of those who wait for a condition.
//!
//! An object holds a queue next to the state the condition is about, and wakes it whenever the
//! state changes. Threads are taken out when woken and register again if they have to go on
//! waiting; epoll instances stay until they deregister.

use crate::sync::{Scheduler, ThreadKey};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use spin::Mutex;

/// Told when something it watches may have become ready.
pub(crate) trait EpollWaker: Send + Sync {
    /// Notes it and wakes those who wait on the epoll instance.
    fn notify(&self);
}

/// Who waits.
#[derive(Clone)]
pub(crate) enum Waiter {
    /// A thread, once.
    Thread(ThreadKey),
    /// A watch of an epoll instance, until it is gone.
    Epoll(Weak<dyn EpollWaker>),
}

/// See the module's text.
pub(crate) struct WaitQueue {
    scheduler: &'static Scheduler,
    waiters: Mutex<Vec<Waiter>>,
}

impl WaitQueue {
    /// An empty queue.
    pub(crate) const fn new(scheduler: &'static Scheduler) -> Self {
        Self { scheduler, waiters: Mutex::new(Vec::new()) }
    }

    /// Adds a waiter that is not in the queue yet.
    pub(crate) fn register(&self, waiter: &Waiter) {
        let mut waiters = self.waiters.lock();
        if !waiters.iter().any(|present| present.is(waiter)) {
            if waiters.len() == waiters.capacity() {
                // Those that ended while they waited are not kept for ever.
                waiters.retain(|present| present.exists(self.scheduler));
            }
            waiters.push(waiter.clone());
        }
    }

    /// Takes a waiter out.
    pub(crate) fn deregister(&self, waiter: &Waiter) {
        self.waiters.lock().retain(|present| !present.is(waiter));
    }

    /// Wakes everyone.
    pub(crate) fn wake(&self) {
        let mut waiters = self.waiters.lock();
        if waiters.is_empty() {
            return;
        }
        let mut watches: Vec<Arc<dyn EpollWaker>> = Vec::new();
        waiters.retain(|waiter| match waiter {
            Waiter::Thread(key) => {
                self.scheduler.wake(*key);
                false
            }
            Waiter::Epoll(watch) => {
                let watch = watch.upgrade();
                let alive = watch.is_some();
                watches.extend(watch);
                alive
            }
        });
        drop(waiters);
        // Outside the lock: a notified instance may itself be watched.
        watches.iter().for_each(|watch| watch.notify());
    }
}

impl Waiter {
    fn exists(&self, scheduler: &Scheduler) -> bool {
        match self {
            Self::Thread(key) => scheduler.exists(*key),
            Self::Epoll(watch) => watch.strong_count() > 0,
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Thread(one), Self::Thread(two)) => one == two,
            (Self::Epoll(one), Self::Epoll(two)) => Weak::ptr_eq(one, two),
            (Self::Thread(_), Self::Epoll(_)) | (Self::Epoll(_), Self::Thread(_)) => false,
        }
    }
}
