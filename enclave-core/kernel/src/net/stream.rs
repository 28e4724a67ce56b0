// SPDX-License-Identifier: MIT
//! One direction between two sockets: a bounded queue of stretches of bytes.
//!
//! As a stream, stretches are filled up and read across; as a queue of messages, each is one
//! message. UNIX sockets of all types, TCP over loopback, UDP, and granted host sockets are all
//! made of these.

use crate::net::address::Name;
use crate::net::ancillary::{Label, Rights};
use crate::net::patience::Patience;
use crate::outcome::SysResult;
use crate::sync::WaitQueue;
use crate::task::Call;
use crate::user::{Sink, Source};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;
use strongroom_abi::{Errno, SocketCredentials};

/// Bytes that a channel holds, unless a program asks for something else (`wmem_default`).
pub(crate) const CAPACITY: usize = 212_992;
/// What a stretch costs besides its bytes.
const OVERHEAD: usize = 64;
/// Least room of a new stretch of a stream, so that short writes share one.
const STRETCH_MIN: usize = 2048;
/// Largest buffer that is kept for the next stretch.
const SPARE_MAX: usize = 64 * 1024;

struct Stretch {
    bytes: Vec<u8>,
    /// How many of them were read.
    at: usize,
    label: Label,
}

impl Stretch {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

struct State {
    stretches: VecDeque<Stretch>,
    /// Bytes to be read, and with the cost of stretches.
    bytes: usize,
    used: usize,
    capacity: usize,
    /// Nothing more will come.
    ended: bool,
    /// Nobody will read any more.
    refused: bool,
    /// The connection broke; stays when the error was reported.
    broken: bool,
    error: Option<Errno>,
    /// A writer found no room.
    starved: bool,
    spare: Vec<u8>,
}

/// See the module's text.
pub(crate) struct Channel {
    state: Mutex<State>,
    readable: Arc<WaitQueue>,
    writable: Arc<WaitQueue>,
}

/// A channel at a moment, for `poll(2)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) ended: bool,
    pub(crate) refused: bool,
    pub(crate) broken: bool,
    pub(crate) failed: bool,
}

/// How something is to be received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Want {
    /// Leave it in the queue.
    pub(crate) peek: bool,
    /// Wait until the buffer is full; uses the call's progress.
    pub(crate) whole: bool,
    /// Bytes of different senders are not to be mixed.
    pub(crate) credentials: bool,
}

/// What was received.
#[derive(Default)]
pub(crate) struct Received {
    /// Bytes copied.
    pub(crate) count: usize,
    /// Bytes of the message, which may be more.
    pub(crate) length: usize,
    pub(crate) source: Option<Name>,
    pub(crate) credentials: Option<SocketCredentials>,
    pub(crate) rights: Option<Rights>,
}

