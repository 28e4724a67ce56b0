// SPDX-License-Identifier: MIT
//! Messages in the channel, in postcard. The order of variants is the format: append, never reorder.
//!
//! Each direction has its own type and, from Noise, its own key and numbers.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Most bytes of a piece of a secret, and of what goes to or comes from a service at once.
pub const PIECE_MAX: usize = 32 * 1024;

/// Bytes for a service, or of one. They are not shown, and are wiped when they are dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceBytes(Zeroizing<Vec<u8>>);

impl ServiceBytes {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl Deref for ServiceBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ServiceBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceBytes({} bytes)", self.0.len())
    }
}

/// From the enclave.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient<'a> {
    /// The first message: a report of SEV-SNP, and the certificates that the host gave with it.
    SnpReport {
        /// The report.
        report: &'a [u8],
        /// The table, unverified; empty without one.
        certificates: &'a [u8],
    },
    /// The first message where there is no evidence. Nothing follows.
    NoEvidence(NoEvidence),
    /// What the client sent is not accepted. Nothing follows.
    Refused(Refusal),
    /// Answer to [`ToEnclave::Start`]: the program gets what was sent, and is loaded next.
    Started,
    /// The program ended: its exit code, or 128 + N for signal N.
    Exited {
        /// As a shell has it.
        status: u8,
    },
    /// Nothing follows.
    Close,
    /// The first message: the token of a trusted application.
    Token(&'a [u8]),
    /// Answer to [`ToEnclave::Connect`]: from now on there are bytes in both directions.
    Connected,
    /// Bytes of the service, at most [`PIECE_MAX`].
    Bytes(&'a [u8]),
}

/// From the client, after it has verified the evidence.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToEnclave<'a> {
    /// An argument behind those of the manifest.
    Argument(&'a str),
    /// A variable.
    Variable {
        /// One that the manifest declares.
        name: &'a str,
        /// Its value.
        value: &'a str,
    },
    /// A secret follows, in pieces.
    Secret {
        /// One that the manifest declares.
        name: &'a str,
        /// Bytes of all pieces, at most [`crate::SECRET_LEN_MAX`].
        length: u32,
    },
    /// The next piece of the secret, at most [`PIECE_MAX`] bytes.
    Piece(&'a [u8]),
    /// That was all: the program shall start.
    Start,
    /// Nothing follows.
    Close,
    /// Instead of all that: a connection to the workload's service.
    Connect,
    /// Bytes for the service, at most [`PIECE_MAX`].
    Bytes(&'a [u8]),
    /// No more bytes for the service; it may go on to speak.
    Finish,
}

/// Why there is no evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoEvidence {
    /// The machine has nothing that would vouch for it: a simulation without a security processor.
    NoSecurityProcessor,
    /// The security processor refused, with this status.
    Refused(u32),
    /// The host did not let it answer in time.
    Busy,
    /// Its answer was not authentic, or not of a length that an answer has.
    Broken,
}

/// Why what a client sent was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The client's key is not among the owners of the manifest.
    NotOwner,
    /// The manifest takes no late arguments.
    NoLateArguments,
    /// The manifest declares no such variable.
    UnknownVariable(String),
    /// The manifest declares no such secret.
    UnknownSecret(String),
    /// It was given before.
    Twice(String),
    /// A secret that the manifest declares was not given, or not all of it.
    MissingSecret(String),
    /// Over a limit: of arguments and variables, or of a secret, or of all of them.
    TooMuch,
    /// A text that no program can be given: with a zero byte in it.
    ZeroByte,
    /// A message that has no place at this point, or none at all.
    OutOfOrder,
    /// Another client has started the program.
    AlreadyStarted,
    /// The enclave could not do it.
    Failed,
    /// The manifest offers no service.
    NoService,
    /// The client's key is not among those that the manifest lets through to the service.
    NotClient,
    /// The program does not listen, or has not listened in time.
    ServiceAbsent,
}

/// What a service says is not shown.
impl fmt::Debug for ToClient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SnpReport { report, certificates } => {
                write!(f, "SnpReport({} bytes, {} bytes)", report.len(), certificates.len())
            }
            Self::NoEvidence(reason) => write!(f, "NoEvidence({reason:?})"),
            Self::Refused(reason) => write!(f, "Refused({reason:?})"),
            Self::Started => f.write_str("Started"),
            Self::Exited { status } => write!(f, "Exited({status})"),
            Self::Close => f.write_str("Close"),
            Self::Token(token) => write!(f, "Token({} bytes)", token.len()),
            Self::Connected => f.write_str("Connected"),
            Self::Bytes(_) => f.write_str("Bytes(..)"),
        }
    }
}

