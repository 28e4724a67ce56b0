// SPDX-License-Identifier: MIT
//! Futexes (`futex(2)`): queues of threads by word.

use crate::fs::InodeId;
use crate::memory::Memory;
use crate::sync::Scheduler;
use crate::task::Thread;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
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

/// Queues; words are spread over them.
const BUCKETS: usize = 64;

struct Waiting {
    key: FutexKey,
    thread: Arc<Thread>,
    bits: u32,
}

/// A queue, in the order of arrival. Its room is kept when it empties.
type Bucket = Mutex<Vec<Waiting>>;

/// All futexes of the kernel. [`Thread::futex`] says in which bucket a thread waits.
pub(crate) struct Futexes {
    scheduler: &'static Scheduler,
    buckets: [Bucket; BUCKETS],
}

impl Futexes {
    /// Nobody waits.
    pub(crate) fn new(scheduler: &'static Scheduler) -> Self {
        Self { scheduler, buckets: [const { Mutex::new(Vec::new()) }; BUCKETS] }
    }

    /// Queues a thread if the word still holds `expected`; `EAGAIN` if not. The test and the
    /// queueing are one step.
    pub(crate) fn enqueue(
        &self,
        thread: &Arc<Thread>,
        memory: &Memory,
        key: FutexKey,
        address: usize,
        expected: u32,
        bits: u32,
    ) -> Result<Result<(), Errno>, Fault> {
        self.forget(thread);
        let number = key.bucket();
        let Some(bucket) = self.buckets.get(number) else { return Ok(Err(Errno::EAGAIN)) };
        let mut bucket = bucket.lock();
        if memory.space().load_u32(address)? != expected {
            return Ok(Err(Errno::EAGAIN));
        }
        bucket.push(Waiting { key, thread: Arc::clone(thread), bits });
        thread.futex.store(number + 1, Ordering::Relaxed);
        Ok(Ok(()))
    }

    /// Whether a thread is still queued.
    pub(crate) fn is_waiting(&self, thread: &Thread) -> bool {
        thread.futex.load(Ordering::Relaxed) != 0
    }

    /// Takes a thread out of its queue.
    pub(crate) fn forget(&self, thread: &Thread) {
        let Some(number) = thread.futex.swap(0, Ordering::Relaxed).checked_sub(1) else { return };
        if let Some(bucket) = self.buckets.get(number) {
            bucket.lock().retain(|waiter| waiter.thread.key != thread.key);
        }
    }

    /// Wakes up to `count` threads whose bits meet `bits`; returns how many.
    pub(crate) fn wake(&self, key: FutexKey, count: usize, bits: u32) -> usize {
        let Some(bucket) = self.buckets.get(key.bucket()) else { return 0 };
        let mut bucket = bucket.lock();
        let mut woken = 0;
        let mut position = 0;
        while woken < count
            && let Some(waiter) = bucket.get(position)
        {
            if waiter.key != key || waiter.bits & bits == 0 {
                position += 1;
                continue;
            }
            let waiter = bucket.remove(position);
            waiter.thread.futex.store(0, Ordering::Relaxed);
            self.scheduler.wake(waiter.thread.key);
            woken += 1;
        }
        woken
    }

    /// Moves up to `count` threads from one word to another; returns how many.
    pub(crate) fn requeue(&self, from: FutexKey, to: FutexKey, count: usize) -> usize {
        let mut moved: Vec<Waiting> = Vec::new();
        if let Some(bucket) = self.buckets.get(from.bucket()) {
            let mut bucket = bucket.lock();
            let mut position = 0;
            while moved.len() < count
                && let Some(waiter) = bucket.get(position)
            {
                if waiter.key == from {
                    moved.push(bucket.remove(position));
                } else {
                    position += 1;
                }
            }
        }
        let number = moved.len();
        if let Some(bucket) = self.buckets.get(to.bucket()) {
            let mut bucket = bucket.lock();
            for waiter in moved {
                waiter.thread.futex.store(to.bucket() + 1, Ordering::Relaxed);
                bucket.push(Waiting { key: to, ..waiter });
            }
        }
        number
    }
}

impl FutexKey {
    fn bucket(self) -> usize {
        let mixed = match self {
            Self::Private { space, address } => space >> 6 ^ address >> 2,
            Self::Shared { object, offset } => (object.number ^ offset >> 2) as usize,
        };
        (mixed ^ mixed >> 6 ^ mixed >> 12) % BUCKETS
    }
}
