// SPDX-License-Identifier: MIT
//! What can go wrong between a client and a service, by who says so.

use alloc::boxed::Box;
use core::fmt::{Display, Formatter, Result as Written};
use serde::{Deserialize, Serialize};

use crate::interface::Hello;

/// Why a service opens no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenError {
    /// Not for this client.
    Denied,
    /// What the service keeps in sealed storage is missing or damaged.
    Storage,
    /// There is no room for another session.
    Busy,
    /// A reason of the service's own.
    Other(u32),
}

impl Display for OpenError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Written {
        match self {
            Self::Denied => formatter.write_str("it does not serve this client"),
            Self::Storage => formatter.write_str("its sealed storage is missing or damaged"),
            Self::Busy => formatter.write_str("it has no room for another session: try again"),
            Self::Other(code) => write!(formatter, "it says code {code}: ask its author"),
        }
    }
}

/// What the dispatcher answers instead of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no such method.
    UnknownMethod,
    /// The arguments are larger than this limit, in bytes.
    RequestTooLarge(u32),
    /// The arguments are not what the method takes.
    Malformed,
    /// The method ran, and its result is larger than this limit, in bytes.
    AnswerTooLarge(u32),
    /// The method panicked. The next call finds a fresh instance.
    Panicked,
    /// The method noticed that its client cancelled the call.
    Cancelled,
    /// After a panic no fresh instance could be opened.
    Reopen(OpenError),
    /// There is no such stream, or no more.
    NoStream,
    /// The session has as many streams as it may, and this is the limit.
    TooManyStreams(u32),
}

/// What the way to a service says, in all transports' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// A result code of GlobalPlatform, and who returned it (TEE Client API 1.0, 4.4.2 and 4.4.3).
    Tee {
        /// The code.
        code: u32,
        /// The origin.
        origin: u32,
    },
    /// The trusted application has panicked, now or before.
    Dead,
    /// There is no such service.
    Absent,
    /// The other side closed the connection.
    Closed,
    /// The system refused: its error number.
    System(i32),
    /// The other side does not keep to the protocol.
    Protocol,
    /// The client cancelled the call.
    Cancelled,
    /// The call took longer than the client wanted to wait.
    TimedOut,
    /// The evidence of the other side is not good enough, in the transport's words.
    Attestation(&'static str),
    /// The address of a service is none: what is wrong with it.
    Address(&'static str),
}

impl Display for TransportError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Written {
        let words = match self {
            Self::Tee { code, origin } => {
                return write!(
                    formatter,
                    "the TEE answers {code:#010x}, origin {origin}: look it up in the TEE Client API"
                );
            }
            Self::System(number) => {
                return write!(
                    formatter,
                    "the system answers error {number}: check the service's address"
                );
            }
            Self::Attestation(why) => {
                return write!(
                    formatter,
                    "the service was not trusted: {why}: check policy and deployment"
                );
            }
            Self::Address(why) => {
                return write!(formatter, "no address of a service: {why}");
            }
            Self::Dead => "the service has panicked: open a new session",
            Self::Absent => "there is no such service: check its address and that it is installed",
            Self::Closed => "the service closed the connection: open a new session",
            Self::Protocol => "the other side is no such service: check the address",
            Self::Cancelled => "the call was cancelled",
            Self::TimedOut => "the call took too long: open a new session, or wait longer",
        };
        formatter.write_str(words)
    }
}

impl core::error::Error for TransportError {}

/// Why a client got no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The two sides have different interfaces.
    Interface(Box<Difference>),
    /// The service refuses.
    Refused(OpenError),
    /// The way to it failed.
    Transport(TransportError),
    /// The enclave was not believed, or does not want this client: in the verifier's words.
    Attestation(Box<str>),
    /// The machine that the service was to be simulated in does not run: in its launcher's words.
    Simulation(Box<str>),
}

/// Two interfaces that are not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The client's.
    pub ours: Hello,
    /// The service's.
    pub theirs: Hello,
}

impl From<TransportError> for ConnectError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

