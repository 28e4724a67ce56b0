// SPDX-License-Identifier: MIT
//! The user's terminal: raw mode and size. The line discipline is the enclave's.

use crate::LaunchError;
use rustix::termios::{self, OptionalActions, Termios};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use strongroom_wire::message::TerminalSize;

/// How the terminal was before raw mode; kept here so that a panic hook can restore it too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode of the terminal on standard input, until dropped.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Switches to raw mode; `None` when standard input is no terminal.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Io`] when the terminal refuses.
    pub fn enter() -> Result<Option<Self>, LaunchError> {
        let input = std::io::stdin();
        if !termios::isatty(&input) {
            return Ok(None);
        }
        let failed = || LaunchError::io("switch the terminal to raw mode");
        let before = termios::tcgetattr(&input).map_err(|error| failed()(error.into()))?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let guard = Self(());
        termios::tcsetattr(&input, OptionalActions::Drain, &raw)
            .map_err(|error| failed()(error.into()))?;
        Ok(Some(guard))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves raw mode, if it is on. A tool that aborts on panic calls this from its panic hook.
pub fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs no restoring.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, &before);
    }
}

/// Whether raw mode is on, so that a new line needs a carriage return.
pub fn is_raw() -> bool {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// The size of the terminal on standard output, input or error, the first that is one.
pub fn size() -> Option<TerminalSize> {
    let of = |descriptor: &dyn AsFd| termios::tcgetwinsize(descriptor.as_fd()).ok();
    let size = of(&std::io::stdout())
        .or_else(|| of(&std::io::stdin()))
        .or_else(|| of(&std::io::stderr()))?;
    Some(TerminalSize { columns: size.ws_col, rows: size.ws_row })
}