impl Channel {
    /// An empty channel. Queues are woken when there is something to read, or room again.
    pub(crate) fn new(readable: Arc<WaitQueue>, writable: Arc<WaitQueue>) -> Arc<Self> {
        let state = State {
            stretches: VecDeque::new(),
            bytes: 0,
            used: 0,
            capacity: CAPACITY,
            ended: false,
            refused: false,
            broken: false,
            error: None,
            starved: false,
            spare: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state), readable, writable })
    }

    /// Queue that is woken when there is room again.
    pub(crate) fn room_queue(&self) -> &WaitQueue {
        &self.writable
    }

    /// What `poll(2)` wants to know. Asking while there is no room has the writer woken later.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut state = self.state.lock();
        let writable = state.has_room();
        state.starved |= !writable;
        Snapshot {
            readable: !state.stretches.is_empty(),
            writable,
            ended: state.ended,
            refused: state.refused,
            broken: state.broken,
            failed: state.error.is_some(),
        }
    }

    /// Has the reader look again, for a reason outside the channel.
    pub(crate) fn wake_reader(&self) {
        self.readable.wake();
    }

    /// Bytes that a reader would get: of all stretches, or of the first one.
    pub(crate) fn readable_bytes(&self, messages: bool) -> usize {
        let state = self.state.lock();
        if messages {
            state.stretches.front().map_or(0, |first| first.bytes.len())
        } else {
            state.bytes
        }
    }

    /// Bytes that fit.
    pub(crate) fn room(&self) -> usize {
        self.state.lock().room()
    }

    /// Most bytes that are held.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.state.lock().capacity = capacity;
        self.writable.wake();
    }

    /// The writer has ended: what is there can be read, then comes the end.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.readable.wake();
    }

    /// The reader has ended: what is there is dropped; returns whether there was anything.
    pub(crate) fn refuse(&self) -> bool {
        let dropped = {
            let mut state = self.state.lock();
            state.refused = true;
            state.bytes = 0;
            state.used = 0;
            core::mem::take(&mut state.stretches)
        };
        self.writable.wake();
        !dropped.is_empty()
    }

    /// Nothing more can be written, but what is there can be read.
    pub(crate) fn seal(&self) {
        self.state.lock().refused = true;
        self.writable.wake();
    }

    /// The connection broke: the reader is told after what is there, and the end follows.
    pub(crate) fn fail(&self, errno: Errno) {
        {
            let mut state = self.state.lock();
            state.error = Some(errno);
            state.ended = true;
            state.broken = true;
        }
        self.readable.wake();
    }

    /// Notes an error that ends nothing (a datagram that reached nobody).
    pub(crate) fn note_error(&self, errno: Errno) {
        self.state.lock().error = Some(errno);
        self.readable.wake();
    }

    /// The error that waits, once.
    pub(crate) fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    /// Writes to a stream: all of it if `whole`, which uses the call's progress.
    ///
    /// # Errors
    ///
    /// `EPIPE` when nobody will read it.
    pub(crate) fn send_stream(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
        from: &mut Source<'_>,
        label: &mut Label,
        whole: bool,
    ) -> SysResult {
        let mut done = if whole { call.progress.done } else { 0 };
        from.skip(done);
        while from.left() > 0 {
            let mut state = self.state.lock();
            if state.refused || state.broken {
                return if done > 0 { Ok(done) } else { Err(Errno::EPIPE.into()) };
            }
            let room = state.room();
            if room == 0 {
                state.starved = true;
                if done > 0 && (!whole || patience.is_over(call)) {
                    return Ok(done);
                }
                return patience.wait(call, &self.writable);
            }
            done += state.append(from, room, label)?;
            if whole {
                call.progress.done = done;
            }
            drop(state);
            self.readable.wake();
        }
        Ok(done)
    }

    /// Puts a message into the queue.
    ///
    /// # Errors
    ///
    /// `EPIPE` when nobody will read it, `EMSGSIZE` when it can never fit.
    pub(crate) fn send_message(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
        from: &mut Source<'_>,
        label: &mut Label,
    ) -> SysResult {
        let length = from.left();
        let mut state = self.state.lock();
        if state.refused || state.broken {
            return Err(Errno::EPIPE.into());
        }
        if length + OVERHEAD > state.capacity {
            return Err(Errno::EMSGSIZE.into());
        }
        if state.used + length + OVERHEAD > state.capacity {
            state.starved = true;
            return patience.wait(call, &self.writable);
        }
        let bytes = from.take_vec(length)?;
        state.push(bytes, label);
        drop(state);
        self.readable.wake();
        Ok(length)
    }

    /// Puts bytes of the kernel into a stream, whatever its room: the caller asked for no more.
    pub(crate) fn put(&self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let mut label =
            Label { source: None, credentials: SocketCredentials::default(), rights: None };
        {
            let mut state = self.state.lock();
            if state.refused {
                return;
            }
            state.push(bytes, &mut label);
        }
        self.readable.wake();
    }

    /// Takes the next bytes out of a stream for the kernel; `None` when there are none.
    pub(crate) fn take(&self, max: usize) -> Option<Vec<u8>> {
        let (bytes, wake, finished) = {
            let mut state = self.state.lock();
            let first = state.stretches.front()?;
            let rest = first.rest();
            let bytes = rest.get(..max.min(rest.len())).unwrap_or_default().to_vec();
            let finished = state.consume(bytes.len());
            (bytes, state.relieves(), finished)
        };
        drop(finished);
        if wake {
            self.writable.wake();
        }
        Some(bytes)
    }

    /// Reads from a stream. What carries files is not read beyond.
    pub(crate) fn receive_stream(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
        to: &mut Sink<'_>,
        want: Want,
    ) -> SysResult<Received> {
        let mut received = Received::default();
        if want.whole {
            received.count = call.progress.done;
            to.skip(received.count);
        }
        loop {
            let mut state = self.state.lock();
            if state.stretches.is_empty() {
                if to.room() == 0 || received.count > 0 && (state.ended || patience.is_over(call)) {
                    return Ok(received);
                }
                if let Some(errno) = state.error.take() {
                    return Err(errno.into());
                }
                if state.ended {
                    return Ok(received);
                }
                return patience.wait(call, &self.readable);
            }
            let count = state.copy_stream(to, want, &mut received)?;
            received.count += count;
            if want.peek {
                return Ok(received);
            }
            let finished = state.consume(count);
            let wake = state.relieves();
            drop(state);
            drop(finished);
            if wake {
                self.writable.wake();
            }
            if !want.whole || received.rights.is_some() || to.room() == 0 {
                return Ok(received);
            }
            call.progress.done = received.count;
        }
    }

    /// Takes a message out of the queue; what does not fit is lost.
    pub(crate) fn receive_message(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
        to: &mut Sink<'_>,
        want: Want,
    ) -> SysResult<Received> {
        let mut state = self.state.lock();
        if let Some(errno) = state.error.take() {
            return Err(errno.into());
        }
        let ended = state.ended;
        let Some(first) = state.stretches.front_mut() else {
            return if ended {
                Ok(Received::default())
            } else {
                patience.wait(call, &self.readable)
            };
        };
        let count = to.put(&first.bytes)?;
        let length = first.bytes.len();
        let received = Received {
            count,
            length,
            source: first.label.source.clone(),
            credentials: Some(first.label.credentials),
            rights: first.label.take_rights(want.peek),
        };
        if want.peek {
            return Ok(received);
        }
        let finished = state.stretches.pop_front();
        state.bytes -= length;
        state.used -= length + OVERHEAD;
        let wake = state.relieves();
        drop(state);
        drop(finished);
        if wake {
            self.writable.wake();
        }
        Ok(received)
    }
}

