// SPDX-License-Identifier: MIT
//! Frames over a connection that the host carries, with a time by which they have to come.

use crate::kernel::Kernel;
use crate::net::Connection;
use crate::sync::{Alarm, ThreadKey, WaitQueue, Waiter};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::Poll;
use strongroom_session::{Frames, SessionError};

/// Most bytes that are taken from the connection at once.
const PIECE: usize = 32 * 1024;

/// Why there is no frame.
#[derive(Debug)]
pub(super) enum Lost {
    /// The connection has ended.
    Ended,
    /// The client took too long.
    TimedOut,
    /// What came is not part of a session.
    Session(SessionError),
}

/// See the module's text.
pub(super) struct Pipe {
    kernel: &'static Kernel,
    waiter: Waiter,
    connection: Connection,
    /// Woken when the connection has something to say.
    queue: Arc<WaitQueue>,
    frames: Frames,
    deadline_ns: u64,
    alarm: Arc<Wakeup>,
}

/// Wakes a future when its time has come.
struct Wakeup {
    kernel: &'static Kernel,
    key: ThreadKey,
}

impl Alarm for Wakeup {
    fn ring(self: Arc<Self>, _now_ns: u64) {
        self.kernel.scheduler.wake(self.key);
    }
}

impl Pipe {
    /// For the future `key`, which has this much time.
    pub(super) fn new(
        kernel: &'static Kernel,
        key: ThreadKey,
        connection: Connection,
        queue: Arc<WaitQueue>,
        time_ns: u64,
    ) -> Self {
        let mut pipe = Self {
            kernel,
            waiter: Waiter::Thread(key),
            connection,
            queue,
            frames: Frames::default(),
            deadline_ns: 0,
            alarm: Arc::new(Wakeup { kernel, key }),
        };
        pipe.set_time(time_ns);
        pipe
    }

    /// From now on there is this much time.
    pub(super) fn set_time(&mut self, time_ns: u64) {
        self.deadline_ns = self.kernel.now_ns().saturating_add(time_ns);
    }

    /// The future that it belongs to.
    pub(super) fn key(&self) -> ThreadKey {
        self.alarm.key
    }

    /// Who is woken when the connection has something to say.
    pub(super) const fn waiter(&self) -> &Waiter {
        &self.waiter
    }

    /// The queue that wakes it.
    pub(super) const fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }

    /// The next frame, of at most `max` bytes.
    pub(super) async fn receive(&mut self, max: usize) -> Result<Vec<u8>, Lost> {
        self.in_time(|pipe| pipe.poll(max)).await
    }

    /// What `look` finds; it is asked again whenever something has woken the client's future.
    pub(super) async fn wait<T>(&mut self, look: impl Fn(&Self) -> Option<T>) -> Result<T, Lost> {
        self.in_time(|pipe| match look(pipe) {
            Some(found) => Poll::Ready(Ok(found)),
            None => pipe.check().map_or(Poll::Pending, |lost| Poll::Ready(Err(lost))),
        })
        .await
    }

    /// Polls, and once more when there is no more time.
    async fn in_time<T>(&mut self, mut poll: impl FnMut(&mut Self) -> Poll<T>) -> T {
        let alarm = Arc::downgrade(&self.alarm);
        let alarm: Weak<dyn Alarm> = alarm;
        let timer = self.kernel.timers.set(self.deadline_ns, alarm);
        let outcome = poll_fn(|_| {
            // First: what comes between the look and the registration would be missed.
            self.queue.register(&self.waiter);
            poll(self)
        })
        .await;
        self.kernel.timers.cancel(timer);
        outcome
    }

    /// A frame if one is there. The future is registered to be woken when more comes.
    pub(super) fn poll(&mut self, max: usize) -> Poll<Result<Vec<u8>, Lost>> {
        loop {
            match self.frames.next(max) {
                Ok(Some(frame)) => return Poll::Ready(Ok(frame)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(Lost::Session(error))),
            }
            let Some(bytes) = self.connection.incoming.take(PIECE) else { break };
            if let Err(error) = self.frames.push(&bytes) {
                return Poll::Ready(Err(Lost::Session(error)));
            }
        }
        self.check().map_or(Poll::Pending, |lost| Poll::Ready(Err(lost)))
    }

    /// Why nothing more comes.
    fn check(&self) -> Option<Lost> {
        if self.kernel.now_ns() >= self.deadline_ns {
            return Some(Lost::TimedOut);
        }
        let input = self.connection.incoming.snapshot();
        // Bytes may have come just before the end: they are looked at first.
        ((input.ended || input.broken) && !input.readable).then_some(Lost::Ended)
    }

    /// Whether the client takes in what is sent. Asking has the future woken once it does again.
    pub(super) fn has_room(&self) -> bool {
        self.connection.outgoing.snapshot().writable
    }

    /// Sends. A client that does not take it in is noticed by what it does not send.
    pub(super) fn send(&self, bytes: Vec<u8>) {
        self.connection.outgoing.put(bytes);
    }

    /// Lets a client take in the last words: what it still sends is dropped, for a connection that is
    /// closed with bytes unread is reset, and the last words may go with it.
    pub(super) async fn linger(&mut self, time_ns: u64) {
        self.connection.outgoing.end();
        self.frames = Frames::default();
        self.set_time(time_ns);
        while self.receive(usize::from(u16::MAX)).await.is_ok() {}
    }

    /// The connection, for whoever goes on with it.
    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }
}
