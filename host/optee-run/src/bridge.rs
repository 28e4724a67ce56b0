// SPDX-License-Identifier: MIT
//! A stream on one side, turns on the other.

use crate::RunError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use strongroom_wire::frame::{self, HEADER_LEN};
use strongroom_wire::turn::{self, HEADER, Outgoing, State, Turn};

/// Bytes taken from the stream at once.
const CHUNK: usize = 64 * 1024;
const SECOND_NS: u64 = 1_000_000_000;

/// Something with the buffer of [`strongroom_wire::turn`] that takes turns when it is called.
pub trait Called {
    /// Copies into the buffer.
    ///
    /// # Errors
    ///
    /// [`RunError`] when it is not there any more.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), RunError>;
    /// Copies out of the buffer.
    ///
    /// # Errors
    ///
    /// As for [`Called::write`].
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), RunError>;
    /// Takes a turn.
    ///
    /// # Errors
    ///
    /// [`RunError`] when it did not.
    fn call(&mut self) -> Result<(), RunError>;
}

/// Carries messages until one of the two sides ends.
#[derive(Debug)]
pub struct Bridge<C> {
    called: C,
    input: OwnedFd,
    output: File,
    number: u64,
    /// Bytes of the input that no turn has taken.
    waiting: Vec<u8>,
    /// The session is gone.
    hung_up: bool,
    turns: u64,
}

impl<C: Called> Bridge<C> {
    /// Between a trusted application that has taken no turn yet and its session: `input` is what
    /// the session sends, `output` what it receives. Both may lead to one socket.
    pub fn new(called: C, input: impl Into<OwnedFd>, output: impl Into<OwnedFd>) -> Self {
        let (input, output) = (input.into(), File::from(output.into()));
        Self { called, input, output, number: 1, waiting: Vec::new(), hung_up: false, turns: 0 }
    }

    /// Carries messages to the end; how many turns were taken.
    ///
    /// # Errors
    ///
    /// [`RunError`] when it did not come to an orderly end.
    pub fn run(mut self) -> Result<u64, RunError> {
        loop {
            self.take_in()?;
            if self.hung_up {
                return Ok(self.turns);
            }
            match self.turn()? {
                State::Busy => {}
                State::Idle { wait_ns } => self.wait(wait_ns)?,
                // The session has the enclave's last words, and ends by itself.
                State::Ended => return Ok(self.turns),
            }
        }
    }

