// SPDX-License-Identifier: MIT
//! Standard input, output and error of the program.

use super::errors::host_error;
use super::link::Sender;
use crate::LaunchError;
use crate::terminal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::isatty;
use std::fmt;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;
use strongroom_wire::frame::DATA_MAX;
use strongroom_wire::message::{Answer, Stream, TerminalSize};

/// Output requests that may wait for a slow reader before the enclave is made to wait.
const QUEUE_MAX: usize = 64;

/// Where a program's standard input comes from and its output goes to.
///
/// Input is read only when the program asks, at most what it asks for, in a thread of its own. A
/// read that never returns holds only that thread.
pub struct Console {
    input: Box<dyn Read + Send>,
    output: Box<dyn Write + Send>,
    error: Box<dyn Write + Send>,
    terminal: [bool; 3],
    size: Option<TerminalSize>,
}

impl fmt::Debug for Console {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Console").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// The other ends of [`Console::piped`].
#[derive(Debug)]
pub struct ConsolePipes {
    /// What is written here the program reads; dropped, the program reads the end.
    pub input: PipeWriter,
    /// What the program wrote to standard output.
    pub output: PipeReader,
    /// What the program wrote to standard error.
    pub error: PipeReader,
}

impl Console {
    /// A console of any readers and writers; none of them is a terminal.
    pub fn new(
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
        error: impl Write + Send + 'static,
    ) -> Self {
        Self {
            input: Box::new(input),
            output: Box::new(output),
            error: Box::new(error),
            terminal: [false; 3],
            size: None,
        }
    }

    /// This process's own standard streams, unbuffered.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Io`] when one of them is closed.
    pub fn inherit() -> Result<Self, LaunchError> {
        let own = |stream: &dyn AsFd| {
            let copy = stream.as_fd().try_clone_to_owned();
            copy.map(|copy| Patient(File::from(copy)))
                .map_err(LaunchError::io("use the standard streams"))
        };
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        let terminal = [isatty(&input), isatty(&output), isatty(&error)];
        let size = if terminal.contains(&true) { terminal::size() } else { None };
        let mut console = Self::new(own(&input)?, own(&output)?, own(&error)?);
        console.terminal = terminal;
        console.size = size;
        Ok(console)
    }

    /// A console of three pipes, for a program that talks to the one in the enclave.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Io`] when the system has no more pipes.
    pub fn piped() -> Result<(Self, ConsolePipes), LaunchError> {
        let pipe = || io::pipe().map_err(LaunchError::io("make a pipe"));
        let (input_end, input) = pipe()?;
        let (output, output_end) = pipe()?;
        let (error, error_end) = pipe()?;
        let console = Self::new(input_end, output_end, error_end);
        Ok((console, ConsolePipes { input, output, error }))
    }

    /// Starts the threads that serve it.
    pub(super) fn serve(self, sender: &Sender) -> ConsoleService {
        let terminal = (self.terminal, self.size);
        let (write, writes) = mpsc::sync_channel::<WriteRequest>(QUEUE_MAX);
        let replies = sender.clone();
        let (mut output, mut error) = (self.output, self.error);
        let writer = std::thread::spawn(move || {
            for WriteRequest { ticket, stream, bytes } in writes {
                let target = match stream {
                    Stream::Output => &mut output,
                    Stream::Error => &mut error,
                };
                let written = target.write_all(&bytes).and_then(|()| target.flush());
                replies.reply(
                    ticket,
                    written.map(|()| Answer::Done).map_err(|error| host_error(&error)),
                );
            }
        });
        ConsoleService { terminal, write, writer, input: Some(self.input), read: None }
    }
}

struct WriteRequest {
    ticket: u64,
    stream: Stream,
    bytes: Vec<u8>,
}

struct ReadRequest {
    ticket: u64,
    max: usize,
}

/// The threads behind a console.
pub(super) struct ConsoleService {
    terminal: ([bool; 3], Option<TerminalSize>),
    write: SyncSender<WriteRequest>,
    writer: JoinHandle<()>,
    input: Option<Box<dyn Read + Send>>,
    read: Option<mpsc::Sender<ReadRequest>>,
}

impl ConsoleService {
    /// Which streams are terminals, and the size.
    pub(super) const fn terminal(&self) -> ([bool; 3], Option<TerminalSize>) {
        self.terminal
    }

    /// Queues bytes for output; waits when the queue is full.
    pub(super) fn write(&self, ticket: u64, stream: Stream, bytes: &[u8]) {
        // The writer lives until `finish`.
        let _ = self.write.send(WriteRequest { ticket, stream, bytes: bytes.to_vec() });
    }

    /// Queues a request for input.
    pub(super) fn read(&mut self, ticket: u64, max: u32, sender: &Sender) {
        let max = usize::try_from(max).unwrap_or(DATA_MAX).min(DATA_MAX);
        if let Some(input) = self.input.take() {
            self.read = Some(start_reader(input, sender.clone()));
        }
        if let Some(read) = &self.read {
            // The reader lives as long as this end.
            let _ = read.send(ReadRequest { ticket, max });
        }
    }

    /// Waits until all output is written. A pending read is left behind.
    pub(super) fn finish(self) {
        drop(self.write);
        // A panic in it has been reported by then.
        let _ = self.writer.join();
    }
}

fn start_reader(mut input: Box<dyn Read + Send>, sender: Sender) -> mpsc::Sender<ReadRequest> {
    let (read, reads) = mpsc::channel::<ReadRequest>();
    std::thread::spawn(move || {
        let mut buffer = vec![0; DATA_MAX];
        for ReadRequest { ticket, max } in reads {
            let room = buffer.get_mut(..max).unwrap_or_default();
            let result = loop {
                match input.read(room) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
            match result {
                Ok(count) => {
                    let data = room.get(..count).unwrap_or_default();
                    sender.reply(ticket, Ok(Answer::Data(data)));
                }
                Err(error) => sender.reply(ticket, Err(host_error(&error))),
            }
        }
    });
    read
}

/// A descriptor that waits even when whoever gave it to us has made it non-blocking.
struct Patient(File);

impl Patient {
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        poll(&mut [PollFd::new(&self.0, flags)], None)?;
        Ok(())
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN)?;
                }
                result => return result,
            }
        }
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
