// SPDX-License-Identifier: MIT
//! The client's side.

use crate::channel::{Channel, Handshake, Role, parse};
use crate::message::{NoEvidence, PIECE_MAX, Refusal, ServiceBytes, ToClient, ToEnclave};
use crate::{
    KERNEL_VMPL, KEY_LEN, NONCE_LEN, SECRET_LEN_MAX, SecretKey, SessionError, report_data,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use strongroom_evidence::{Malformed, Report, Vmpl};
use strongroom_token::{BadToken, Token};

/// Nonce and key were sent.
#[derive(Debug)]
pub struct Hello {
    handshake: Handshake,
    nonce: [u8; NONCE_LEN],
}

/// The channel is there. Who is at its other end is not known.
#[derive(Debug)]
pub struct Unproven {
    channel: Channel,
    report_data: [u8; 64],
}

/// Evidence has come, and nobody has looked at it.
#[derive(Debug)]
pub struct Presented {
    channel: Channel,
    report_data: [u8; 64],
    evidence: Evidence,
}

/// The evidence is good: secrets can be sent.
#[derive(Debug)]
pub struct Verified(Channel);

/// All was sent.
#[derive(Debug)]
pub struct Expecting(Channel);

/// The workload's service was asked for.
#[derive(Debug)]
pub struct Connecting(Channel);

/// The workload's service is at the other end: a stream of bytes in each direction.
#[derive(Debug)]
pub struct Connected(Channel);

/// What the enclave says to a client of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Bytes of the service.
    Bytes(ServiceBytes),
    /// The service has closed the connection.
    Closed,
}

/// Why there is no connection to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotConnected {
    /// The enclave says no.
    Refused(Refusal),
    /// The session is over.
    Session(SessionError),
}

/// What the other side sent about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A report of SEV-SNP.
    SnpReport {
        /// The report, as it came.
        report: Vec<u8>,
        /// The host's table of certificates; may be empty.
        certificates: Vec<u8>,
    },
    /// The token of a trusted application, as it came.
    Token(Vec<u8>),
}

/// Why there is no evidence to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPresented {
    /// The enclave says that it has none.
    NoEvidence(NoEvidence),
    /// The session is over.
    Session(SessionError),
}

/// Why evidence was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotVerified<E> {
    /// No report.
    Unreadable(Malformed),
    /// No token.
    UnreadableToken(BadToken),
    /// The report was not asked for by a kernel: a program, or the host, may have made it.
    PrivilegeLevel {
        /// The level in the report.
        found: Vmpl,
    },
    /// The evidence is not about this session: of another session, nonce or enclave.
    ReportData {
        /// What this session's evidence repeats.
        expected: Box<[u8; 64]>,
        /// What the evidence repeats.
        found: Box<[u8; 64]>,
    },
    /// The caller's check refused.
    Check(E),
}

/// What the enclave says after all was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The program has what was sent.
    Started,
    /// The program ended with this status.
    Exited(u8),
    /// The enclave did not accept what was sent.
    Refused(Refusal),
    /// Nothing follows.
    Closed,
}

impl Hello {
    /// With the owner's key, or a fresh one, and with nonce and ephemeral key from a generator for
    /// cryptography; returns the bytes to send first.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`], which does not happen.
    pub fn new(
        key: &SecretKey,
        nonce: [u8; NONCE_LEN],
        ephemeral: [u8; KEY_LEN],
    ) -> Result<(Self, Vec<u8>), SessionError> {
        let mut handshake = Handshake::new(Role::Client, key.bytes(), ephemeral)?;
        let hello = handshake.write(&nonce)?;
        Ok((Self { handshake, nonce }, hello))
    }

    /// Takes the first frame; the answer is to be sent.
    ///
    /// # Errors
    ///
    /// [`SessionError::Handshake`] for what is not this handshake's.
    pub fn receive(mut self, frame: &[u8]) -> Result<(Unproven, Vec<u8>), SessionError> {
        let [] = self.handshake.read(frame)?;
        let last = self.handshake.write(&[])?;
        let channel = self.handshake.finish()?;
        let report_data = report_data(&self.nonce, &channel.hash);
        Ok((Unproven { channel, report_data }, last))
    }
}