    /// Takes what has arrived, without waiting.
    fn take_in(&mut self) -> Result<(), RunError> {
        let mut chunk = vec![0; CHUNK];
        while self.waiting.len() < turn::AREA && self.arrives(Some(&Timespec::default()))? {
            match read(&self.input, &mut chunk[..]) {
                Ok(0) | Err(Errno::CONNRESET) => {
                    self.hung_up = true;
                    return Ok(());
                }
                Ok(count) => self.waiting.extend(chunk.iter().take(count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// Waits for the input, at most so long; whether there is any, or its end.
    fn arrives(&self, timeout: Option<&Timespec>) -> Result<bool, RunError> {
        match poll(&mut [PollFd::new(&self.input, PollFlags::IN)], timeout) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }

    /// Whole messages of the input, as many as fit into a turn.
    fn messages(&mut self) -> Result<Outgoing, RunError> {
        let mut outgoing = Outgoing::default();
        let mut taken = 0;
        while let Some((header, rest)) =
            self.waiting.get(taken..).and_then(|rest| rest.split_first_chunk::<HEADER_LEN>())
        {
            let length = frame::length(*header)
                .map_err(|_| RunError::Protocol("the session's stream is not framed"))?;
            let Some(message) = rest.get(..length) else { break };
            if !outgoing.push(message) {
                break;
            }
            taken += HEADER_LEN + length;
        }
        self.waiting.drain(..taken);
        Ok(outgoing)
    }

    /// Whether a whole message waits for a turn. One that is malformed counts: the turn says so.
    fn has_message(&self) -> bool {
        self.waiting.split_first_chunk::<HEADER_LEN>().is_some_and(|(header, rest)| {
            frame::length(*header).map_or(true, |length| rest.len() >= length)
        })
    }

    fn turn(&mut self) -> Result<State, RunError> {
        let outgoing = self.messages()?;
        self.called.write(turn::HOST_AREA_AT, outgoing.bytes())?;
        self.called.write(0, &Turn::of_host(self.number, outgoing.bytes().len()).encode())?;
        self.called.call()?;
        self.turns += 1;
        let mut header = [0; HEADER];
        self.called.read(HEADER, &mut header)?;
        let answer = Turn::decode(&header, self.number)
            .map_err(|_| RunError::Protocol("its header is malformed"))?;
        self.number += 1;
        let mut area = vec![0; answer.length];
        self.called.read(turn::ENCLAVE_AREA_AT, &mut area)?;
        turn::messages(&area).map_err(|_| RunError::Protocol("its messages are not framed"))?;
        if let Err(error) = self.output.write_all(&area) {
            // A session that has all it wants hangs up.
            self.hung_up |= error.kind() == std::io::ErrorKind::BrokenPipe;
            if !self.hung_up {
                return Err(error.into());
            }
        }
        Ok(answer.state)
    }

    /// Waits for the input, or until the enclave wants a turn.
    fn wait(&self, wait_ns: Option<u64>) -> Result<(), RunError> {
        // A message that did not fit into the last turn does not wait.
        if self.has_message() {
            return Ok(());
        }
        let timeout = wait_ns.map(|wait_ns| Timespec {
            tv_sec: i64::try_from(wait_ns / SECOND_NS).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait_ns % SECOND_NS).unwrap_or(0),
        });
        self.arrives(timeout.as_ref()).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    use strongroom_wire::turn::BUFFER;

    /// A trusted application that says what it is told to, and notes what it hears.
    struct Scripted {
        buffer: Vec<u8>,
        /// Header and area of each turn.
        answers: VecDeque<(Vec<u8>, Vec<u8>)>,
        heard: Vec<Vec<u8>>,
    }

    impl Called for &mut Scripted {
        fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), RunError> {
            self.buffer[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), RunError> {
            bytes.copy_from_slice(&self.buffer[offset..offset + bytes.len()]);
            Ok(())
        }

        fn call(&mut self) -> Result<(), RunError> {
            let header = *self.buffer.first_chunk::<HEADER>().unwrap();
            let turn = Turn::decode(&header, u64::from_le_bytes(header[8..16].try_into().unwrap()));
            let length = turn.unwrap().length;
            let area = &self.buffer[turn::HOST_AREA_AT..turn::HOST_AREA_AT + length];
            let messages = turn::messages(area).unwrap();
            self.heard.extend(messages.into_iter().map(<[u8]>::to_vec));
            let (header, area) = self.answers.pop_front().ok_or(RunError::Dead)?;
            self.buffer[HEADER..HEADER + header.len()].copy_from_slice(&header);
            let at = turn::ENCLAVE_AREA_AT;
            self.buffer[at..at + area.len()].copy_from_slice(&area);
            Ok(())
        }
    }

    fn answer(number: u64, messages: &[&[u8]], state: State) -> (Vec<u8>, Vec<u8>) {
        let mut outgoing = Outgoing::default();
        messages.iter().for_each(|message| assert!(outgoing.push(message)));
        let area = outgoing.bytes().to_vec();
        (Turn { number, length: area.len(), state }.encode().to_vec(), area)
    }

    fn scripted(answers: Vec<(Vec<u8>, Vec<u8>)>) -> Scripted {
        Scripted { buffer: vec![0; BUFFER], answers: answers.into(), heard: Vec::new() }
    }

    fn run(enclave: &mut Scripted, stream: UnixStream) -> Result<u64, RunError> {
        Bridge::new(enclave, stream.try_clone().unwrap(), stream).run()
    }

    #[test]
    fn messages_go_both_ways_until_the_enclave_has_ended() {
        let mut enclave = scripted(vec![
            answer(1, &[b"hello"], State::Busy),
            answer(2, &[], State::Idle { wait_ns: Some(0) }),
            answer(3, &[b"two", b"words"], State::Ended),
        ]);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut both = frame::header(2).unwrap().to_vec();
        both.extend(b"hi");
        // Half of the next message: it waits for the rest.
        both.extend(frame::header(5).unwrap());
        std::io::Write::write_all(&mut ours, &both).unwrap();
        assert_eq!(run(&mut enclave, theirs).unwrap(), 3);
        assert_eq!(enclave.heard, [b"hi".to_vec()]);
        let mut said = Vec::new();
        ours.read_to_end(&mut said).unwrap();
        let messages = turn::messages(&said).unwrap();
        assert_eq!(messages, [&b"hello"[..], b"two", b"words"]);
    }

    #[test]
    fn what_an_enclave_must_not_say_ends_the_bridge() {
        let mut long = answer(1, &[], State::Busy);
        long.0[18] = 0xff;
        let cut = (Turn { number: 1, length: 3, state: State::Busy }.encode().to_vec(), vec![1; 3]);
        for lie in [answer(2, &[], State::Busy), long, cut, (vec![0; HEADER], Vec::new())] {
            let mut enclave = scripted(vec![lie]);
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let ended = run(&mut enclave, theirs);
            assert!(matches!(ended, Err(RunError::Protocol(_))), "{ended:?}");
        }
    }

    #[test]
    fn an_enclave_that_dies_and_a_session_that_hangs_up_are_told_apart() {
        let mut enclave = scripted(Vec::new());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ended = run(&mut enclave, theirs);
        assert!(matches!(ended, Err(RunError::Dead)), "{ended:?}");
        drop(ours);
        let mut enclave = scripted(vec![answer(1, &[], State::Busy)]);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert_eq!(run(&mut enclave, theirs).unwrap(), 0);
        assert_eq!(enclave.heard.len(), 0);
    }
}
