// SPDX-License-Identifier: MIT
//! A running machine.

use std::{
    fs,
    io::{self, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::mpsc::{self, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Command, Error, Input, Logs, Options, Status,
    cpio::Writer,
    protocol::{FromGuest, ToGuest, receive, send},
    qemu::{Cause, Order, Qemu},
    streams::feed,
};

/// Top-level links of the normal world's root: overlays that use the short names keep them.
const ROOT_LINKS: &[(&str, &str)] = &[("bin", "usr/bin"), ("lib", "usr/lib"), ("sbin", "usr/sbin")];

/// Lines of each log in an error.
const TAIL: usize = 12;

/// A running machine. Dropping it cuts its power.
#[derive(Debug)]
pub struct Machine {
    qemu: Qemu,
    incoming: BufReader<UnixStream>,
    outgoing: UnixStream,
    logs: Logs,
    limit: Duration,
    boot_limit: Duration,
    started: Instant,
    boot_time: Duration,
    up: bool,
    /// The archive of files that were added, until the machine has it in its memory: whoever is killed
    /// later leaves nothing behind.
    front: Option<tempfile::TempDir>,
}

/// How a command ended, and what it wrote.
#[derive(Clone, Debug)]
pub struct Captured {
    /// How it ended.
    pub status: Status,
    /// Its standard output.
    pub output: Vec<u8>,
    /// Its standard error.
    pub errors: Vec<u8>,
}

/// Cuts a machine's power, from another thread too.
#[derive(Clone, Debug)]
pub struct PowerSwitch(Sender<Order>);

impl PowerSwitch {
    /// Kills QEMU, as if somebody pulled the plug. Nothing happens when it has ended.
    pub fn cut(&self) {
        let _ = self.0.send(Order::Cut);
    }
}

impl Machine {
    /// Starts a machine and waits until it takes commands.
    ///
    /// # Errors
    ///
    /// What is wrong with a file, a missing QEMU, [`Error::BootTimedOut`], or [`Error::NoTee`] when
    /// Linux is up and OP-TEE is not.
    pub fn boot(options: &Options) -> Result<Self, Error> {
        let mut machine = Self::start(options)?;
        machine.wait_until_up()?;
        Ok(machine)
    }

    /// Starts a machine. [`Self::wait_until_up`] comes next; its power can be cut before that.
    ///
    /// # Errors
    ///
    /// What is wrong with a file, or a missing QEMU.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let started = Instant::now();
        options.image.check()?;
        fs::create_dir_all(&options.logs.folder).map_err(Error::io("make the folder for logs"))?;
        for log in [options.logs.linux(), options.logs.optee()] {
            fs::write(log, "").map_err(Error::io("make a log"))?;
        }
        if let Some(storage) = &options.storage {
            fs::create_dir_all(storage).map_err(Error::io("make the folder for storage"))?;
        }
        let folder = tempfile::tempdir().map_err(Error::io("make a folder"))?;
        let front = folder.path().join("front.cpio");
        write_front(options, &front).map_err(Error::io("write the overlays"))?;
        let (qemu, stream) = Qemu::start(options, &front)?;
        let outgoing = stream.try_clone().map_err(Error::io("share the stream"))?;
        Ok(Self {
            qemu,
            incoming: BufReader::new(stream),
            outgoing,
            logs: options.logs.clone(),
            limit: options.limit,
            boot_limit: options.boot_limit,
            started,
            boot_time: Duration::ZERO,
            up: false,
            front: Some(folder),
        })
    }

    /// Waits until a started machine takes commands.
    ///
    /// # Errors
    ///
    /// [`Error::BootTimedOut`], [`Error::NoTee`] when Linux is up and OP-TEE is not, and
    /// [`Error::Stopped`] when it has stopped or its power was cut.
    pub fn wait_until_up(&mut self) -> Result<(), Error> {
        match self.receive()? {
            FromGuest::Ready { lacks: None } => {}
            FromGuest::Ready { lacks: Some(what) } => return Err(Error::NoTee(what)),
            other @ (FromGuest::Output(_)
            | FromGuest::Errors(_)
            | FromGuest::Taken(_)
            | FromGuest::Ended(_)
            | FromGuest::Refused(_)) => {
                return Err(Error::Protocol(format!("{} came first", name(&other))));
            }
        }
        self.boot_time = self.started.elapsed();
        self.up = true;
        self.front = None;
        if let Some(deadline) = Instant::now().checked_add(self.limit) {
            self.qemu.order(Order::Deadline(deadline));
        }
        Ok(())
    }

    /// Time from [`Self::start`]'s call until the machine took commands.
    pub const fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// Where this machine's consoles are written to.
    pub const fn logs(&self) -> &Logs {
        &self.logs
    }

    /// A switch that works while a command runs.
    pub fn power_switch(&self) -> PowerSwitch {
        PowerSwitch(self.qemu.orders())
    }

    /// Runs a command and waits for its end; output is written as it comes.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when it cannot be started: the machine takes other commands. After any
    /// other error the machine is off: its time was up, it stopped or was cut, or the outputs did
    /// not take what was written to them.
    pub fn run(
        &mut self,
        command: &Command,
        input: Input<'_>,
        output: &mut dyn Write,
        errors: &mut dyn Write,
    ) -> Result<Status, Error> {
        let status = self.converse(command, input, output, errors);
        match status {
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(_) => self.qemu.order(Order::Cut),
        }
        status
    }

    /// The same, with all that it writes kept.
    ///
    /// # Errors
    ///
    /// As for [`Self::run`].
    pub fn capture(&mut self, command: &Command, input: Input<'_>) -> Result<Captured, Error> {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let status = self.run(command, input, &mut output, &mut errors)?;
        Ok(Captured { status, output, errors })
    }

    fn converse(
        &mut self,
        command: &Command,
        input: Input<'_>,
        output: &mut dyn Write,
        errors: &mut dyn Write,
    ) -> Result<Status, Error> {
        let program = ToGuest::Run(command.clone().into_program());
        if let Err(error) = send(&mut self.outgoing, &program) {
            let refused = error.kind() == io::ErrorKind::InvalidInput;
            return Err(if refused {
                Error::Refused(error.to_string())
            } else {
                self.why_it_stopped()
            });
        }
        let mut outgoing = self.outgoing.try_clone().map_err(Error::io("share the stream"))?;
        let (over, end) = UnixStream::pair().map_err(Error::io("make a socket pair"))?;
        let (take, taken) = mpsc::channel();
        thread::scope(|scope| {
            let feeder = scope.spawn(move || feed(input, &mut outgoing, &taken, &end));
            let status = self.follow(&take, output, errors);
            if matches!(&status, Err(Error::Io { .. } | Error::Protocol(_))) {
                // The feeder may be in the middle of a message that nobody will read.
                self.qemu.order(Order::Cut);
            }
            drop((over, take));
            let fed = feeder.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            let status = status?;
            fed.map_err(Error::io("read the command's input"))?;
            Ok(status)
        })
    }

    /// Passes on what a command writes, until it ends.
    fn follow(
        &mut self,
        take: &Sender<u32>,
        output: &mut dyn Write,
        errors: &mut dyn Write,
    ) -> Result<Status, Error> {
        loop {
            match self.receive()? {
                FromGuest::Output(bytes) => pass(output, &bytes)?,
                FromGuest::Errors(bytes) => pass(errors, &bytes)?,
                // The feeder may have sent everything and be gone.
                FromGuest::Taken(count) => drop(take.send(count)),
                FromGuest::Ended(status) => return Ok(status),
                FromGuest::Refused(why) => return Err(Error::Refused(why)),
                ready @ FromGuest::Ready { .. } => {
                    return Err(Error::Protocol(format!("{} came again", name(&ready))));
                }
            }
        }
    }

    /// Puts storage away, switches the machine off, and waits for that.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when it had stopped before; [`Error::TimedOut`].
    pub fn power_off(mut self) -> Result<(), Error> {
        if send(&mut self.outgoing, &ToGuest::PowerOff).is_err() {
            return Err(self.why_it_stopped());
        }
        match receive::<FromGuest>(&mut self.incoming) {
            Err(_) => match self.qemu.wait() {
                ended if ended.cause == Cause::Itself && ended.status == "exit status: 0" => Ok(()),
                ended => Err(self.explain(ended.cause, ended.status)),
            },
            Ok(message) => Err(Error::Protocol(format!("{} came last", name(&message)))),
        }
    }

    fn receive(&mut self) -> Result<FromGuest, Error> {
        match receive(&mut self.incoming) {
            Ok(message) => Ok(message),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Error::Protocol(error.to_string()))
            }
            Err(_) => Err(self.why_it_stopped()),
        }
    }

    fn why_it_stopped(&self) -> Error {
        let ended = self.qemu.wait();
        self.explain(ended.cause, ended.status)
    }

    fn explain(&self, cause: Cause, status: String) -> Error {
        let words = self.logs.tail(TAIL);
        match cause {
            Cause::Limit if self.up => Error::TimedOut { limit: self.limit, words },
            Cause::Limit => Error::BootTimedOut { limit: self.boot_limit, words },
            Cause::Us if self.up => Error::PowerCut,
            Cause::Us | Cause::Itself => Error::Stopped { status, words },
        }
    }
}

