// SPDX-License-Identifier: MIT
//! Signals and terminal sizes on their way to the enclave.

use super::link::Sender;
use crate::LaunchError;
use crate::terminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use strongroom_wire::message::{TerminalSize, ToEnclave};

/// Reaches into a running session from other threads. Clones reach into the same one.
#[derive(Clone, Debug)]
pub struct Controller {
    sender: Sender,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Cut to end the session.
    stream: UnixStream,
    /// The enclave has said hello, so signals reach it.
    ready: AtomicBool,
    /// The signal that came before.
    early: AtomicU8,
}

impl Controller {
    pub(super) fn new(sender: Sender, stream: UnixStream) -> Self {
        let shared = Shared { stream, ready: AtomicBool::new(false), early: AtomicU8::new(0) };
        Self { sender, shared: Arc::new(shared) }
    }

    /// Sends a signal, by its Linux number, to the program's foreground process group. INT, TERM,
    /// HUP and QUIT end a session that is still booting; others are dropped then.
    pub fn signal(&self, number: u8) {
        if self.shared.ready.load(Ordering::SeqCst) {
            self.sender.send(&ToEnclave::Signal(number));
        } else if matches!(number, 1 | 2 | 3 | 15) {
            self.shared.early.store(number, Ordering::SeqCst);
            self.end();
        }
    }

    /// Tells the terminal's new size.
    pub fn resize(&self, size: TerminalSize) {
        if self.shared.ready.load(Ordering::SeqCst) {
            self.sender.send(&ToEnclave::Resize(size));
        }
    }

    /// Ends the session: [`super::Session::run`] returns with an error, and the machine stops.
    pub fn end(&self) {
        // A stream that is cut already is what is wanted.
        let _ = self.shared.stream.shutdown(Shutdown::Both);
    }

    /// Says that signals reach the enclave from now on.
    pub(super) fn set_ready(&self) {
        self.shared.ready.store(true, Ordering::SeqCst);
    }

    /// The signal that ended the session before the enclave was there.
    pub(super) fn early_signal(&self) -> Option<u8> {
        Some(self.shared.early.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }
}

/// Hands this process's signals to an enclave, until dropped: INT, TERM, HUP, QUIT, USR1, USR2,
/// and WINCH as the size of the terminal on standard output or input.
#[derive(Debug)]
pub struct SignalForwarder {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalForwarder {
    /// Starts to forward. From now on these signals do not end this process.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Io`] when the handlers cannot be installed.
    pub fn start(controller: Controller) -> Result<Self, LaunchError> {
        let numbers = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH];
        let mut signals =
            Signals::new(numbers).map_err(LaunchError::io("install signal handlers"))?;
        let handle = signals.handle();
        let thread = std::thread::spawn(move || {
            for number in signals.forever() {
                if number != SIGWINCH {
                    controller.signal(u8::try_from(number).unwrap_or(0));
                } else if let Some(size) = terminal::size() {
                    controller.resize(size);
                }
            }
        });
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for SignalForwarder {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by then.
            let _ = thread.join();
        }
    }
}
