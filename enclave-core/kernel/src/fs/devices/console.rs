// SPDX-License-Identifier: MIT
//! Standard input, output and error of the first process: streams of the host, or a terminal on
//! top of them where the host has one.

use super::terminal::Terminal;
use crate::fs::{
    Attributes, File, FileTable, Inode, InodeId, Kind, OpenFile, OpenFlags, Place, Ready,
    device_number, memory_fs,
};
use crate::host::Ticket;
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::signal::{self, SIGHUP, SIGINT, SIGQUIT};
use crate::sync::{EpollWaker, WaitQueue, Waiter};
use crate::task::{Call, Process, Thread};
use crate::user::{Sink, Source};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use spin::{Mutex, Once};
use strongroom_abi::WindowSize;
use strongroom_wire::message::{Answer, Ask, Stream, TerminalSize};

/// Bytes that may be on their way to the host; then writers wait.
const IN_FLIGHT_MAX: usize = 256 * 1024;
/// Bytes of one message.
const WRITE_MAX: usize = 64 * 1024;
/// Bytes asked for at once.
const READ_MAX: u32 = 64 * 1024;
/// Bytes asked for at once where somebody types them.
const TYPED_MAX: u32 = 1024;
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
    this: Weak<Console>,
    kernel: &'static Kernel,
    output: Mutex<Output>,
    input: Mutex<Input>,
    changed: WaitQueue,
    /// The terminal, where the host has one.
    terminal: Once<Arc<Terminal>>,
    /// Whether the host's input is the terminal's.
    typed: bool,
    /// The stream that is the terminal's screen.
    screen: Option<Stream>,
}

impl Console {
    fn new(kernel: &'static Kernel, [typed, output, error]: [bool; 3]) -> Arc<Self> {
        let screen = match (output, error) {
            (true, _) => Some(Stream::Output),
            (false, true) => Some(Stream::Error),
            (false, false) => None,
        };
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            kernel,
            output: Mutex::default(),
            input: Mutex::default(),
            changed: WaitQueue::new(kernel.scheduler),
            terminal: Once::new(),
            typed,
            screen,
        })
    }

    /// The terminal, where the host has one.
    pub(super) fn terminal(&self) -> Option<&Arc<Terminal>> {
        self.terminal.get()
    }

    /// A signal of the host's user.
    pub(crate) fn signal(&self, number: u8) {
        if !FORWARDED.contains(&number) {
            return;
        }
        if self.terminal().is_some_and(|terminal| terminal.signal_foreground(number)) {
            return;
        }
        if let Some(process) = self.kernel.processes.find(1) {
            signal::send_to_process(&process, signal::info_kernel(number));
        }
    }

    /// The terminal has another size.
    pub(crate) fn resize(&self, size: TerminalSize) {
        if let Some(terminal) = self.terminal() {
            terminal.resize(window(size));
        }
    }

    /// Shows bytes on the terminal's screen.
    pub(super) fn show(&self, bytes: &[u8]) {
        let Some(stream) = self.screen else { return };
        let mut output = self.output.lock();
        for piece in bytes.chunks(WRITE_MAX) {
            self.send(&mut output, stream, piece);
        }
    }

    /// Whether there is room for output; where not, the waiter is woken when there is.
    pub(super) fn room(&self, waiter: &Waiter) -> bool {
        let mut output = self.output.lock();
        let room = has_room(&mut output);
        if !room && let Some((ticket, _)) = output.unanswered.front() {
            ticket.register(waiter);
        }
        room
    }

    /// Types what has arrived into the terminal, and asks for more where that has room. Not only
    /// when somebody reads: a typed signal has to get through.
    pub(super) fn feed(&self) {
        let Some(terminal) = self.terminal.get().filter(|_| self.typed) else { return };
        let me: Weak<dyn EpollWaker> = self.this.clone();
        let mut input = self.input.lock();
        loop {
            self.pump(&mut input, TYPED_MAX, Some(&Waiter::Epoll(Weak::clone(&me))));
            if input.bytes.is_empty() {
                if input.ended {
                    terminal.end_input();
                }
                return;
            }
            let count = terminal.type_in(input.bytes.make_contiguous());
            if count == 0 {
                return;
            }
            input.bytes.drain(..count);
        }
    }

    fn send(&self, output: &mut Output, stream: Stream, bytes: &[u8]) {
        let ticket = self.kernel.host.ask(Ask::ConsoleWrite { stream, bytes });
        output.in_flight += bytes.len();
        output.unanswered.push_back((ticket, bytes.len()));
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        stream: Stream,
        from: &mut Source<'_>,
    ) -> SysResult {
        if !self.room(&call.waiter()) {
            return call.block_on(open, &self.changed);
        }
        let bytes = from.take_vec(WRITE_MAX)?;
        if !bytes.is_empty() {
            self.send(&mut self.output.lock(), stream, &bytes);
        }
        Ok(bytes.len())
    }

    /// Takes what has arrived, and asks for more where nothing is left.
    fn pump(&self, input: &mut Input, max: u32, waiter: Option<&Waiter>) {
        if let Some(reply) = input.asked.as_ref().and_then(Ticket::take) {
            input.asked = None;
            match reply.answer() {
                Ok(Answer::Data(bytes)) if !bytes.is_empty() && bytes.len() <= max as usize => {
                    input.bytes.extend(bytes);
                }
                Ok(_) | Err(_) => input.ended = true,
            }
        }
        if input.bytes.is_empty() && !input.ended {
            let host = self.kernel.host;
            let ticket = input.asked.get_or_insert_with(|| host.ask(Ask::ConsoleRead { max }));
            if let Some(waiter) = waiter {
                ticket.register(waiter);
            }
        }
    }

    fn read(&self, call: &mut Call<'_>, open: &OpenFile, to: &mut Sink<'_>) -> SysResult {
        if self.typed {
            // What is typed belongs to the terminal alone.
            return Ok(0);
        }
        let mut input = self.input.lock();
        self.pump(&mut input, READ_MAX, Some(&call.waiter()));
        if input.bytes.is_empty() {
            return if input.ended { Ok(0) } else { call.block_on(open, &self.changed) };
        }
        let bytes: Vec<u8> = input.bytes.iter().copied().take(to.room()).collect();
        let count = to.put(&bytes)?;
        input.bytes.drain(..count);
        Ok(count)
    }
}