fn pass(stream: &mut dyn Write, bytes: &[u8]) -> Result<(), Error> {
    stream
        .write_all(bytes)
        .and_then(|()| stream.flush())
        .map_err(Error::io("write the command's output"))
}

/// What a message is called, without what it carries.
const fn name(message: &FromGuest) -> &'static str {
    match message {
        FromGuest::Ready { .. } => "readiness",
        FromGuest::Output(_) => "output",
        FromGuest::Errors(_) => "errors",
        FromGuest::Taken(_) => "a receipt",
        FromGuest::Ended(_) => "an end",
        FromGuest::Refused(_) => "a refusal",
    }
}

/// The archive in front of everything: the agent, the overlays, the single files.
fn write_front(options: &Options, path: &Path) -> io::Result<()> {
    let file = io::BufWriter::new(fs::File::create(path)?);
    let mut writer = Writer::new(file);
    for overlay in &options.overlays {
        if !overlay.is_dir() {
            let words = format!("the overlay {} is no folder", overlay.display());
            return Err(io::Error::new(io::ErrorKind::NotADirectory, words));
        }
        writer.folder_over(overlay, ROOT_LINKS)?;
    }
    for (inside, source) in &options.files {
        let parents: Vec<PathBuf> = inside.ancestors().skip(1).map(Path::to_path_buf).collect();
        for parent in parents.iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
            writer.directory(parent, 0o755)?;
        }
        writer.copy(inside, source)?;
    }
    // The kernel starts `/init`; the agent's own permissions may come from anywhere.
    writer.file(Path::new("init"), 0o755, &fs::read(&options.image.agent)?)?;
    writer.finish()?.flush()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
