// SPDX-License-Identifier: MIT
//! `cargo xtask optee run` and `shell`.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use strongroom_optee_qemu::{Command, Error, Input, Machine, Size, Status};

use super::parts::{Parts, explained};
use crate::{progress::seconds, workspace::Workspace};

/// Exit status for a machine that did not do its part, and for a time limit; as `timeout` has them.
const MACHINE_FAILED: u8 = 125;
const TIMED_OUT: u8 = 124;

/// A shell may take its time.
const SHELL_LIMIT: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    parts: Parts,
    /// End the machine after so many seconds
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// The command and its arguments; it runs as root, standard streams and exit status pass through
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShellOptions {
    #[command(flatten)]
    parts: Parts,
}

/// Boots and runs one command; its exit status is ours.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let machine = options.parts.prepare(workspace, Duration::from_secs(options.timeout))?;
    let logs = machine.logs.clone();
    let ended = (|| {
        let mut machine = boot(&machine)?;
        let input = io::stdin();
        let status = machine.run(
            &Command::new(&options.command),
            Input::Descriptor(input.as_fd()),
            &mut io::stdout(),
            &mut io::stderr(),
        )?;
        machine.power_off()?;
        Ok(status)
    })();
    eprintln!("logs: {}", logs.folder.display());
    Ok(code(ended))
}

/// Boots and gives a shell on the user's terminal.
pub(crate) fn shell(workspace: &Workspace, options: &ShellOptions) -> Result<ExitCode> {
    let input = io::stdin();
    let size = tcgetwinsize(&input).context("a shell needs a terminal on standard input")?;
    let machine = options.parts.prepare(workspace, SHELL_LIMIT)?;
    let logs = machine.logs.clone();
    let ended = (|| {
        let mut machine = boot(&machine)?;
        eprintln!("`exit` or Ctrl-D switches the machine off");
        let terminal = std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
        let command = Command::new(["sh", "-l"])
            .variable("TERM", &terminal)
            .variable("PS1", "optee# ")
            .on_terminal(Size { rows: size.ws_row, columns: size.ws_col });
        let raw = RawMode::enter();
        let status = machine.run(
            &command,
            Input::Terminal(input.as_fd()),
            &mut io::stdout(),
            &mut io::stderr(),
        );
        drop(raw);
        let status = status?;
        machine.power_off()?;
        Ok(status)
    })();
    eprintln!("logs: {}", logs.folder.display());
    Ok(code(ended))
}

/// Boots and says how long that took.
pub(super) fn boot(options: &strongroom_optee_qemu::Options) -> Result<Machine, Error> {
    let machine = Machine::boot(options)?;
    eprintln!("boot: {} until the machine takes commands", seconds(machine.boot_time()));
    Ok(machine)
}

fn code(ended: Result<Status, Error>) -> ExitCode {
    match ended {
        Ok(status) => ExitCode::from(status.code()),
        Err(error) => {
            let timed_out = matches!(error, Error::TimedOut { .. });
            let code = if timed_out { TIMED_OUT } else { MACHINE_FAILED };
            eprintln!("error: {:#}", explained(error));
            ExitCode::from(code)
        }
    }
}

/// How the terminal was before raw mode; the interrupt handler restores it too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode of the terminal on standard input, until dropped.
struct RawMode;

impl RawMode {
    fn enter() -> Option<Self> {
        let input = io::stdin();
        let before = tcgetattr(&input).ok().filter(|_| input.is_terminal())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let entered = Self;
        tcsetattr(&input, OptionalActions::Drain, &raw).ok()?;
        Some(entered)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Leaves raw mode, if it is on.
pub(crate) fn restore_terminal() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &before);
    }
}
