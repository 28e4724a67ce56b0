// SPDX-License-Identifier: MIT
//! Two channels between two sockets, and the queue of connections that wait to be accepted.

use crate::fs::Ready;
use crate::kernel::Kernel;
use crate::net::ancillary::Label;
use crate::net::patience::Patience;
use crate::net::stream::{Channel, Received, Want};
use crate::net::{Direction, Shutdown};
use crate::outcome::SysResult;
use crate::sync::WaitQueue;
use crate::task::Call;
use crate::user::{Sink, Source};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use spin::Mutex;
use strongroom_abi::Errno;

/// Whose rules a connection follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discipline {
    UnixStream,
    UnixPackets,
    Tcp,
}

/// One end of a connection. Dropping it closes it.
pub(crate) struct Connection {
    pub(crate) incoming: Arc<Channel>,
    pub(crate) outgoing: Arc<Channel>,
    discipline: Discipline,
}

impl Connection {
    /// Both ends, with the queues of their sockets.
    pub(crate) fn pair(
        discipline: Discipline,
        one: &Arc<WaitQueue>,
        other: &Arc<WaitQueue>,
    ) -> (Self, Self) {
        let forth = Channel::new(Arc::clone(other), Arc::clone(one));
        let back = Channel::new(Arc::clone(one), Arc::clone(other));
        let near = Self { incoming: Arc::clone(&back), outgoing: Arc::clone(&forth), discipline };
        (near, Self { incoming: forth, outgoing: back, discipline })
    }

    /// Sends; `EPIPE` when the other end is gone.
    pub(crate) fn send(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
        from: &mut Source<'_>,
        label: &mut Label,
        whole: bool,
    ) -> SysResult {
        match self.discipline {
            Discipline::UnixPackets => self.outgoing.send_message(call, patience, from, label),
            Discipline::UnixStream => self.outgoing.send_stream(call, patience, from, label, whole),
            Discipline::Tcp => self.send_tcp(call, patience, from, label, whole),
        }
    }

    /// TCP learns of a closed peer by the answer to the first segment that it sends there.
    fn send_tcp(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
        from: &mut Source<'_>,
        label: &mut Label,
        whole: bool,
    ) -> SysResult {
        let out = self.outgoing.snapshot();
        if whole && call.progress.done > 0 && (out.refused || out.ended) {
            // What was sent before counts; the error waits for the next call.
            return Ok(call.progress.done);
        }
        if let Some(errno) = self.incoming.take_error() {
            return Err(errno.into());
        }
        if out.refused && !out.ended && !self.incoming.snapshot().broken {
            let count = from.left();
            self.incoming.fail(Errno::EPIPE);
            return Ok(count);
        }
        if out.ended || out.refused {
            return Err(Errno::EPIPE.into());
        }
        self.outgoing.send_stream(call, patience, from, label, whole)
    }

    /// Receives.
    pub(crate) fn receive(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
        to: &mut Sink<'_>,
        want: Want,
    ) -> SysResult<Received> {
        match self.discipline {
            Discipline::UnixPackets => self.incoming.receive_message(call, patience, to, want),
            Discipline::UnixStream | Discipline::Tcp => {
                self.incoming.receive_stream(call, patience, to, want)
            }
        }
    }

    /// `shutdown(2)`.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        if how.covers(Direction::Send) {
            self.outgoing.end();
            if self.discipline != Discipline::Tcp {
                // Further writes of this end fail.
                self.outgoing.seal();
            }
        }
        if how.covers(Direction::Receive) {
            self.incoming.end();
            if self.discipline != Discipline::Tcp {
                self.incoming.seal();
            }
        }
    }

    /// `poll(2)`.
    pub(crate) fn readiness(&self) -> Ready {
        let (input, output) = (self.incoming.snapshot(), self.outgoing.snapshot());
        let closed = match self.discipline {
            Discipline::Tcp => output.ended || input.broken,
            Discipline::UnixStream | Discipline::UnixPackets => output.ended || output.refused,
        };
        Ready::READ.when(input.readable || input.ended)
            | Ready::READ_HANGUP.when(input.ended)
            | Ready::HANGUP.when(input.ended && closed)
            | Ready::ERROR.when(input.failed)
            | Ready::WRITE.when(output.writable || output.refused || output.ended)
    }

    /// Breaks it: the other end is told that it was reset.
    pub(crate) fn reset(&self) {
        self.incoming.refuse();
        self.outgoing.fail(Errno::ECONNRESET);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.incoming.refuse() {
            self.outgoing.fail(Errno::ECONNRESET);
        }
        self.outgoing.end();
    }
}

struct Waiting<T> {
    ends: VecDeque<T>,
    backlog: usize,
    closed: bool,
}

/// Connections that wait to be accepted.
pub(crate) struct Listener<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Arc<WaitQueue>,
    room: WaitQueue,
}

impl<T> Listener<T> {
    /// Nothing waits; `arrived` is woken when something does.
    pub(crate) fn new(kernel: &'static Kernel, arrived: &Arc<WaitQueue>, backlog: usize) -> Self {
        let waiting = Waiting { ends: VecDeque::new(), backlog, closed: false };
        Self {
            waiting: Mutex::new(waiting),
            arrived: Arc::clone(arrived),
            room: WaitQueue::new(kernel.scheduler),
        }
    }

    /// Woken when one was accepted.
    pub(crate) const fn room_queue(&self) -> &WaitQueue {
        &self.room
    }

    /// `listen(2)` again.
    pub(crate) fn set_backlog(&self, backlog: usize) {
        self.waiting.lock().backlog = backlog;
        self.room.wake();
    }

    /// Whether another one may wait.
    pub(crate) fn has_room(&self) -> bool {
        let waiting = self.waiting.lock();
        !waiting.closed && waiting.ends.len() <= waiting.backlog
    }

    /// Whether one waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.lock().ends.is_empty()
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().ends.len()
    }

    /// Waits for room.
    ///
    /// # Errors
    ///
    /// `ECONNREFUSED` when it was closed.
    pub(crate) fn reserve(&self, call: &mut Call<'_>, patience: &Patience) -> SysResult<()> {
        let waiting = self.waiting.lock();
        if waiting.closed {
            return Err(Errno::ECONNREFUSED.into());
        }
        if waiting.ends.len() <= waiting.backlog {
            return Ok(());
        }
        patience.wait(call, &self.room)
    }

    /// Adds one; gives it back when nobody will accept it.
    pub(crate) fn push(&self, end: T) -> Result<(), T> {
        {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Err(end);
            }
            waiting.ends.push_back(end);
        }
        self.arrived.wake();
        Ok(())
    }

    /// Takes the oldest.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it was closed.
    pub(crate) fn accept(&self, call: &mut Call<'_>, patience: &Patience) -> SysResult<T> {
        let end = {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Err(Errno::EINVAL.into());
            }
            match waiting.ends.pop_front() {
                Some(end) => end,
                None => return patience.wait(call, &self.arrived),
            }
        };
        self.room.wake();
        Ok(end)
    }

    /// Takes the oldest, if one waits.
    pub(crate) fn take(&self) -> Option<T> {
        let end = self.waiting.lock().ends.pop_front();
        if end.is_some() {
            self.room.wake();
        }
        end
    }

    /// Accepts nothing more; what waits is returned, to be reset.
    pub(crate) fn close(&self) -> VecDeque<T> {
        let ends = {
            let mut waiting = self.waiting.lock();
            waiting.closed = true;
            core::mem::take(&mut waiting.ends)
        };
        self.room.wake();
        self.arrived.wake();
        ends
    }
}
