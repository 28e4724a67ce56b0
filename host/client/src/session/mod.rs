// SPDX-License-Identifier: MIT
//! A running enclave and the services that its host offers it.
//!
//! One thread carries out what the enclave asks for: it waits on the stream and on all granted
//! sockets at once, and reads files and image blocks at once. What may block for good has a thread
//! of its own: standard input, the two output streams in their order, and outgoing connects.
//!
//! The enclave is not trusted here either: a message that does not parse, a ticket used twice, an
//! index out of range end the session with a sentence that says so, or refuse the one request.

mod attach;
mod console;
mod control;
mod errors;
mod files;
mod link;
mod serve;
mod sockets;
mod stream;

#[cfg(test)]
mod tests;

pub use attach::{AttachAddress, AttachListener};
pub use console::{Console, ConsolePipes};
pub use control::{Controller, SignalForwarder};
pub use files::DirectoryAccess;
pub use sockets::{ConnectAccess, ListenAccess};

pub(crate) use attach::Connected;

use crate::LaunchError;
use crate::accelerator::Accelerator;
use crate::image::Image;
use crate::machine::Machine;
use std::time::{Duration, Instant};

/// What a session may do for its enclave. The order is that of the manifest.
#[derive(Debug, Default)]
pub struct Services {
    /// The root image.
    pub image: Option<Image>,
    /// Granted directories.
    pub directories: Vec<DirectoryAccess>,
    /// Hosts and ports to connect to.
    pub connects: Vec<ConnectAccess>,
    /// Addresses to listen on.
    pub listens: Vec<ListenAccess>,
    /// Where clients of an attested session come to.
    pub attach: Option<AttachListener>,
}

/// How the program ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code, 128 + N for a signal, 126 or 127 when it could not be run.
    pub status: u8,
    /// Peak use of memory by programs and page cache, in KiB.
    pub peak_kib: u64,
    /// Memory of the kernel itself, in KiB.
    pub kernel_kib: u64,
    /// When the program's first instruction was about to run; none if it never came to that.
    pub started: Option<Started>,
    /// The last lines of the kernel's log, control characters replaced.
    pub log: Vec<String>,
}

/// How long the start took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// From [`crate::Launcher::start`] on, by the host's clock.
    pub wall: Duration,
    /// From the platform's start on, as the enclave says.
    pub boot: Duration,
}

/// Something a user may want to see while it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The program is about to run.
    Started(Started),
    /// A line of the kernel's log, control characters replaced.
    Log(&'a str),
}

/// A started enclave, before and while it runs.
#[derive(Debug)]
pub struct Session {
    server: serve::Server,
    machine: Option<(Machine, Accelerator)>,
}

impl Session {
    /// A session over a stream that someone else has connected to an enclave.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Io`] when the system has no more descriptors.
    pub fn over(
        stream: std::os::unix::net::UnixStream,
        services: Services,
    ) -> Result<Self, LaunchError> {
        Ok(Self { server: serve::Server::new(stream, services, Instant::now())?, machine: None })
    }

    /// A session with a machine, stopped at its end, whose start began at `began`.
    pub(crate) fn with_machine(
        stream: std::os::unix::net::UnixStream,
        services: Services,
        machine: (Machine, Accelerator),
        began: Instant,
    ) -> Result<Self, LaunchError> {
        Ok(Self { server: serve::Server::new(stream, services, began)?, machine: Some(machine) })
    }

    /// What executes the enclave's instructions, where this process started its machine.
    pub fn accelerator(&self) -> Option<Accelerator> {
        self.machine.as_ref().map(|(_, accelerator)| *accelerator)
    }

    /// Calls `observer` for each event, from the thread that is in [`Session::run`].
    pub fn observe(&mut self, observer: impl FnMut(Event<'_>) + Send + 'static) {
        self.server.observe(Box::new(observer));
    }

    /// A handle with which other threads send signals or end the session.
    pub fn controller(&self) -> Controller {
        self.server.controller()
    }

    /// Serves the enclave until its program ends.
    ///
    /// # Errors
    ///
    /// [`LaunchError`] when there is no exit status: the machine stopped, the enclave gave up or
    /// broke the protocol, or the session was interrupted before the program ran.
    pub fn run(self, console: Console) -> Result<Outcome, LaunchError> {
        let Self { server, machine } = self;
        let result = server.run(console);
        match (result, machine) {
            // The stream's end says only that QEMU is gone; QEMU's own words say why.
            (Err(LaunchError::MachineStopped { .. }), Some((machine, _))) => {
                Err(machine.post_mortem())
            }
            (result, _) => result,
        }
    }
}
