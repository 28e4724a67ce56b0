// SPDX-License-Identifier: MIT
//! What host and agent say to each other: a little-endian `u32` length, then postcard bytes.
//!
//! Both sides come out of one build, so there is no version to agree on. One command runs at a
//! time; its messages end with [`FromGuest::Ended`] or [`FromGuest::Refused`].

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The name of the virtio serial port.
pub const PORT: &str = "strongroom";

/// Most bytes of input or output in one message.
pub const DATA_MAX: usize = 32 * 1024;

/// Most bytes of a message: data, or a command with its arguments and environment. Who carries messages
/// of their own through a command's streams may use these frames too.
pub const MESSAGE_MAX: usize = 2 * 1024 * 1024;

/// Most bytes of input that are on their way and that the command has not taken.
pub const WINDOW: usize = 8 * DATA_MAX;

/// To the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest {
    /// Start this program.
    Run(Program),
    /// More standard input, at most [`DATA_MAX`] bytes.
    Input(Vec<u8>),
    /// Standard input ends here.
    InputEnd,
    /// The terminal has another size.
    Resize(Size),
    /// Put storage away and switch the machine off.
    PowerOff,
}

/// From the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromGuest {
    /// The machine is up and takes commands.
    Ready {
        /// Set when something that OP-TEE needs is not there: what, in words.
        lacks: Option<String>,
    },
    /// Standard output of the command, or all output of its terminal.
    Output(Vec<u8>),
    /// Standard error of the command.
    Errors(Vec<u8>),
    /// The command has taken so many bytes of its input.
    Taken(u32),
    /// The command has ended, and everything it wrote was sent.
    Ended(Status),
    /// The command could not be started: why, in the system's words.
    Refused(String),
}

/// A program to start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name, looked for in `PATH`, and its arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Variables on top of the agent's own.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Set to run it on a terminal of that size.
    pub terminal: Option<Size>,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It exited with this status.
    Exited(u8),
    /// This signal ended it.
    Signaled(u8),
}

impl Status {
    /// As a shell has it: the exit status, or 128 plus the signal's number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Signaled(signal) => signal.saturating_add(128),
        }
    }
}

/// Writes one message.
///
/// # Errors
///
/// The stream's, and [`io::ErrorKind::InvalidInput`] for a message over [`MESSAGE_MAX`].
pub fn send<M: Serialize>(stream: &mut impl Write, message: &M) -> io::Result<()> {
    let body = postcard::to_allocvec(message)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MESSAGE_MAX);
    let length = length.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "arguments and environment are too long")
    })?;
    let mut bytes = Vec::with_capacity(body.len().saturating_add(4));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes)
}

/// Reads one message.
///
/// # Errors
///
/// The stream's, and [`io::ErrorKind::InvalidData`] for what is no message.
pub fn receive<M: DeserializeOwned>(stream: &mut impl Read) -> io::Result<M> {
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let length = usize::try_from(u32::from_le_bytes(header)).ok();
    let length =
        length.filter(|length| *length <= MESSAGE_MAX).ok_or_else(|| invalid("too long"))?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    match postcard::take_from_bytes(&body) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(invalid("bytes left over")),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_their_ends_are_kept() {
        let messages = [
            ToGuest::Run(Program {
                arguments: vec![b"\xff\0".to_vec()],
                environment: vec![(b"A".to_vec(), b"b=c".to_vec())],
                terminal: Some(Size { rows: 1, columns: 2 }),
            }),
            ToGuest::Input(vec![0; DATA_MAX]),
            ToGuest::PowerOff,
        ];
        let mut stream = Vec::new();
        for message in &messages {
            send(&mut stream, message).unwrap();
        }
        let mut rest = stream.as_slice();
        for message in &messages {
            assert_eq!(receive::<ToGuest>(&mut rest).unwrap(), *message);
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let kind = |mut bytes: &[u8]| receive::<FromGuest>(&mut bytes).unwrap_err().kind();
        assert_eq!(kind(&[1, 0]), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(&[9, 0, 0, 0, 1]), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(&[0xff; 8]), io::ErrorKind::InvalidData);
        assert_eq!(kind(&[1, 0, 0, 0, 99]), io::ErrorKind::InvalidData);
        let mut long = Vec::new();
        send(&mut long, &FromGuest::Taken(1)).unwrap();
        long[0] += 1;
        long.push(0);
        assert_eq!(kind(&long), io::ErrorKind::InvalidData);
    }

    #[test]
    fn too_much_is_refused_before_it_is_sent() {
        let program = Program { arguments: vec![vec![b'x'; MESSAGE_MAX]], ..Program::default() };
        let mut stream = Vec::new();
        let error = send(&mut stream, &ToGuest::Run(program)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(stream.is_empty());
    }

    #[test]
    fn a_signal_reads_as_128_plus_n() {
        assert_eq!(Status::Exited(7).code(), 7);
        assert_eq!(Status::Signaled(9).code(), 137);
    }
}
