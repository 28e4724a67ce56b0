// SPDX-License-Identifier: MIT
//! The framed stream to the enclave: many writers, one reader.

use crate::LaunchError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_wire::frame::{self, HEADER_LEN};
use strongroom_wire::message::{Answer, HostError, ToEnclave};

/// Most requests that may wait for an answer at a time.
const OPEN_MAX: usize = 4096;
/// Most bytes that may wait for an enclave that does not take them in.
const QUEUE_MAX: usize = 64 * 1024 * 1024;

/// Sends messages; clones share the stream, and each message goes out whole.
///
/// Sending never waits for the enclave: it may itself be waiting for us to take in what it sends.
/// What the stream does not take at once is queued, and a thread started for the purpose.
#[derive(Clone, Debug)]
pub(super) struct Sender(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    outgoing: Mutex<Outgoing>,
    /// Tickets that wait for an answer.
    open: Mutex<HashSet<u64>>,
}

#[derive(Debug, Default)]
struct Outgoing {
    /// Goes out before anything else.
    queue: VecDeque<u8>,
    /// A thread is at work on the queue.
    draining: bool,
    /// The queue has been over its limit.
    overrun: bool,
}

impl Sender {
    pub(super) fn new(stream: UnixStream) -> Self {
        let outgoing = Mutex::new(Outgoing::default());
        Self(Arc::new(Shared { stream, outgoing, open: Mutex::new(HashSet::new()) }))
    }

    /// Notes that a ticket waits for an answer.
    pub(super) fn open(&self, ticket: u64) -> Result<(), LaunchError> {
        if lock(&self.0.outgoing).overrun {
            return Err(LaunchError::Protocol("it asks without taking in answers".to_owned()));
        }
        let mut open = lock(&self.0.open);
        if open.len() >= OPEN_MAX {
            let words = format!("more than {OPEN_MAX} requests wait for an answer");
            return Err(LaunchError::Protocol(words));
        }
        if open.insert(ticket) {
            return Ok(());
        }
        Err(LaunchError::Protocol(format!("ticket {ticket} is used twice")))
    }

    /// Answers a request; ticket 0 wants no answer.
    pub(super) fn reply(&self, ticket: u64, result: Result<Answer<'_>, HostError>) {
        if ticket != 0 {
            lock(&self.0.open).remove(&ticket);
            self.send(&ToEnclave::Reply { ticket, result });
        }
    }

    /// Sends one message. An enclave that is gone is noticed by the reader, so errors end here.
    pub(super) fn send(&self, message: &ToEnclave<'_>) {
        let Ok(body) = postcard::to_allocvec(message) else { return };
        let Ok(header) = frame::header(body.len()) else { return };
        let bytes = [&header[..], &body].concat();
        let mut outgoing = lock(&self.0.outgoing);
        let sent = if outgoing.queue.is_empty() { self.0.try_send(&bytes) } else { Some(0) };
        let Some(sent) = sent else { return };
        let rest = bytes.get(sent..).unwrap_or_default();
        if outgoing.queue.len() + rest.len() > QUEUE_MAX {
            outgoing.overrun = true;
            return;
        }
        outgoing.queue.extend(rest);
        if !outgoing.queue.is_empty() && !outgoing.draining {
            outgoing.draining = true;
            let shared = Arc::clone(&self.0);
            std::thread::spawn(move || shared.drain());
        }
    }
}

impl Shared {
    /// Bytes that the stream takes now; `None` when it is cut.
    fn try_send(&self, bytes: &[u8]) -> Option<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.stream, bytes, flags) {
            Ok(count) => Some(count),
            Err(Errno::AGAIN | Errno::INTR) => Some(0),
            Err(_) => None,
        }
    }

    /// Sends the queue as the enclave takes it in.
    fn drain(&self) {
        loop {
            let ready = poll(&mut [PollFd::new(&self.stream, PollFlags::OUT)], None);
            let mut outgoing = lock(&self.outgoing);
            let sent = match ready {
                Ok(_) | Err(Errno::INTR) => self.try_send(outgoing.queue.as_slices().0),
                Err(_) => None,
            };
            match sent {
                Some(sent) => drop(outgoing.queue.drain(..sent)),
                None => outgoing.queue.clear(),
            }
            if outgoing.queue.is_empty() {
                outgoing.draining = false;
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Splits what arrives into messages.
#[derive(Debug)]
pub(super) struct Receiver {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were taken.
    taken: usize,
    /// Bytes of `buffer` that arrived.
    filled: usize,
}

/// What [`Receiver::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes.
    Some,
    /// None at the moment.
    Nothing,
    /// The other side is gone.
    End,
}

impl Receiver {
    pub(super) fn new(stream: UnixStream) -> Self {
        let room = 2 * (HEADER_LEN + frame::MESSAGE_MAX);
        Self { stream, buffer: vec![0; room], taken: 0, filled: 0 }
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Takes in what has arrived, without waiting.
    pub(super) fn receive(&mut self) -> io::Result<Received> {
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match rustix::net::recv(&self.stream, room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Ok(Received::End),
            Ok((count, _)) => {
                self.filled += count;
                Ok(Received::Some)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
            Err(Errno::CONNRESET) => Ok(Received::End),
            Err(error) => Err(error.into()),
        }
    }

    /// The next whole message, if one is there.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, LaunchError> {
        let waiting = self.buffer.get(self.taken..self.filled).unwrap_or_default();
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let length = frame::length(*header).map_err(|_| {
            let announced = u32::from_le_bytes(*header);
            LaunchError::Protocol(format!(
                "it announced a message of {announced} bytes, and 1 to {} are allowed",
                frame::MESSAGE_MAX
            ))
        })?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let body = body.to_vec();
        self.taken += HEADER_LEN + length;
        Ok(Some(body))
    }
}
