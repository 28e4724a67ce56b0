// SPDX-License-Identifier: MIT
//! Futexes (`futex(2)`): queues of threads by word.

use crate::memory::Memory;
use crate::sync::Scheduler;
use crate::task::Thread;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering, fence};
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_south::Fault;

/// What identifies a word: an address in one address space, or a place in a shared object.
///
/// Three numbers rather than an enum: keys are compared and hashed at every wait and wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FutexKey {
    /// Address or offset of the word.
    place: u64,
    /// The address space, or the object's number.
    object: u64,
    /// The object's file system; 0, which no file system has, for an address space.
    device: u64,
}

impl FutexKey {
    /// The key of a word. Private futexes are found without looking at what is mapped.
    pub(crate) fn new(memory: &Memory, address: usize, private: bool) -> Self {
        let shared = if private { None } else { memory.shared_object(address) };
        match shared {
            Some((object, offset)) => {
                Self { place: offset, object: object.number, device: object.device }
            }
            None => Self { place: address as u64, object: memory.identity() as u64, device: 0 },
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
struct Bucket {
    waiting: Mutex<Vec<Waiting>>,
    /// How many are in there, or are about to be: who wakes looks here first. A waiter announces
    /// itself before it looks at the word, and a waker has changed the word before it looks here,
    /// each with a fence in between: one of them sees the other.
    announced: AtomicUsize,
}

impl Bucket {
    const fn empty() -> Self {
        Self { waiting: Mutex::new(Vec::new()), announced: AtomicUsize::new(0) }
    }

    fn announce(&self, waiting: usize) {
        self.announced.store(waiting, Ordering::Relaxed);
    }

    /// Whether nobody waits.
    fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.announced.load(Ordering::Relaxed) == 0
    }
}

/// All futexes of the kernel. [`Thread::futex`] says in which bucket a thread waits.
pub(crate) struct Futexes {
    scheduler: &'static Scheduler,
    buckets: [Bucket; BUCKETS],
}

impl Futexes {
    /// Nobody waits.
    pub(crate) fn new(scheduler: &'static Scheduler) -> Self {
        Self { scheduler, buckets: [const { Bucket::empty() }; BUCKETS] }
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
        let mut waiting = bucket.waiting.lock();
        bucket.announce(waiting.len() + 1);
        fence(Ordering::SeqCst);
        let held = memory.space().load_u32(address);
        if held == Ok(expected) {
            waiting.push(Waiting { key, thread: Arc::clone(thread), bits });
            thread.futex.store(number + 1, Ordering::Relaxed);
        }
        bucket.announce(waiting.len());
        Ok(if held? == expected { Ok(()) } else { Err(Errno::EAGAIN) })
    }

    /// Whether a thread is still queued.
    pub(crate) fn is_waiting(&self, thread: &Thread) -> bool {
        thread.futex.load(Ordering::Relaxed) != 0
    }

    /// Takes a thread out of its queue.
    pub(crate) fn forget(&self, thread: &Thread) {
        let Some(number) = thread.futex.swap(0, Ordering::Relaxed).checked_sub(1) else { return };
        if let Some(bucket) = self.buckets.get(number) {
            let mut waiting = bucket.waiting.lock();
            waiting.retain(|waiter| waiter.thread.key != thread.key);
            bucket.announce(waiting.len());
        }
    }

    /// Wakes up to `count` threads whose bits meet `bits`; returns how many. Most often nobody waits.
    #[inline]
    pub(crate) fn wake(&self, key: FutexKey, count: usize, bits: u32) -> usize {
        match self.buckets.get(key.bucket()) {
            Some(bucket) if !bucket.is_empty() => self.wake_in(bucket, key, count, bits),
            Some(_) | None => 0,
        }
    }

    #[inline(never)]
    fn wake_in(&self, bucket: &Bucket, key: FutexKey, count: usize, bits: u32) -> usize {
        let mut waiting = bucket.waiting.lock();
        let mut woken = 0;
        let mut position = 0;
        while woken < count
            && let Some(Waiting { thread, .. }) = take_next(&mut waiting, &mut position, key, bits)
        {
            thread.futex.store(0, Ordering::Relaxed);
            self.scheduler.wake(thread.key);
            woken += 1;
        }
        bucket.announce(waiting.len());
        woken
    }

    /// Moves up to `count` threads from one word to another; returns how many.
    pub(crate) fn requeue(&self, from: FutexKey, to: FutexKey, count: usize) -> usize {
        let mut moved: Vec<Waiting> = Vec::new();
        if let Some(bucket) = self.buckets.get(from.bucket()) {
            let mut waiting = bucket.waiting.lock();
            let mut position = 0;
            while moved.len() < count
                && let Some(waiter) = take_next(&mut waiting, &mut position, from, u32::MAX)
            {
                moved.push(waiter);
            }
            bucket.announce(waiting.len());
        }
        let number = moved.len();
        if let Some(bucket) = self.buckets.get(to.bucket()) {
            let mut waiting = bucket.waiting.lock();
            for waiter in moved {
                waiter.thread.futex.store(to.bucket() + 1, Ordering::Relaxed);
                waiting.push(Waiting { key: to, ..waiter });
            }
            bucket.announce(waiting.len());
        }
        number
    }
}

/// Takes the first waiter out, from `position` on, that waits for this word and one of these bits.
fn take_next(
    waiters: &mut Vec<Waiting>,
    position: &mut usize,
    key: FutexKey,
    bits: u32,
) -> Option<Waiting> {
    let (_, rest) = waiters.split_at_checked(*position)?;
    let meant = |waiter: &Waiting| waiter.key == key && waiter.bits & bits != 0;
    *position += rest.iter().position(meant)?;
    // Most often nobody is behind it, and nothing has to move.
    let is_last = *position + 1 == waiters.len();
    if is_last { waiters.pop() } else { Some(waiters.remove(*position)) }
}

impl FutexKey {
    fn bucket(self) -> usize {
        let mixed = (self.object >> 6 ^ self.place >> 2) as usize;
        (mixed ^ mixed >> 6 ^ mixed >> 12) % BUCKETS
    }
}