/// No value is shown: they are what the session is there to hide.
impl fmt::Debug for ToEnclave<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(_) => f.write_str("Argument(..)"),
            Self::Variable { name, .. } => write!(f, "Variable({name}, ..)"),
            Self::Secret { name, length } => write!(f, "Secret({name}, {length})"),
            Self::Piece(_) => f.write_str("Piece(..)"),
            Self::Start => f.write_str("Start"),
            Self::Close => f.write_str("Close"),
            Self::Connect => f.write_str("Connect"),
            Self::Bytes(_) => f.write_str("Bytes(..)"),
            Self::Finish => f.write_str("Finish"),
        }
    }
}

impl fmt::Display for NoEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSecurityProcessor => f.write_str("its machine has no security processor"),
            Self::Refused(status) => {
                write!(f, "its security processor refused with status {status:#x}")
            }
            Self::Busy => f.write_str("its host did not let the security processor answer"),
            Self::Broken => f.write_str("its security processor's answer was not authentic"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOwner => f.write_str("the client's key is not an owner's"),
            Self::NoLateArguments => f.write_str("the manifest takes no late arguments"),
            Self::UnknownVariable(name) => {
                write!(f, "the manifest declares no late variable `{name}`")
            }
            Self::UnknownSecret(name) => write!(f, "the manifest declares no secret `{name}`"),
            Self::Twice(name) => write!(f, "`{name}` was given twice"),
            Self::MissingSecret(name) => write!(f, "the secret `{name}` was not given"),
            Self::TooMuch => f.write_str("more was given than a session may bring"),
            Self::ZeroByte => f.write_str("a zero byte is in an argument or variable"),
            Self::OutOfOrder => f.write_str("a message had no place where it came"),
            Self::AlreadyStarted => f.write_str("another client has started the program"),
            Self::Failed => f.write_str("the enclave could not do it"),
            Self::NoService => f.write_str("the manifest offers no service"),
            Self::NotClient => f.write_str("the client's key may not call the service"),
            Self::ServiceAbsent => f.write_str("the program does not listen for calls"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// The bytes are a contract: this may gain cases, never change one.
    #[test]
    fn golden_bytes_hold_in_both_directions() {
        let bytes = |message: &ToClient<'_>| postcard::to_allocvec(message).unwrap();
        let report = ToClient::SnpReport { report: b"r", certificates: b"" };
        assert_eq!(bytes(&report), [0, 1, b'r', 0]);
        assert_eq!(bytes(&ToClient::NoEvidence(NoEvidence::Refused(2))), [1, 1, 2]);
        assert_eq!(bytes(&ToClient::Refused(Refusal::MissingSecret("a".into()))), [2, 5, 1, b'a']);
        assert_eq!(bytes(&ToClient::Started), [3]);
        assert_eq!(bytes(&ToClient::Exited { status: 9 }), [4, 9]);
        assert_eq!(bytes(&ToClient::Close), [5]);
        assert_eq!(bytes(&ToClient::Token(b"t")), [6, 1, b't']);
        assert_eq!(bytes(&ToClient::Connected), [7]);
        assert_eq!(bytes(&ToClient::Bytes(b"b")), [8, 1, b'b']);
        assert_eq!(bytes(&ToClient::Refused(Refusal::ServiceAbsent)), [2, 13]);
        let bytes =
            |message: &ToEnclave<'_>| -> Vec<u8> { postcard::to_allocvec(message).unwrap() };
        assert_eq!(bytes(&ToEnclave::Argument("x")), [0, 1, b'x']);
        assert_eq!(bytes(&ToEnclave::Variable { name: "a", value: "" }), [1, 1, b'a', 0]);
        assert_eq!(bytes(&ToEnclave::Secret { name: "a", length: 300 }), [2, 1, b'a', 0xac, 2]);
        assert_eq!(bytes(&ToEnclave::Piece(b"p")), [3, 1, b'p']);
        assert_eq!(bytes(&ToEnclave::Start), [4]);
        assert_eq!(bytes(&ToEnclave::Close), [5]);
        assert_eq!(bytes(&ToEnclave::Connect), [6]);
        assert_eq!(bytes(&ToEnclave::Bytes(b"b")), [7, 1, b'b']);
        assert_eq!(bytes(&ToEnclave::Finish), [8]);
    }

    #[test]
    fn no_value_is_shown() {
        use alloc::format;
        let hidden = [
            format!("{:?}", ToEnclave::Argument("hush")),
            format!("{:?}", ToEnclave::Variable { name: "A", value: "hush" }),
            format!("{:?}", ToEnclave::Piece(b"hush")),
            format!("{:?}", ToEnclave::Bytes(b"hush")),
            format!("{:?}", ToClient::Bytes(b"hush")),
        ];
        assert!(hidden.iter().all(|text| !text.contains("hush")));
    }
}