impl Display for ConnectError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Written {
        match self {
            Self::Interface(two) => write!(
                formatter,
                "this client is for {}, the service is {}: build both from the same source",
                two.ours, two.theirs
            ),
            Self::Refused(error) => write!(formatter, "the service refuses a session: {error}"),
            Self::Transport(error) => error.fmt(formatter),
            Self::Attestation(why) | Self::Simulation(why) => formatter.write_str(why),
        }
    }
}

impl core::error::Error for ConnectError {}

/// Why a call has no result. `E` is the method's own error; a method without one has
/// [`core::convert::Infallible`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError<E> {
    /// The method ran and says no.
    Service(E),
    /// The TEE says so: its code and origin (TEE Client API 1.0, 4.4.2 and 4.4.3).
    Tee {
        /// The code.
        code: u32,
        /// The origin.
        origin: u32,
    },
    /// The way to the service failed.
    Transport(TransportError),
    /// The service is not, or no more, the one that the policy asks for.
    Attestation(&'static str),
    /// The two sides do not understand each other, although their interfaces have the same hash: a
    /// type that it names has changed without a new version.
    Interface,
    /// The method panicked, or the whole trusted application did.
    Panicked,
    /// The arguments are larger than this many bytes.
    RequestTooLarge(usize),
    /// The result is larger than this many bytes. The method has run.
    AnswerTooLarge(usize),
    /// The client cancelled the call.
    Cancelled,
    /// The call took longer than the client wanted to wait.
    TimedOut,
    /// After a panic the service opens no fresh instance.
    Reopen(OpenError),
    /// The stream has ended, or the session has as many as it may.
    Stream,
}

impl<E> From<TransportError> for CallError<E> {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Tee { code, origin } => Self::Tee { code, origin },
            TransportError::Dead => Self::Panicked,
            TransportError::Cancelled => Self::Cancelled,
            TransportError::TimedOut => Self::TimedOut,
            TransportError::Attestation(why) => Self::Attestation(why),
            TransportError::Absent
            | TransportError::Closed
            | TransportError::System(_)
            | TransportError::Protocol
            | TransportError::Address(_) => Self::Transport(error),
        }
    }
}

impl<E> From<Refusal> for CallError<E> {
    fn from(refusal: Refusal) -> Self {
        let bytes = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        match refusal {
            Refusal::UnknownMethod | Refusal::Malformed => Self::Interface,
            Refusal::RequestTooLarge(limit) => Self::RequestTooLarge(bytes(limit)),
            Refusal::AnswerTooLarge(limit) => Self::AnswerTooLarge(bytes(limit)),
            Refusal::Panicked => Self::Panicked,
            Refusal::Cancelled => Self::Cancelled,
            Refusal::Reopen(error) => Self::Reopen(error),
            Refusal::NoStream | Refusal::TooManyStreams(_) => Self::Stream,
        }
    }
}

impl<E: Display> Display for CallError<E> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Written {
        let words = match self {
            Self::Service(error) => return error.fmt(formatter),
            Self::Tee { code, origin } => {
                return TransportError::Tee { code: *code, origin: *origin }.fmt(formatter);
            }
            Self::Transport(error) => return error.fmt(formatter),
            Self::Attestation(why) => return TransportError::Attestation(why).fmt(formatter),
            Self::RequestTooLarge(limit) => {
                return write!(
                    formatter,
                    "the arguments are over {limit} bytes: send less, or raise #[limit]"
                );
            }
            Self::AnswerTooLarge(limit) => {
                return write!(
                    formatter,
                    "the result is over {limit} bytes: ask for less, or raise #[limit]"
                );
            }
            Self::Reopen(error) => {
                return write!(formatter, "after a panic the service does not open: {error}");
            }
            Self::Interface => {
                "the service does not understand: build both sides from the same source"
            }
            Self::Panicked => "the service panicked: see its log; a new session works",
            Self::Cancelled => "the call was cancelled",
            Self::TimedOut => "the call took too long: try again, or wait longer",
            Self::Stream => "no such stream, or too many at a time: finish one, open another",
        };
        formatter.write_str(words)
    }
}

impl<E: Display + core::fmt::Debug> core::error::Error for CallError<E> {}