impl Label {
    fn take_rights(&mut self, peek: bool) -> Option<Rights> {
        if peek { self.rights.as_ref().map(Rights::duplicate) } else { self.rights.take() }
    }
}

impl State {
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.used)
    }

    /// Room worth waking a writer for.
    fn has_room(&self) -> bool {
        self.room() >= self.capacity / 4
    }

    /// Whether a starved writer is to be woken now.
    fn relieves(&mut self) -> bool {
        let wake = self.starved && self.has_room();
        self.starved &= !wake;
        wake
    }

    fn push(&mut self, bytes: Vec<u8>, label: &mut Label) {
        self.bytes += bytes.len();
        self.used += bytes.len() + OVERHEAD;
        let label = Label {
            source: label.source.clone(),
            credentials: label.credentials,
            rights: label.rights.take(),
        };
        self.stretches.push_back(Stretch { bytes, at: 0, label });
    }

    /// Takes at most `max` bytes from a writer, into the last stretch where possible.
    fn append(&mut self, from: &mut Source<'_>, max: usize, label: &mut Label) -> SysResult {
        let count = from.left().min(max);
        if let Some(last) = self.stretches.back_mut()
            && label.rights.is_none()
            && last.label.rights.is_none()
            && last.label.credentials == label.credentials
            && last.bytes.capacity() - last.bytes.len() >= count
        {
            let taken = extend(&mut last.bytes, from, count)?;
            self.bytes += taken;
            self.used += taken;
            return Ok(taken);
        }
        let mut bytes = core::mem::take(&mut self.spare);
        bytes.try_reserve(count.max(STRETCH_MIN)).map_err(|_| Errno::ENOMEM)?;
        let taken = extend(&mut bytes, from, count)?;
        self.push(bytes, label);
        Ok(taken)
    }

    /// Copies what a reader gets; takes or duplicates the files that come with it.
    fn copy_stream(&mut self, to: &mut Sink<'_>, want: Want, received: &mut Received) -> SysResult {
        let mut count = 0;
        for stretch in &mut self.stretches {
            let credentials = stretch.label.credentials;
            let stranger = received.credentials.is_some_and(|other| other != credentials);
            if to.room() == 0 || received.rights.is_some() || want.credentials && stranger {
                break;
            }
            count += to.put(stretch.rest())?;
            received.credentials = Some(credentials);
            if stretch.label.rights.is_some() {
                received.rights = stretch.label.take_rights(want.peek);
            }
        }
        Ok(count)
    }

    /// Drops bytes at the front; returns what is to be dropped outside the lock.
    fn consume(&mut self, mut count: usize) -> Vec<Label> {
        let mut finished = Vec::new();
        self.bytes -= count;
        self.used -= count;
        while let Some(first) = self.stretches.front_mut() {
            let step = first.rest().len().min(count);
            first.at += step;
            count -= step;
            if !first.rest().is_empty() {
                break;
            }
            if let Some(mut stretch) = self.stretches.pop_front() {
                self.used -= OVERHEAD;
                if stretch.bytes.capacity() <= SPARE_MAX {
                    stretch.bytes.clear();
                    self.spare = stretch.bytes;
                }
                if stretch.label.rights.is_some() {
                    finished.push(stretch.label);
                }
            }
            if count == 0 {
                break;
            }
        }
        finished
    }
}

