// SPDX-License-Identifier: MIT
//! Starts Linux programs of its image for attested clients, and serves those programs in turn, over the
//! enclave's own socket.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    io::{self, Write as _},
    process::{Command, Stdio},
    thread,
};
use strongroom::{Caller, OpenError, Platform, Service};

/// Most bytes that go into a program, and that come out.
pub const DATA_MAX: usize = 48 * 1024;

/// Programs of the image, and who asks for them.
#[strongroom::service]
pub trait Tools {
    /// Has a program of the image work on this input: what it prints. A program beside the service may
    /// have its data sorted; only an attested client may start others.
    #[limit(request = 49_216, answer = 49_216)]
    fn run(&mut self, tool: Tool, input: Vec<u8>) -> Result<Vec<u8>, ToolError>;
    /// Where the caller is, as the enclave's kernel says.
    fn place(&self) -> Place;
}

/// A program that clients may have started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tool {
    /// `/bin/sort`.
    Sort,
    /// `/bin/client unix:@strongroom/service`, which calls this service.
    Client,
    /// `/bin/false`, which fails.
    Failing,
}

impl Tool {
    /// Program and arguments. Clients choose among these and give no words of their own.
    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Sort => &["/bin/sort"],
            Self::Client => &["/bin/client", "unix:@strongroom/service"],
            Self::Failing => &["/bin/false"],
        }
    }
}

/// Where a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A program in the same enclave.
    Beside,
    /// Outside, over an attested session.
    Outside,
}

/// Why there is no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolError {
    /// Not for this caller.
    Denied,
    /// It was not started: the system's error number.
    NotStarted(i32),
    /// It ended with this status, or a signal did.
    Failed(Option<i32>),
    /// More than [`DATA_MAX`] bytes.
    TooMuch,
}

impl fmt::Display for ToolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => {
                formatter.write_str("a program beside the service may not start this one")
            }
            Self::NotStarted(number) => write!(formatter, "it was not started: error {number}"),
            Self::Failed(Some(status)) => write!(formatter, "it ended with status {status}"),
            Self::Failed(None) => formatter.write_str("a signal ended it"),
            Self::TooMuch => write!(formatter, "it is more than {DATA_MAX} bytes"),
        }
    }
}

/// The service.
#[derive(Debug)]
pub struct Bench {
    place: Place,
}

impl Service for Bench {
    fn open(_platform: &Platform, caller: &Caller) -> Result<Self, OpenError> {
        let place = match caller {
            Caller::Beside => Place::Beside,
            Caller::Attested { .. } => Place::Outside,
            Caller::GlobalPlatform { .. } | Caller::Unknown => return Err(OpenError::Denied),
        };
        Ok(Self { place })
    }
}

impl Tools for Bench {
    fn run(&mut self, tool: Tool, input: Vec<u8>) -> Result<Vec<u8>, ToolError> {
        match (self.place, tool) {
            (Place::Outside, _) | (Place::Beside, Tool::Sort) => {}
            (Place::Beside, Tool::Client | Tool::Failing) => return Err(ToolError::Denied),
        }
        if input.len() > DATA_MAX {
            return Err(ToolError::TooMuch);
        }
        let output = piped(tool.words(), input)?;
        if output.len() > DATA_MAX { Err(ToolError::TooMuch) } else { Ok(output) }
    }

    fn place(&self) -> Place {
        self.place
    }
}

/// What a program prints for this input.
fn piped(words: &[&str], input: Vec<u8>) -> Result<Vec<u8>, ToolError> {
    let not_started = |error: io::Error| ToolError::NotStarted(error.raw_os_error().unwrap_or(0));
    let (program, arguments) = words.split_first().ok_or(ToolError::NotStarted(0))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(not_started)?;
    let feeder = child.stdin.take().map(|mut stdin| {
        // A program need not read what it is given.
        thread::spawn(move || drop(stdin.write_all(&input)))
    });
    let output = child.wait_with_output().map_err(not_started)?;
    drop(feeder.map(thread::JoinHandle::join));
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(ToolError::Failed(output.status.code()))
    }
}
