// SPDX-License-Identifier: MIT
//! The loop that takes the enclave's messages and answers them.

use super::console::{Console, ConsoleService};
use super::control::Controller;
use super::files::Files;
use super::link::{Received, Receiver, Sender};
use super::sockets::Sockets;
use super::{Event, Outcome, Services, Started};
use crate::LaunchError;
use crate::image::Image;
use rustix::event::{PollFd, PollFlags, poll};
use std::fmt;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use strongroom_wire::frame::DATA_MAX;
use strongroom_wire::image::BLOCK;
use strongroom_wire::message::{Answer, Ask, FileAsk, HostError, SocketAsk, ToHost, VERSION};
use strongroom_wire::{Malformed, Untrusted};

/// Lines of the kernel's log that are kept for the outcome.
const LOG_MAX: usize = 32;
/// Characters of a line of the kernel's log or an abort reason that are kept.
const LINE_MAX: usize = 2048;

type Observer = Box<dyn FnMut(Event<'_>) + Send>;

/// Serves one enclave.
pub(super) struct Server {
    receiver: Receiver,
    sender: Sender,
    controller: Controller,
    image: Option<Image>,
    files: Files,
    sockets: Sockets,
    /// Readable when a connect has ended.
    wake: UnixStream,
    observer: Option<Observer>,
    began: Instant,
    greeted: bool,
    outcome: Outcome,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

impl Server {
    pub(super) fn new(
        stream: UnixStream,
        services: Services,
        began: Instant,
    ) -> Result<Self, LaunchError> {
        let copy = || stream.try_clone().map_err(LaunchError::io("copy the enclave's stream"));
        let sender = Sender::new(copy()?);
        let (wake, waker) = UnixStream::pair().map_err(LaunchError::io("make a socket pair"))?;
        for end in [&wake, &waker] {
            end.set_nonblocking(true).map_err(LaunchError::io("make a socket pair"))?;
        }
        let Services { image, directories, connects, listens, attach } = services;
        Ok(Self {
            began,
            controller: Controller::new(sender.clone(), copy()?),
            files: Files::open(&directories)?,
            sockets: Sockets::new(sender.clone(), connects, listens, attach, waker),
            receiver: Receiver::new(stream),
            sender,
            image,
            wake,
            observer: None,
            greeted: false,
            outcome: Outcome::default(),
        })
    }

    pub(super) fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    pub(super) fn controller(&self) -> Controller {
        self.controller.clone()
    }

    pub(super) fn run(mut self, console: Console) -> Result<Outcome, LaunchError> {
        let mut console = console.serve(&self.sender);
        let result = self.serve(&mut console);
        // Before the wait for the last output: nobody takes in the answers to it any more.
        self.controller.end();
        console.finish();
        match (result, self.controller.early_signal()) {
            (Err(_), Some(signal)) => Err(LaunchError::Interrupted(signal)),
            (result, _) => result.map(|()| self.outcome),
        }
    }

    /// Serves until the program ends.
    fn serve(&mut self, console: &mut ConsoleService) -> Result<(), LaunchError> {
        loop {
            while let Some(bytes) = self.receiver.next()? {
                let message: ToHost<'_> =
                    Untrusted::new(&bytes).parse().map_err(|error| malformed(error, &bytes))?;
                if self.message(&message, console)? {
                    return Ok(());
                }
            }
            self.wait()?;
        }
    }

    /// Waits for bytes from the enclave or a ready socket, and takes them in.
    fn wait(&mut self) -> Result<(), LaunchError> {
        let waiting: Vec<_> = self.sockets.waiting().collect();
        let mut fds = vec![
            PollFd::new(self.receiver.stream(), PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        fds.extend(waiting.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(LaunchError::io("wait for the enclave")(error.into())),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let (stream_ready, woken) = (ready.next(), ready.next());
        let sockets: Vec<u32> = waiting
            .iter()
            .zip(ready)
            .filter_map(|((number, _, _), ready)| ready.then_some(*number))
            .collect();
        drop(fds);
        if woken == Some(true) {
            // More bytes than this wake again.
            let _ = self.wake.read(&mut [0; 64]);
            self.sockets.collect();
        }
        for number in sockets {
            self.sockets.progress(number);
        }
        if stream_ready != Some(true) {
            return Ok(());
        }
        match self.receiver.receive().map_err(LaunchError::io("read from the enclave"))? {
            Received::Some | Received::Nothing => Ok(()),
            Received::End => Err(LaunchError::MachineStopped {
                status: "its stream ended".to_owned(),
                output: String::new(),
            }),
        }
    }

    /// Handles one message; true at the session's end.
    fn message(
        &mut self,
        message: &ToHost<'_>,
        console: &mut ConsoleService,
    ) -> Result<bool, LaunchError> {
        let ToHost { ticket, ask } = message;
        let ticket = *ticket;
        match (answering(ask), ticket) {
            (Answering::Never, 0) | (Answering::Maybe, 0) => {}
            (Answering::Never, _) => {
                let words = format!("{} has no answer, and came with ticket {ticket}", name(ask));
                return Err(LaunchError::Protocol(words));
            }
            (Answering::Always, 0) => {
                let words = format!("{} came without a ticket for its answer", name(ask));
                return Err(LaunchError::Protocol(words));
            }
            (Answering::Always | Answering::Maybe, _) => self.sender.open(ticket)?,
        }
        let any_time = matches!(ask, Ask::Abort { .. } | Ask::Log { .. });
        if self.greeted == matches!(ask, Ask::Hello { .. }) && !any_time {
            let words = if self.greeted { "it said hello twice" } else { "it did not say hello" };
            return Err(LaunchError::Protocol(words.to_owned()));
        }
        match ask {
            Ask::Hello { version } => self.hello(ticket, *version, console)?,
            Ask::Started { boot_ns } => self.started(*boot_ns),
            Ask::ConsoleWrite { stream, bytes } => {
                if bytes.len() > DATA_MAX {
                    self.sender.reply(ticket, Err(HostError::Invalid));
                } else {
                    console.write(ticket, *stream, bytes);
                }
            }
            Ask::ConsoleRead { max: 0 } => self.sender.reply(ticket, Err(HostError::Invalid)),
            Ask::ConsoleRead { max } => console.read(ticket, *max, &self.sender),
            Ask::WallClock => self.sender.reply(ticket, Ok(Answer::Time(wall_ns()))),
            Ask::ImageRead { block, count } => self.image_read(ticket, *block, *count),
            Ask::Exit { status, peak_kib, kernel_kib } => {
                self.outcome.status = *status;
                self.outcome.peak_kib = *peak_kib;
                self.outcome.kernel_kib = *kernel_kib;
                return Ok(true);
            }
            Ask::Abort { reason } => return Err(LaunchError::Aborted(printable(reason))),
            Ask::Log { line } => self.log(line),
            Ask::File(ask) => {
                let served = self.files.serve(ask);
                let answer = served.as_ref().map(|served| served.answer()).map_err(|error| *error);
                self.sender.reply(ticket, answer);
            }
            Ask::Socket(ask) => self.sockets.serve(ticket, ask),
        }
        Ok(false)
    }

    fn hello(
        &mut self,
        ticket: u64,
        version: u32,
        console: &ConsoleService,
    ) -> Result<(), LaunchError> {
        if version != VERSION {
            let words = format!("it speaks version {version}, and this launcher {VERSION}");
            return Err(LaunchError::Protocol(words));
        }
        self.greeted = true;
        let (terminal, size) = console.terminal();
        self.sender.reply(ticket, Ok(Answer::Welcome { wall_ns: wall_ns(), terminal, size }));
        self.controller.set_ready();
        Ok(())
    }

    fn started(&mut self, boot_ns: u64) {
        let wall = self.began.elapsed();
        let started = Started { wall, boot: Duration::from_nanos(boot_ns) };
        self.outcome.started = Some(started);
        if let Some(observer) = &mut self.observer {
            observer(Event::Started(started));
        }
    }

    fn log(&mut self, line: &str) {
        let line = printable(line);
        if let Some(observer) = &mut self.observer {
            observer(Event::Log(&line));
        }
        if self.outcome.log.len() >= LOG_MAX {
            self.outcome.log.remove(0);
        }
        self.outcome.log.push(line);
    }

    fn image_read(&self, ticket: u64, block: u64, count: u32) {
        let bytes = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(BLOCK);
        if bytes == 0 || bytes > DATA_MAX {
            return self.sender.reply(ticket, Err(HostError::Invalid));
        }
        let mut buffer = vec![0; bytes];
        let answer = match &self.image {
            None => Err(HostError::Unsupported),
            Some(image) => match image.read_blocks(block, &mut buffer) {
                Ok(()) => Ok(Answer::Data(&buffer)),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    Err(HostError::Invalid)
                }
                Err(error) => Err(super::errors::host_error(&error)),
            },
        };
        self.sender.reply(ticket, answer);
    }
}

/// Whether a request is answered.
#[derive(Clone, Copy)]
enum Answering {
    /// It needs a ticket.
    Always,
    /// With a ticket; ticket 0 wants no answer.
    Maybe,
    /// It takes no ticket.
    Never,
}

fn answering(ask: &Ask<'_>) -> Answering {
    match ask {
        Ask::Started { .. }
        | Ask::Exit { .. }
        | Ask::Abort { .. }
        | Ask::Log { .. }
        | Ask::Socket(SocketAsk::Close { .. }) => Answering::Never,
        Ask::ConsoleWrite { .. }
        | Ask::Socket(SocketAsk::Send { .. } | SocketAsk::Finish { .. })
        | Ask::File(
            FileAsk::Write { .. }
            | FileAsk::Create { .. }
            | FileAsk::Symlink { .. }
            | FileAsk::Remove { .. }
            | FileAsk::Rename { .. }
            | FileAsk::Change { .. }
            | FileAsk::Sync { .. },
        ) => Answering::Maybe,
        Ask::Hello { .. }
        | Ask::ConsoleRead { .. }
        | Ask::WallClock
        | Ask::ImageRead { .. }
        | Ask::File(
            FileAsk::Look { .. }
            | FileAsk::List { .. }
            | FileAsk::Read { .. }
            | FileAsk::ReadLink { .. },
        )
        | Ask::Socket(
            SocketAsk::Connect { .. }
            | SocketAsk::Listen { .. }
            | SocketAsk::Attach { .. }
            | SocketAsk::Accept { .. }
            | SocketAsk::Receive { .. },
        ) => Answering::Always,
    }
}

/// A request's name in error messages.
const fn name(ask: &Ask<'_>) -> &'static str {
    match ask {
        Ask::Hello { .. } => "Hello",
        Ask::Started { .. } => "Started",
        Ask::ConsoleWrite { .. } => "ConsoleWrite",
        Ask::ConsoleRead { .. } => "ConsoleRead",
        Ask::WallClock => "WallClock",
        Ask::ImageRead { .. } => "ImageRead",
        Ask::Exit { .. } => "Exit",
        Ask::Abort { .. } => "Abort",
        Ask::Log { .. } => "Log",
        Ask::File(_) => "File",
        Ask::Socket(_) => "Socket",
    }
}

fn malformed(error: Malformed, bytes: &[u8]) -> LaunchError {
    let what = match error {
        Malformed::Value => "does not decode",
        Malformed::Trailing => "has bytes left over",
        Malformed::TooLong => "is too long",
        Malformed::Version => "is of another version",
    };
    LaunchError::Protocol(format!("a message of {} bytes {what}", bytes.len()))
}

/// Text from the enclave for the user's terminal: no control characters, no endless lines.
fn printable(text: &str) -> String {
    let clean = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    text.trim_end().chars().take(LINE_MAX).map(clean).collect()
}

/// Nanoseconds since 1970.
fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