fn extend(bytes: &mut Vec<u8>, from: &mut Source<'_>, count: usize) -> SysResult {
    let before = bytes.len();
    bytes.resize(before + count, 0);
    let taken = match bytes.get_mut(before..) {
        Some(room) => from.take(room),
        None => Ok(0),
    };
    bytes.truncate(before + taken.unwrap_or(0));
    Ok(taken?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::connection::{Connection, Discipline};
    use crate::sync::Scheduler;
    use alloc::boxed::Box;
    use alloc::vec;

    fn queue() -> Arc<WaitQueue> {
        let scheduler: &'static Scheduler = Box::leak(Box::default());
        Arc::new(WaitQueue::new(scheduler))
    }

    #[test]
    fn bytes_come_out_in_order_and_are_accounted_for() {
        let channel = Channel::new(queue(), queue());
        channel.put(vec![1, 2, 3]);
        channel.put(vec![4]);
        channel.put(Vec::new());
        assert_eq!(channel.readable_bytes(false), 4);
        assert_eq!(channel.readable_bytes(true), 3);
        assert_eq!(channel.room(), CAPACITY - 4 - 2 * OVERHEAD);
        assert_eq!(channel.take(2), Some(vec![1, 2]));
        assert_eq!(channel.take(9), Some(vec![3]));
        assert_eq!(channel.take(9), Some(vec![4]));
        assert_eq!(channel.take(9), None);
        assert_eq!(channel.room(), CAPACITY);
    }

    #[test]
    fn a_starved_writer_is_relieved_once_there_is_room_again() {
        let channel = Channel::new(queue(), queue());
        channel.put(vec![0; CAPACITY]);
        assert_eq!(channel.room(), 0);
        assert!(!channel.snapshot().writable);
        channel.take(CAPACITY / 8);
        assert!(channel.state.lock().starved);
        channel.take(CAPACITY / 4);
        assert!(!channel.state.lock().starved);
        assert!(channel.snapshot().writable);
    }

    #[test]
    fn closing_an_end_tells_the_other_whether_something_was_lost() {
        let (near, far) = Connection::pair(Discipline::Tcp, &queue(), &queue());
        far.outgoing.put(vec![1]);
        drop(near);
        assert_eq!(far.incoming.take_error(), Some(Errno::ECONNRESET));
        let (near, far) = Connection::pair(Discipline::Tcp, &queue(), &queue());
        near.outgoing.put(vec![7]);
        drop(near);
        assert_eq!(far.incoming.take_error(), None);
        assert_eq!(far.incoming.take(1), Some(vec![7]));
        let state = far.incoming.snapshot();
        assert!(state.ended && !state.broken);
        assert!(far.outgoing.snapshot().refused);
    }

    #[test]
    fn what_comes_after_the_reader_is_gone_is_dropped() {
        let channel = Channel::new(queue(), queue());
        channel.put(vec![1]);
        assert!(channel.refuse());
        channel.put(vec![2]);
        assert!(!channel.refuse());
        assert_eq!(channel.take(1), None);
        assert_eq!(channel.room(), CAPACITY);
    }
}
