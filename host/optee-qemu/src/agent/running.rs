// SPDX-License-Identifier: MIT
//! A command while it runs: one thread, one poll, everything passed on.

use std::{collections::VecDeque, fs::File, io, os::fd::OwnedFd, process::Child};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::commands::{Started, resize};
use crate::protocol::{DATA_MAX, FromGuest, Status, ToGuest, WINDOW, receive, send};

/// Ends the input of a program on a terminal: the `VEOF` character, Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// Which of a command's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Output,
    Errors,
}

pub(super) struct Running<'p> {
    port: &'p File,
    child: Child,
    /// Readable when the child has ended.
    end: OwnedFd,
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    errors: Option<OwnedFd>,
    on_terminal: bool,
    pending: VecDeque<u8>,
    input_ended: bool,
}

/// What poll found.
#[derive(Default)]
struct Found {
    message: bool,
    ended: bool,
    output: bool,
    errors: bool,
    takes_input: bool,
}

impl<'p> Running<'p> {
    pub(super) fn new(port: &'p File, started: Started) -> io::Result<Self> {
        let pid = i32::try_from(started.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the child has no number"))?;
        let flags = fcntl_getfl(&started.input)?;
        fcntl_setfl(&started.input, flags | OFlags::NONBLOCK)?;
        Ok(Self {
            port,
            end: pidfd_open(pid, PidfdFlags::empty())?,
            child: started.child,
            input: Some(started.input),
            output: Some(started.output),
            on_terminal: started.errors.is_none(),
            errors: started.errors,
            pending: VecDeque::new(),
            input_ended: false,
        })
    }

    /// Passes everything on until the command has ended.
    ///
    /// What others hold open after that is not waited for; what was written is sent.
    pub(super) fn finish(mut self) -> io::Result<Status> {
        loop {
            let found = self.poll(None)?;
            if found.message {
                self.take_message()?;
            }
            if found.takes_input {
                self.give_input()?;
            }
            self.pass_on(&found)?;
            if found.ended {
                break;
            }
        }
        loop {
            let found = self.poll(Some(Timespec::default()))?;
            if !(found.output || found.errors) {
                break;
            }
            self.pass_on(&found)?;
        }
        let status = self.child.wait()?;
        use std::os::unix::process::ExitStatusExt as _;
        let number = |code: i32| u8::try_from(code).unwrap_or(u8::MAX);
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => Status::Exited(number(code)),
            (None, signal) => Status::Signaled(number(signal.unwrap_or_default())),
        })
    }

    /// Asks for each of the streams once. The port must not be asked twice in one call: it takes in
    /// what has come whenever it is asked, and if that is behind the first question, neither the
    /// answer nor the interrupt, which then finds nothing to do, wakes anybody.
    fn poll(&self, limit: Option<Timespec>) -> io::Result<Found> {
        let wants_input = !self.pending.is_empty() || self.input_ended;
        let input = self.input.as_ref().filter(|_| wants_input);
        let mut polled =
            vec![PollFd::new(self.port, PollFlags::IN), PollFd::new(&self.end, PollFlags::IN)];
        let outputs = self.output.iter().chain(&self.errors);
        polled.extend(outputs.map(|stream| PollFd::new(stream, PollFlags::IN)));
        polled.extend(input.map(|stream| PollFd::new(stream, PollFlags::OUT)));
        match poll(&mut polled, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Found::default()),
            Err(error) => return Err(error.into()),
        }
        let mut ready = polled.iter().map(|one| !one.revents().is_empty());
        let mut next = |asked: bool| asked && ready.next() == Some(true);
        Ok(Found {
            message: next(true),
            ended: next(true),
            output: next(self.output.is_some()),
            errors: next(self.errors.is_some()),
            takes_input: next(input.is_some()),
        })
    }

    fn take_message(&mut self) -> io::Result<()> {
        match receive(&mut &*self.port)? {
            ToGuest::Input(bytes) => {
                if self.pending.len().saturating_add(bytes.len()) > WINDOW {
                    return Err(io::Error::other("more input than the window holds"));
                }
                if self.input.is_some() {
                    self.pending.extend(bytes);
                } else {
                    // Nobody reads it: taken all the same, so that the sender goes on.
                    self.acknowledge(bytes.len())?;
                }
            }
            ToGuest::InputEnd => self.input_ended = true,
            ToGuest::Resize(size) => {
                if let Some(terminal) = self.output.as_ref().filter(|_| self.on_terminal) {
                    resize(terminal, size)?;
                }
            }
            ToGuest::Run(_) | ToGuest::PowerOff => {
                return Err(io::Error::other("a command runs already"));
            }
        }
        Ok(())
    }

    fn give_input(&mut self) -> io::Result<()> {
        let Some(input) = &self.input else { return Ok(()) };
        let chunk = self.pending.make_contiguous();
        if chunk.is_empty() {
            if self.on_terminal {
                // The terminal stays open for output.
                match rustix::io::write(input, &[END_OF_INPUT]) {
                    Err(Errno::AGAIN) => return Ok(()),
                    Ok(_) | Err(_) => self.input_ended = false,
                }
            } else {
                self.input = None;
            }
            return Ok(());
        }
        let written = match rustix::io::write(input, chunk) {
            Ok(written) => written,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            // The command has closed its input. That is its right.
            Err(_) => {
                self.input = None;
                chunk.len()
            }
        };
        self.pending.drain(..written);
        self.acknowledge(written)
    }

    fn acknowledge(&self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let count = u32::try_from(count).map_err(io::Error::other)?;
        send(&mut &*self.port, &FromGuest::Taken(count))
    }

    fn pass_on(&mut self, found: &Found) -> io::Result<()> {
        if found.output {
            self.pass(Which::Output)?;
        }
        if found.errors {
            self.pass(Which::Errors)?;
        }
        Ok(())
    }

    fn pass(&mut self, which: Which) -> io::Result<()> {
        let stream = match which {
            Which::Output => &mut self.output,
            Which::Errors => &mut self.errors,
        };
        let Some(from) = stream else { return Ok(()) };
        let mut buffer = vec![0; DATA_MAX];
        match rustix::io::read(&*from, &mut buffer) {
            // A terminal that nobody has open any more reads as an I/O error.
            Ok(0) | Err(Errno::IO) => *stream = None,
            Ok(count) => {
                buffer.truncate(count);
                let message = match which {
                    Which::Output => FromGuest::Output(buffer),
                    Which::Errors => FromGuest::Errors(buffer),
                };
                send(&mut &*self.port, &message)?;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
