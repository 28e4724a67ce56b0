// SPDX-License-Identifier: MIT
//! Requests to the host and their answers.
//!
//! A [`Ticket`] stands for one request. Dropping it before the answer came makes the kernel drop
//! the answer when it does. The host can answer late or never; it cannot answer twice, or
//! something that was not asked.

use crate::sync::{Scheduler, WaitQueue, Waiter};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_wire::Untrusted;
use strongroom_wire::message::{Answer, Ask, HostError, ToEnclave, ToHost};

/// An answer as it came: the whole message, well-formed, and for this request.
#[derive(Debug)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    /// What the host said.
    ///
    /// # Errors
    ///
    /// The errno for the host's refusal; `EPROTO` cannot happen for a reply that was received.
    pub(crate) fn answer(&self) -> Result<Answer<'_>, Errno> {
        match Untrusted::new(&self.0).parse() {
            Ok(ToEnclave::Reply { result, .. }) => result.map_err(errno_of),
            Ok(ToEnclave::Signal(_) | ToEnclave::Resize(_)) | Err(_) => Err(Errno::EPROTO),
        }
    }
}

/// What a program is told when the host does not do something.
pub(crate) const fn errno_of(error: HostError) -> Errno {
    match error {
        HostError::NotFound => Errno::ENOENT,
        HostError::Denied => Errno::EACCES,
        HostError::Exists => Errno::EEXIST,
        HostError::NotDirectory => Errno::ENOTDIR,
        HostError::IsDirectory => Errno::EISDIR,
        HostError::NotEmpty => Errno::ENOTEMPTY,
        HostError::NoSpace => Errno::ENOSPC,
        HostError::ReadOnly => Errno::EROFS,
        HostError::Refused => Errno::ECONNREFUSED,
        HostError::Reset => Errno::ECONNRESET,
        HostError::TimedOut => Errno::ETIMEDOUT,
        HostError::Unreachable => Errno::EHOSTUNREACH,
        HostError::InUse => Errno::EADDRINUSE,
        HostError::Invalid => Errno::EINVAL,
        HostError::Unsupported => Errno::EOPNOTSUPP,
        HostError::Failed => Errno::EIO,
    }
}

enum Slot {
    Waiting(Arc<WaitQueue>),
    Answered(Vec<u8>),
}

#[derive(Default)]
struct Inner {
    last_ticket: u64,
    open: BTreeMap<u64, Slot>,
    outbox: VecDeque<Vec<u8>>,
}

/// The kernel's end of the channel.
pub(crate) struct Host {
    scheduler: &'static Scheduler,
    inner: Mutex<Inner>,
}

/// One outstanding request.
pub(crate) struct Ticket {
    host: &'static Host,
    number: u64,
}

impl Host {
    /// Nothing asked yet.
    pub(crate) fn new(scheduler: &'static Scheduler) -> Self {
        Self { scheduler, inner: Mutex::new(Inner::default()) }
    }

    /// Says something that has no answer.
    pub(crate) fn tell(&self, ask: Ask<'_>) {
        self.inner.lock().send(&ToHost { ticket: 0, ask });
    }

    /// Asks something.
    pub(crate) fn ask(&'static self, ask: Ask<'_>) -> Ticket {
        let mut inner = self.inner.lock();
        inner.last_ticket += 1;
        let number = inner.last_ticket;
        let queue = Arc::new(WaitQueue::new(self.scheduler));
        inner.open.insert(number, Slot::Waiting(queue));
        inner.send(&ToHost { ticket: number, ask });
        Ticket { host: self, number }
    }

    /// The next message for the host.
    pub(crate) fn take_message(&self) -> Option<Vec<u8>> {
        self.inner.lock().outbox.pop_front()
    }

    /// Files an answer under its ticket. Answers that nobody waits for are dropped.
    pub(crate) fn file_answer(&self, ticket: u64, message: &[u8]) {
        let queue = {
            let mut inner = self.inner.lock();
            let Some(slot) = inner.open.get_mut(&ticket) else { return };
            let Slot::Waiting(queue) = slot else { return };
            let queue = Arc::clone(queue);
            *slot = Slot::Answered(message.to_vec());
            queue
        };
        queue.wake();
    }
}

impl Inner {
    fn send(&mut self, message: &ToHost<'_>) {
        if let Ok(bytes) = postcard::to_allocvec(message) {
            self.outbox.push_back(bytes);
        }
    }
}

impl Ticket {
    /// The answer, once.
    pub(crate) fn take(&self) -> Option<Reply> {
        let mut inner = self.host.inner.lock();
        match inner.open.get(&self.number) {
            Some(Slot::Answered(_)) => match inner.open.remove(&self.number) {
                Some(Slot::Answered(message)) => Some(Reply(message)),
                Some(Slot::Waiting(_)) | None => None,
            },
            Some(Slot::Waiting(_)) | None => None,
        }
    }

    /// Whether the answer is there.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.host.inner.lock().open.get(&self.number), Some(Slot::Answered(_)))
    }

    /// Registers someone to be woken when the answer comes.
    pub(crate) fn register(&self, waiter: &Waiter) {
        if let Some(Slot::Waiting(queue)) = self.host.inner.lock().open.get(&self.number) {
            queue.register(waiter);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.host.inner.lock().open.remove(&self.number);
    }
}