impl EpollWaker for Console {
    /// The host has answered.
    fn notify(&self) {
        self.feed();
    }
}

/// Forgets what the host has taken; whether there is room.
fn has_room(output: &mut Output) -> bool {
    while let Some((ticket, length)) = output.unanswered.front() {
        if !ticket.is_answered() {
            break;
        }
        output.in_flight -= length;
        output.unanswered.pop_front();
    }
    output.in_flight < IN_FLIGHT_MAX
}

fn window(size: TerminalSize) -> WindowSize {
    WindowSize { rows: size.rows, columns: size.columns, ..WindowSize::default() }
}

/// One of the three streams.
struct ConsoleFile {
    console: Arc<Console>,
    /// `None` for standard input.
    stream: Option<Stream>,
}

impl ConsoleFile {
    const fn number(&self) -> u64 {
        match self.stream {
            None => 1,
            Some(Stream::Output) => 2,
            Some(Stream::Error) => 3,
        }
    }
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
        if self.console.typed {
            return Ready::READ;
        }
        let mut input = self.console.input.lock();
        self.console.pump(&mut input, READ_MAX, waiter);
        Ready::READ.when(!input.bytes.is_empty() || input.ended)
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: self.number() };
        Ok(Attributes::anonymous(Kind::Fifo, id, 0o600))
    }

    fn label(&self) -> String {
        format!("pipe:[{}]", self.number())
    }
}

/// Opens `/dev/console`: the terminal, or standard input and output where there is none.
pub(super) fn open_console(kernel: &'static Kernel) -> Arc<dyn File> {
    let console = kernel.console.call_once(|| Console::new(kernel, [false; 3]));
    match console.terminal() {
        Some(terminal) => terminal.open(),
        None => Arc::new(ConsoleFile { console: Arc::clone(console), stream: None }),
    }
}

/// The descriptors that the first process starts with. Those that are a terminal on the host share
/// one open file, and it is the controlling terminal of the process's session.
pub(crate) fn console_files(
    kernel: &'static Kernel,
    process: &Arc<Process>,
    terminal: [bool; 3],
    size: TerminalSize,
) -> SysResult<FileTable> {
    let console = Arc::clone(kernel.console.call_once(|| Console::new(kernel, terminal)));
    let files = FileTable::default();
    let screen = terminal.contains(&true).then(|| {
        let device = device_number(5, 1);
        let made = Terminal::on_console(kernel, device, &console, window(size));
        let made = console.terminal.call_once(|| made);
        kernel.terminals.adopt(process, made);
        OpenFile::new(kernel, made.open(), console_place(kernel), OpenFlags::READ_WRITE)
    });
    let streams = [
        (None, OpenFlags::empty()),
        (Some(Stream::Output), OpenFlags::WRITE_ONLY),
        (Some(Stream::Error), OpenFlags::WRITE_ONLY),
    ];
    for ((stream, flags), is_terminal) in streams.into_iter().zip(terminal) {
        let open = match screen.as_ref().filter(|_| is_terminal) {
            Some(screen) => Arc::clone(screen),
            None => {
                let file = Arc::new(ConsoleFile { console: Arc::clone(&console), stream });
                OpenFile::new(kernel, file, None, flags)
            }
        };
        files.insert(open, false, 0, 3)?;
    }
    console.feed();
    Ok(files)
}

/// Where the terminal's node is, so that `ttyname(3)` finds it.
fn console_place(kernel: &'static Kernel) -> Option<Place> {
    const NAME: &[u8] = b"console";
    let mounts = kernel.mounts.all();
    let mount = mounts.iter().find(|mount| *mount.at == *b"/dev")?;
    let root = mount.root.as_any().downcast_ref::<memory_fs::Node>()?;
    let node: Arc<dyn Inode> = root.placed(NAME)?;
    Some(Place::directory(Arc::clone(mount), Arc::clone(&mount.root)).child(NAME, node))
}
