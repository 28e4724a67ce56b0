// SPDX-License-Identifier: MIT
//! A stream whose bytes are kept, and a search in them.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

/// What has gone over a stream.
#[derive(Clone, Default)]
pub(crate) struct Tape {
    sent: Arc<Mutex<Vec<u8>>>,
    received: Arc<Mutex<Vec<u8>>>,
}

/// A stream with a tape in it.
pub(crate) struct Tapped<S> {
    stream: S,
    tape: Tape,
}

impl Tape {
    pub(crate) fn of<S>(&self, stream: S) -> Tapped<S> {
        Tapped { stream, tape: self.clone() }
    }

    pub(crate) fn sent(&self) -> Vec<u8> {
        self.sent.lock().unwrap().clone()
    }

    /// Both directions.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.sent(), self.received.lock().unwrap().clone()].concat()
    }
}

impl<S: Read> Read for Tapped<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.tape.received.lock().unwrap().extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

impl<S: Write> Write for Tapped<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(bytes)?;
        self.tape.sent.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// How many stretches of eight bytes of `wanted` are on the tape.
pub(crate) fn sightings(tape: &Tape, wanted: &[u8]) -> usize {
    let all = tape.bytes();
    wanted.windows(8).filter(|part| all.windows(8).any(|seen| seen == *part)).count()
}