impl Unproven {
    /// Takes the frame with the evidence.
    ///
    /// # Errors
    ///
    /// [`NotPresented`]: the enclave has none, or it is not the enclave that speaks.
    pub fn receive(mut self, frame: &[u8]) -> Result<Presented, NotPresented> {
        let plain = self.channel.open(frame).map_err(NotPresented::Session)?;
        let evidence = match parse(&plain).map_err(NotPresented::Session)? {
            ToClient::SnpReport { report, certificates } => {
                Evidence::SnpReport { report: report.into(), certificates: certificates.into() }
            }
            ToClient::Token(token) => Evidence::Token(token.into()),
            ToClient::NoEvidence(reason) => return Err(NotPresented::NoEvidence(reason)),
            ToClient::Refused(_)
            | ToClient::Started
            | ToClient::Exited { .. }
            | ToClient::Close
            | ToClient::Connected
            | ToClient::Bytes(_) => return Err(NotPresented::Session(SessionError::OutOfOrder)),
        };
        Ok(Presented { channel: self.channel, report_data: self.report_data, evidence })
    }
}

impl Presented {
    /// The report data that this session's evidence has to have.
    #[must_use]
    pub const fn report_data(&self) -> &[u8; 64] {
        &self.report_data
    }

    /// The evidence, for those who want to keep it.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Decides whether to go on: `check` has to find the evidence genuine and good enough, and gets
    /// the report data that the policy is to ask for. That the evidence is about this session, and a
    /// report was asked for by a kernel, is checked here whatever the policy says. In a trusted
    /// application kernel and program are one domain: a token tells nothing of the kind.
    ///
    /// # Errors
    ///
    /// [`NotVerified`], with `check`'s own reason in it.
    pub fn verify<C, E>(
        self,
        check: impl FnOnce(&Evidence, [u8; 64]) -> Result<C, E>,
    ) -> Result<(Verified, C), NotVerified<E>> {
        let found = match &self.evidence {
            Evidence::SnpReport { report, .. } => kernel_report(report)?.report_data,
            Evidence::Token(token) => {
                Token::parse(token).map_err(NotVerified::UnreadableToken)?.statement.nonce
            }
        };
        if found != self.report_data {
            let (expected, found) = (Box::new(self.report_data), Box::new(found));
            return Err(NotVerified::ReportData { expected, found });
        }
        let claims = check(&self.evidence, self.report_data).map_err(NotVerified::Check)?;
        Ok((Verified(self.channel), claims))
    }
}

/// A report that a kernel has asked for.
fn kernel_report<E>(report: &[u8]) -> Result<Report, NotVerified<E>> {
    let report = Report::parse(report).map_err(NotVerified::Unreadable)?;
    if report.vmpl == Vmpl::Guest(KERNEL_VMPL) {
        Ok(report)
    } else {
        Err(NotVerified::PrivilegeLevel { found: report.vmpl })
    }
}

impl Verified {
    /// An argument behind those of the manifest: bytes to send.
    ///
    /// # Errors
    ///
    /// [`SessionError::TooLong`] for one that does not fit into a message.
    pub fn argument(&mut self, argument: &str) -> Result<Vec<u8>, SessionError> {
        self.0.seal(&ToEnclave::Argument(argument))
    }

    /// A variable: bytes to send.
    ///
    /// # Errors
    ///
    /// [`SessionError::TooLong`] for one that does not fit into a message.
    pub fn variable(&mut self, name: &str, value: &str) -> Result<Vec<u8>, SessionError> {
        self.0.seal(&ToEnclave::Variable { name, value })
    }

    /// A secret: bytes to send.
    ///
    /// # Errors
    ///
    /// [`SessionError::TooLong`] for more than [`SECRET_LEN_MAX`] bytes.
    pub fn secret(&mut self, name: &str, bytes: &[u8]) -> Result<Vec<u8>, SessionError> {
        if bytes.len() > SECRET_LEN_MAX {
            return Err(SessionError::TooLong);
        }
        let length = u32::try_from(bytes.len()).map_err(|_| SessionError::TooLong)?;
        let mut frames = self.0.seal(&ToEnclave::Secret { name, length })?;
        for piece in bytes.chunks(PIECE_MAX) {
            frames.extend(self.0.seal(&ToEnclave::Piece(piece))?);
        }
        Ok(frames)
    }

    /// Asks for the program: bytes to send last.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`] after an earlier failure.
    pub fn start(mut self) -> Result<(Expecting, Vec<u8>), SessionError> {
        let frame = self.0.seal(&ToEnclave::Start)?;
        Ok((Expecting(self.0), frame))
    }

