// SPDX-License-Identifier: MIT
//! Standard input, output and error of the first process: streams of the host.

use crate::fs::{Attributes, File, FileTable, InodeId, Kind, OpenFile, OpenFlags, Ready};
use crate::host::Ticket;
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::signal::{self, SIGHUP, SIGINT, SIGQUIT};
use crate::sync::{WaitQueue, Waiter};
use crate::task::{Call, Process, Thread};
use crate::user::{Sink, Source};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use spin::Mutex;
use strongroom_wire::message::{Answer, Ask, Stream, TerminalSize};

/// Bytes that may be on their way to the host; then writers wait.
const IN_FLIGHT_MAX: usize = 256 * 1024;
/// Bytes of one message.
const WRITE_MAX: usize = 64 * 1024;
/// Bytes asked for at once.
const READ_MAX: u32 = 64 * 1024;
/// Signals that the host may send to the program.
const FORWARDED: [u8; 6] = [SIGHUP, SIGINT, SIGQUIT, 10, 12, 15];

#[derive(Default)]
struct Output {
    unanswered: VecDeque<(Ticket, usize)>,
    in_flight: usize,
}

#[derive(Default)]
struct Input {
    asked: Option<Ticket>,
    bytes: VecDeque<u8>,
    ended: bool,
}

/// See the module's text.
pub(crate) struct Console {
    kernel: &'static Kernel,
    output: Mutex<Output>,
    input: Mutex<Input>,
    changed: WaitQueue,
}

impl Console {
    fn new(kernel: &'static Kernel) -> Arc<Self> {
        Arc::new(Self {
            kernel,
            output: Mutex::default(),
            input: Mutex::default(),
            changed: WaitQueue::new(kernel.scheduler),
        })
    }

    /// A signal of the host's user.
    pub(crate) fn signal(&self, number: u8) {
        if FORWARDED.contains(&number)
            && let Some(process) = self.kernel.processes.find(1)
        {
            signal::send_to_process(&process, signal::info_kernel(number));
        }
    }

    /// The terminal has another size.
    pub(crate) fn resize(&self, _size: TerminalSize) {
        self.changed.wake();
    }

    /// Forgets what the host has taken; whether there is room.
    fn has_room(&self, output: &mut Output) -> bool {
        while let Some((ticket, length)) = output.unanswered.front() {
            if !ticket.is_answered() {
                break;
            }
            output.in_flight -= length;
            output.unanswered.pop_front();
        }
        output.in_flight < IN_FLIGHT_MAX
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        stream: Stream,
        from: &mut Source<'_>,
    ) -> SysResult {
        let mut output = self.output.lock();
        if !self.has_room(&mut output) {
            if let Some((ticket, _)) = output.unanswered.front() {
                ticket.register(&call.waiter());
            }
            return call.block_on(open, &self.changed);
        }
        let bytes = from.take_vec(WRITE_MAX)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let ticket = self.kernel.host.ask(Ask::ConsoleWrite { stream, bytes: &bytes });
        output.in_flight += bytes.len();
        output.unanswered.push_back((ticket, bytes.len()));
        Ok(bytes.len())
    }

    /// Takes what has arrived, and asks for more where nothing is left.
    fn pump(&self, input: &mut Input, waiter: Option<&Waiter>) {
        if let Some(reply) = input.asked.as_ref().and_then(Ticket::take) {
            input.asked = None;
            match reply.answer() {
                Ok(Answer::Data(bytes)) if !bytes.is_empty() => input.bytes.extend(bytes),
                Ok(_) | Err(_) => input.ended = true,
            }
        }
        if input.bytes.is_empty() && !input.ended {
            let host = self.kernel.host;
            let ticket =
                input.asked.get_or_insert_with(|| host.ask(Ask::ConsoleRead { max: READ_MAX }));
            if let Some(waiter) = waiter {
                ticket.register(waiter);
            }
        }
    }

    fn read(&self, call: &mut Call<'_>, open: &OpenFile, to: &mut Sink<'_>) -> SysResult {
        let mut input = self.input.lock();
        self.pump(&mut input, Some(&call.waiter()));
        if input.bytes.is_empty() {
            return if input.ended { Ok(0) } else { call.block_on(open, &self.changed) };
        }
        let bytes: Vec<u8> = input.bytes.iter().copied().take(to.room()).collect();
        let count = to.put(&bytes)?;
        input.bytes.drain(..count);
        Ok(count)
    }
}

/// One of the three streams.
struct ConsoleFile {
    console: Arc<Console>,
    /// `None` for standard input.
    stream: Option<Stream>,
}

impl File for ConsoleFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        to: &mut Sink<'_>,
    ) -> SysResult {
        self.console.read(call, open, to)
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        self.console.write(call, open, self.stream.unwrap_or(Stream::Output), from)
    }

    fn poll(&self, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        if self.stream.is_some() {
            return Ready::WRITE;
        }
        let mut input = self.console.input.lock();
        self.console.pump(&mut input, waiter);
        Ready::READ.when(!input.bytes.is_empty() || input.ended)
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let number = match self.stream {
            None => 1,
            Some(Stream::Output) => 2,
            Some(Stream::Error) => 3,
        };
        let id = InodeId { device: 0, number };
        Ok(Attributes::anonymous(Kind::Fifo, id, 0o600))
    }

    fn label(&self) -> String {
        String::from("pipe:[1]")
    }
}

/// The descriptors that the first process starts with.
pub(crate) fn console_files(
    kernel: &'static Kernel,
    _process: &Arc<Process>,
    _terminal: [bool; 3],
    _size: TerminalSize,
) -> SysResult<FileTable> {
    let console = Arc::clone(kernel.console.call_once(|| Console::new(kernel)));
    let files = FileTable::default();
    let streams = [
        (None, OpenFlags::empty()),
        (Some(Stream::Output), OpenFlags::WRITE_ONLY),
        (Some(Stream::Error), OpenFlags::WRITE_ONLY),
    ];
    for (stream, flags) in streams {
        let file = Arc::new(ConsoleFile { console: Arc::clone(&console), stream });
        files.insert(OpenFile::new(kernel, file, None, flags), false, 0, 3)?;
    }
    Ok(files)
}
