// SPDX-License-Identifier: MIT
//! The framed stream to the enclave: many writers, one reader.

use crate::LaunchError;
use rustix::net::RecvFlags;
use std::collections::HashSet;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_wire::frame::{self, HEADER_LEN};
use strongroom_wire::message::{Answer, HostError, ToEnclave};

/// Most requests that may wait for an answer at a time.
const OPEN_MAX: usize = 4096;

/// Sends messages; clones share the stream, and each message goes out whole.
#[derive(Clone, Debug)]
pub(super) struct Sender(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: Mutex<UnixStream>,
    /// Tickets that wait for an answer.
    open: Mutex<HashSet<u64>>,
}

impl Sender {
    pub(super) fn new(stream: UnixStream) -> Self {
        let open = Mutex::new(HashSet::new());
        Self(Arc::new(Shared { stream: Mutex::new(stream), open }))
    }

    /// Notes that a ticket waits for an answer.
    pub(super) fn open(&self, ticket: u64) -> Result<(), LaunchError> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_MAX {
            let words = format!("more than {OPEN_MAX} requests wait for an answer");
            return Err(LaunchError::Protocol(words));
        }
        if open.insert(ticket) {
            return Ok(());
        }
        Err(LaunchError::Protocol(format!("ticket {ticket} is used twice")))
    }

    /// Sends one message. An enclave that is gone is noticed by the reader, so errors end here.
    pub(super) fn send(&self, message: &ToEnclave<'_>) {
        let Ok(body) = postcard::to_allocvec(message) else { return };
        let Ok(header) = frame::header(body.len()) else { return };
        let mut bytes = Vec::with_capacity(HEADER_LEN + body.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&body);
        let mut stream = self.0.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stream.write_all(&bytes);
    }

    /// Answers a request; ticket 0 wants no answer.
    pub(super) fn reply(&self, ticket: u64, result: Result<Answer<'_>, HostError>) {
        if ticket != 0 {
            self.0.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
            self.send(&ToEnclave::Reply { ticket, result });
        }
    }
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
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(Received::Nothing),
            Err(rustix::io::Errno::CONNRESET) => Ok(Received::End),
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
