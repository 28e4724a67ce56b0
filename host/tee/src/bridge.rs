// SPDX-License-Identifier: MIT
//! A stream on one side, turns on the other.

use crate::TeeError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use strongroom_wire::frame::{self, HEADER_LEN};
use strongroom_wire::turn::{self, HEADER, Outgoing, State, Turn};

/// Bytes taken from the stream at once.
const CHUNK: usize = 64 * 1024;
const SECOND_NS: u64 = 1_000_000_000;

/// Something with the buffer of [`strongroom_wire::turn`] that takes turns when it is called.
pub trait Called {
    /// Copies into the buffer.
    fn write(&mut self, offset: usize, bytes: &[u8]);
    /// Copies out of the buffer.
    fn read(&self, offset: usize, bytes: &mut [u8]);
    /// Takes a turn.
    ///
    /// # Errors
    ///
    /// [`TeeError`] when it did not.
    fn call(&mut self) -> Result<(), TeeError>;
}

/// Carries messages until one of the two sides ends.
#[derive(Debug)]
pub struct Bridge<C> {
    called: C,
    stream: UnixStream,
    number: u64,
    /// Bytes from the stream that no turn has taken.
    waiting: Vec<u8>,
    /// The stream's other end is gone.
    hung_up: bool,
    turns: u64,
}

impl<C: Called> Bridge<C> {
    /// Between a trusted application that has taken no turn yet and the stream to its session.
    pub const fn new(called: C, stream: UnixStream) -> Self {
        Self { called, stream, number: 1, waiting: Vec::new(), hung_up: false, turns: 0 }
    }

    /// Carries messages to the end; how many turns were taken.
    ///
    /// # Errors
    ///
    /// [`TeeError`] when it did not come to an orderly end.
    pub fn run(mut self) -> Result<u64, TeeError> {
        loop {
            self.take_in()?;
            if self.hung_up {
                return Ok(self.turns);
            }
            match self.turn()? {
                State::Busy => {}
                State::Idle { wait_ns } => self.wait(wait_ns)?,
                State::Ended => {
                    // The session has the enclave's last words, and ends by itself.
                    let _ = self.stream.shutdown(Shutdown::Write);
                    return Ok(self.turns);
                }
            }
        }
    }

    /// Takes what has arrived on the stream, without waiting.
    fn take_in(&mut self) -> Result<(), TeeError> {
        let mut chunk = vec![0; CHUNK];
        while self.waiting.len() < turn::AREA {
            match recv(&self.stream, &mut chunk[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.hung_up = true;
                    return Ok(());
                }
                Ok((count, _)) => self.waiting.extend(chunk.iter().take(count)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => self.hung_up = true,
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// Whole messages of the stream, as many as fit into a turn.
    fn messages(&mut self) -> Result<Outgoing, TeeError> {
        let mut outgoing = Outgoing::default();
        let mut taken = 0;
        while let Some((header, rest)) =
            self.waiting.get(taken..).and_then(|rest| rest.split_first_chunk::<HEADER_LEN>())
        {
            let length = frame::length(*header)
                .map_err(|_| TeeError::Protocol("the session's stream is not framed"))?;
            let Some(message) = rest.get(..length) else { break };
            if !outgoing.push(message) {
                break;
            }
            taken += HEADER_LEN + length;
        }
        self.waiting.drain(..taken);
        Ok(outgoing)
    }

    fn turn(&mut self) -> Result<State, TeeError> {
        let outgoing = self.messages()?;
        self.called.write(turn::HOST_AREA_AT, outgoing.bytes());
        self.called.write(0, &Turn::of_host(self.number, outgoing.bytes().len()).encode());
        self.called.call()?;
        self.turns += 1;
        let mut header = [0; HEADER];
        self.called.read(HEADER, &mut header);
        let answer = Turn::decode(&header, self.number)
            .map_err(|_| TeeError::Protocol("its header is malformed"))?;
        self.number += 1;
        let mut area = vec![0; answer.length];
        self.called.read(turn::ENCLAVE_AREA_AT, &mut area);
        turn::messages(&area).map_err(|_| TeeError::Protocol("its messages are not framed"))?;
        if let Err(error) = self.stream.write_all(&area) {
            // A session that has all it wants hangs up.
            self.hung_up |= error.kind() == std::io::ErrorKind::BrokenPipe;
            if !self.hung_up {
                return Err(error.into());
            }
        }
        Ok(answer.state)
    }

    /// Waits for the stream, or until the enclave wants a turn.
    fn wait(&self, wait_ns: Option<u64>) -> Result<(), TeeError> {
        // A message that did not fit into the last turn does not wait.
        if self.waiting.len() > HEADER_LEN {
            return Ok(());
        }
        let timeout = wait_ns.map(|wait_ns| Timespec {
            tv_sec: i64::try_from(wait_ns / SECOND_NS).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait_ns % SECOND_NS).unwrap_or(0),
        });
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }
}
