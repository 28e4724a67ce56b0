// SPDX-License-Identifier: MIT
//! The executor: guest threads are futures in numbered slots, and a queue of those that are ready.
//!
//! Wakers are thread keys, not `core::task::Waker`s: whoever makes a thread ready calls
//! [`Scheduler::wake`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Waker};
use spin::Mutex;

/// A guest thread's life.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Names a thread to the scheduler; stale keys are harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ThreadKey {
    slot: u32,
    generation: u32,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    queued: bool,
    task: Option<Task>,
}

#[derive(Default)]
struct Inner {
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: VecDeque<u32>,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Scheduler {
    inner: Mutex<Inner>,
}

impl Scheduler {
    /// Takes a slot for a thread that will be spawned.
    pub(crate) fn reserve(&self) -> ThreadKey {
        let mut inner = self.inner.lock();
        let slot = if let Some(slot) = inner.free.pop() {
            slot
        } else {
            inner.slots.push(Slot::default());
            u32::try_from(inner.slots.len() - 1).unwrap_or(u32::MAX)
        };
        let generation = inner.slots.get(slot as usize).map_or(0, |slot| slot.generation);
        ThreadKey { slot, generation }
    }

    /// Whether the thread that a key names has not ended.
    pub(crate) fn exists(&self, key: ThreadKey) -> bool {
        let inner = self.inner.lock();
        inner.slots.get(key.slot as usize).is_some_and(|slot| slot.generation == key.generation)
    }

    /// Puts a task into its slot and makes it ready.
    pub(crate) fn spawn(&self, key: ThreadKey, task: Task) {
        if let Some(slot) = self.inner.lock().slots.get_mut(key.slot as usize) {
            slot.task = Some(task);
        }
        self.wake(key);
    }

    /// Makes a thread ready, if it still exists.
    pub(crate) fn wake(&self, key: ThreadKey) {
        let mut inner = self.inner.lock();
        let Some(slot) = inner.slots.get_mut(key.slot as usize) else { return };
        if slot.generation == key.generation && !slot.queued {
            slot.queued = true;
            inner.ready.push_back(key.slot);
        }
    }

    /// Whether another thread could run at this moment.
    pub(crate) fn has_ready(&self) -> bool {
        !self.inner.lock().ready.is_empty()
    }

    /// Polls the thread at the head of the queue; false when the queue is empty.
    pub(crate) fn poll_next(&self) -> bool {
        let number = self.inner.lock().ready.pop_front();
        if let Some(number) = number {
            self.poll_slot(number);
        }
        number.is_some()
    }

    /// Polls a thread out of its turn, if it still exists; not itself from within.
    pub(crate) fn poll_now(&self, key: ThreadKey) {
        if self.exists(key) {
            self.poll_slot(key.slot);
        }
    }

    fn poll_slot(&self, number: u32) {
        let task = {
            let mut inner = self.inner.lock();
            let Some(slot) = inner.slots.get_mut(number as usize) else { return };
            slot.queued = false;
            slot.task.take()
        };
        let Some(mut task) = task else { return };
        let done = task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        let mut inner = self.inner.lock();
        if done {
            inner.retire(number);
        } else if let Some(slot) = inner.slots.get_mut(number as usize) {
            slot.task = Some(task);
        }
    }
}

impl Inner {
    fn retire(&mut self, number: u32) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.task = None;
            slot.queued = false;
            self.ready.retain(|ready| *ready != number);
            self.free.push(number);
        }
    }
}