    /// Asks for the workload's service: bytes to send.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`] after an earlier failure.
    pub fn connect(mut self) -> Result<(Connecting, Vec<u8>), SessionError> {
        let frame = self.0.seal(&ToEnclave::Connect)?;
        Ok((Connecting(self.0), frame))
    }

    /// Leaves without a program started: bytes to send last.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`] after an earlier failure.
    pub fn close(mut self) -> Result<Vec<u8>, SessionError> {
        self.0.seal(&ToEnclave::Close)
    }
}

impl Expecting {
    /// Takes a frame.
    ///
    /// # Errors
    ///
    /// [`SessionError`] for what is not the enclave's next message.
    pub fn receive(&mut self, frame: &[u8]) -> Result<Answer, SessionError> {
        let plain = self.0.open(frame)?;
        match parse(&plain)? {
            ToClient::Started => Ok(Answer::Started),
            ToClient::Exited { status } => Ok(Answer::Exited(status)),
            ToClient::Refused(reason) => Ok(Answer::Refused(reason)),
            ToClient::Close => Ok(Answer::Closed),
            ToClient::SnpReport { .. }
            | ToClient::Token(_)
            | ToClient::NoEvidence(_)
            | ToClient::Connected
            | ToClient::Bytes(_) => Err(SessionError::OutOfOrder),
        }
    }

    /// Leaves: bytes to send last.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`] after an earlier failure.
    pub fn close(mut self) -> Result<Vec<u8>, SessionError> {
        self.0.seal(&ToEnclave::Close)
    }
}

impl Connecting {
    /// Takes the answer.
    ///
    /// # Errors
    ///
    /// [`NotConnected`].
    pub fn receive(mut self, frame: &[u8]) -> Result<Connected, NotConnected> {
        let plain = self.0.open(frame).map_err(NotConnected::Session)?;
        match parse(&plain).map_err(NotConnected::Session)? {
            ToClient::Connected => Ok(Connected(self.0)),
            ToClient::Refused(reason) => Err(NotConnected::Refused(reason)),
            ToClient::SnpReport { .. }
            | ToClient::Token(_)
            | ToClient::NoEvidence(_)
            | ToClient::Started
            | ToClient::Exited { .. }
            | ToClient::Bytes(_)
            | ToClient::Close => Err(NotConnected::Session(SessionError::OutOfOrder)),
        }
    }
}

impl Connected {
    /// Bytes for the service, any number: bytes to send.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`] after an earlier failure.
    pub fn send(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SessionError> {
        let mut frames = Vec::new();
        for piece in bytes.chunks(PIECE_MAX) {
            frames.extend(self.0.seal(&ToEnclave::Bytes(piece))?);
        }
        Ok(frames)
    }

    /// Says that no more bytes come, and that the service may go on to speak: bytes to send.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`] after an earlier failure.
    pub fn finish(&mut self) -> Result<Vec<u8>, SessionError> {
        self.0.seal(&ToEnclave::Finish)
    }

    /// Takes a frame.
    ///
    /// # Errors
    ///
    /// [`SessionError`] for what is not the enclave's next message.
    pub fn receive(&mut self, frame: &[u8]) -> Result<Incoming, SessionError> {
        let plain = self.0.open(frame)?;
        match parse(&plain)? {
            ToClient::Bytes(bytes) => Ok(Incoming::Bytes(ServiceBytes::new(bytes))),
            ToClient::Close | ToClient::Refused(_) => Ok(Incoming::Closed),
            ToClient::SnpReport { .. }
            | ToClient::Token(_)
            | ToClient::NoEvidence(_)
            | ToClient::Started
            | ToClient::Exited { .. }
            | ToClient::Connected => Err(SessionError::OutOfOrder),
        }
    }

    /// Leaves: bytes to send last.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`] after an earlier failure.
    pub fn close(mut self) -> Result<Vec<u8>, SessionError> {
        self.0.seal(&ToEnclave::Close)
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "the enclave refuses: {reason}"),
            Self::Session(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl core::error::Error for NotConnected {}

impl fmt::Display for NotPresented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvidence(reason) => write!(f, "the enclave has no evidence: {reason}"),
            Self::Session(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl core::error::Error for NotPresented {}
