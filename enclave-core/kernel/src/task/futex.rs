// SPDX-License-Identifier: MIT
//! Futexes (`futex(2)`): queues of threads by word.

use crate::fs::InodeId;
use crate::memory::Memory;
use crate::sync::{Scheduler, ThreadKey};
use crate::task::Thread;
use alloc::collections::{BTreeMap, VecDeque};
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_south::Fault;

/// What identifies a word: an address in one address space, or a place in a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FutexKey {
    Private { space: usize, address: usize },
    Shared { object: InodeId, offset: u64 },
}

impl FutexKey {
    /// The key of a word. Private futexes are found without looking at what is mapped.
    pub(crate) fn new(memory: &Memory, address: usize, private: bool) -> Self {
        let shared = if private { None } else { memory.shared_object(address) };
        match shared {
            Some((object, offset)) => Self::Shared { object, offset },
            None => Self::Private { space: memory.identity(), address },
        }
    }
}

#[derive(Clone, Copy)]
struct Waiting {
    thread: ThreadKey,
    bits: u32,
}

#[derive(Default)]
struct Inner {
    queues: BTreeMap<FutexKey, VecDeque<Waiting>>,
    /// Where each waiting thread is queued; a thread that was woken is in here no more.
    waiting: BTreeMap<ThreadKey, FutexKey>,
}

/// All futexes of the kernel.
pub(crate) struct Futexes {
    scheduler: &'static Scheduler,
    inner: Mutex<Inner>,
}

impl Futexes {
    /// Nobody waits.
    pub(crate) fn new(scheduler: &'static Scheduler) -> Self {
        Self { scheduler, inner: Mutex::new(Inner::default()) }
    }

    /// Queues a thread if the word still holds `expected`; `EAGAIN` if not. The test and the
    /// queueing are one step.
    pub(crate) fn enqueue(
        &self,
        thread: &Thread,
        memory: &Memory,
        key: FutexKey,
        address: usize,
        expected: u32,
        bits: u32,
    ) -> Result<Result<(), Errno>, Fault> {
        let mut inner = self.inner.lock();
        if memory.space().load_u32(address)? != expected {
            return Ok(Err(Errno::EAGAIN));
        }
        inner.remove(thread.key);
        inner.queues.entry(key).or_default().push_back(Waiting { thread: thread.key, bits });
        inner.waiting.insert(thread.key, key);
        Ok(Ok(()))
    }

    /// Whether a thread is still queued.
    pub(crate) fn is_waiting(&self, thread: &Thread) -> bool {
        self.inner.lock().waiting.contains_key(&thread.key)
    }

    /// Takes a thread out of its queue.
    pub(crate) fn forget(&self, thread: &Thread) {
        self.inner.lock().remove(thread.key);
    }

    /// Wakes up to `count` threads whose bits meet `bits`; returns how many.
    pub(crate) fn wake(&self, key: FutexKey, count: usize, bits: u32) -> usize {
        let mut inner = self.inner.lock();
        let Inner { queues, waiting } = &mut *inner;
        let Some(queue) = queues.get_mut(&key) else { return 0 };
        let mut woken = 0;
        queue.retain(|waiter| {
            if woken >= count || waiter.bits & bits == 0 {
                return true;
            }
            woken += 1;
            waiting.remove(&waiter.thread);
            self.scheduler.wake(waiter.thread);
            false
        });
        if queue.is_empty() {
            queues.remove(&key);
        }
        woken
    }

    /// Moves up to `count` threads from one word to another; returns how many.
    pub(crate) fn requeue(&self, from: FutexKey, to: FutexKey, count: usize) -> usize {
        let mut inner = self.inner.lock();
        let Inner { queues, waiting } = &mut *inner;
        if from == to {
            return queues.get(&from).map_or(0, |queue| queue.len().min(count));
        }
        let Some(mut queue) = queues.remove(&from) else { return 0 };
        let moved = queue.len().min(count);
        let target = queues.entry(to).or_default();
        for waiter in queue.drain(..moved) {
            waiting.insert(waiter.thread, to);
            target.push_back(waiter);
        }
        if target.is_empty() {
            queues.remove(&to);
        }
        if !queue.is_empty() {
            queues.insert(from, queue);
        }
        moved
    }
}

impl Inner {
    fn remove(&mut self, thread: ThreadKey) {
        let Some(key) = self.waiting.remove(&thread) else { return };
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.retain(|waiter| waiter.thread != thread);
            if queue.is_empty() {
                self.queues.remove(&key);
            }
        }
    }
}
