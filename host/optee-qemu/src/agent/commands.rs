// SPDX-License-Identifier: MIT
//! Takes commands from the port, one after the other.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::running::Running;
use crate::protocol::{FromGuest, Program, Size, ToGuest, receive, send};

/// What came of waiting for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// A command has ended, or could not be started.
    Command,
    /// The machine is to be switched off.
    PowerOff,
}

/// Waits for one command and runs it to its end.
///
/// # Errors
///
/// The port's: then nobody is there to be told anything.
pub fn serve(port: &File) -> io::Result<Served> {
    loop {
        match receive(&mut &*port)? {
            ToGuest::Run(program) => {
                let last = match start(&program) {
                    Ok(started) => FromGuest::Ended(Running::new(port, started)?.finish()?),
                    Err(error) => FromGuest::Refused(refusal(&program, &error)),
                };
                send(&mut &*port, &last)?;
                return Ok(Served::Command);
            }
            ToGuest::PowerOff => return Ok(Served::PowerOff),
            // For the command before, which has ended meanwhile.
            ToGuest::Input(_) | ToGuest::InputEnd | ToGuest::Resize(_) => {}
        }
    }
}

/// A started program and our ends of its streams.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
    /// Nothing on a terminal, where both are one.
    pub(super) errors: Option<OwnedFd>,
}

fn start(program: &Program) -> io::Result<Started> {
    match program.terminal {
        Some(size) => start_on_terminal(program, size),
        None => start_on_pipes(program),
    }
}

fn start_on_pipes(program: &Program) -> io::Result<Started> {
    let mut command = command(&program.arguments, program)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let missing = || io::Error::other("a pipe is missing");
    Ok(Started {
        input: child.stdin.take().ok_or_else(missing)?.into(),
        output: child.stdout.take().ok_or_else(missing)?.into(),
        errors: Some(child.stderr.take().ok_or_else(missing)?.into()),
        child,
    })
}

fn start_on_terminal(program: &Program, size: Size) -> io::Result<Started> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    resize(&master, size)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, Mode::empty())?;
    // A session of its own, with the terminal on standard input as its own: job control works.
    let mut arguments = vec![b"setsid".to_vec(), b"-c".to_vec()];
    arguments.extend(program.arguments.iter().cloned());
    let mut command = command(&arguments, program)?;
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
    let child = command.spawn()?;
    Ok(Started { child, input: master.try_clone()?, output: master, errors: None })
}

fn command(arguments: &[Vec<u8>], program: &Program) -> io::Result<Command> {
    let words = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let Some((name, rest)) = arguments.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no program"));
    };
    let mut command = Command::new(words(name));
    command.args(rest.iter().map(|argument| words(argument)));
    let variables = program.environment.iter();
    command.envs(variables.map(|(name, value)| (words(name), words(value))));
    Ok(command)
}

/// Gives a terminal another size; its foreground group gets SIGWINCH.
pub(super) fn resize(terminal: impl AsFd, size: Size) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

fn refusal(program: &Program, error: &io::Error) -> String {
    let name = program.arguments.first().map_or(&b""[..], Vec::as_slice);
    format!("{}: {error}", String::from_utf8_lossy(name))
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
