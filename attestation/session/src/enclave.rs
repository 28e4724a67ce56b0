// SPDX-License-Identifier: MIT
//! The enclave's side.

use crate::channel::{Channel, Handshake, Role, parse};
use crate::gathered::Gathered;
use crate::message::{NoEvidence, PIECE_MAX, Refusal, ServiceBytes, ToClient, ToEnclave};
use crate::{KEY_LEN, NONCE_LEN, PublicKey, SessionError, report_data};
use alloc::vec::Vec;
use strongroom_wire::boot::{ServiceTerms, SessionTerms};

/// What the manifest says about sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// Who may start the workload, and with what.
    pub session: Option<&'a SessionTerms>,
    /// Who may call its service.
    pub service: Option<&'a ServiceTerms>,
}

/// Nothing has arrived yet.
#[derive(Debug)]
pub struct Waiting(Handshake);

/// The enclave has sent its keys.
#[derive(Debug)]
pub struct Replied {
    handshake: Handshake,
    nonce: [u8; NONCE_LEN],
}

/// The channel is there; the client knows nothing about the enclave.
#[derive(Debug)]
pub struct Proving {
    channel: Channel,
    report_data: [u8; 64],
}

/// Evidence was sent. What the client sends now is held to the manifest's terms.
#[derive(Debug)]
pub struct Intake {
    channel: Channel,
    gathered: Gathered,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Gathering,
    Started,
    /// The client has asked for the service.
    Connecting,
    Connected,
    /// The client has nothing more to say.
    Finished,
    Closed,
}

/// What the enclave says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence<'a> {
    /// A report of SEV-SNP, and the host's certificates for it.
    SnpReport {
        /// The report, over [`Proving::report_data`], at [`crate::KERNEL_VMPL`].
        report: &'a [u8],
        /// The table of certificates; one over [`crate::CERTIFICATES_MAX`] is left out.
        certificates: &'a [u8],
    },
    /// The token of a trusted application, over [`Proving::report_data`].
    Token(&'a [u8]),
    /// There is none.
    None(NoEvidence),
}

/// What came of a client's message.
#[derive(Debug)]
pub enum Step {
    /// There is more to come.
    More,
    /// The client wants the program started, with this.
    Start(Gathered),
    /// The client wants the service, and may have it: [`Intake::connected`] or [`Intake::refuse`].
    Connect,
    /// Bytes for the service.
    Bytes(ServiceBytes),
    /// The client has nothing more to say to the service.
    Finish,
    /// It is not accepted: the bytes tell the client, then the connection is to be closed.
    Refused {
        /// Why.
        reason: Refusal,
        /// The frame to send.
        reply: Vec<u8>,
    },
    /// The client is done.
    Closed,
}

impl Waiting {
    /// With two keys from the enclave's own random generator, never used before or after.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`], which does not happen.
    pub fn new(own: [u8; KEY_LEN], ephemeral: [u8; KEY_LEN]) -> Result<Self, SessionError> {
        Handshake::new(Role::Enclave, &own, ephemeral).map(Self)
    }

    /// Takes the first frame; the answer is to be sent.
    ///
    /// # Errors
    ///
    /// [`SessionError::Handshake`] for anything but a nonce of [`NONCE_LEN`] bytes and a key.
    pub fn receive(mut self, frame: &[u8]) -> Result<(Replied, Vec<u8>), SessionError> {
        let nonce = self.0.read(frame)?;
        let reply = self.0.write(&[])?;
        Ok((Replied { handshake: self.0, nonce }, reply))
    }
}

impl Replied {
    /// Takes the last frame of the handshake.
    ///
    /// # Errors
    ///
    /// [`SessionError::Handshake`] for what is not this handshake's.
    pub fn receive(mut self, frame: &[u8]) -> Result<Proving, SessionError> {
        let [] = self.handshake.read(frame)?;
        let channel = self.handshake.finish()?;
        let report_data = report_data(&self.nonce, &channel.hash);
        Ok(Proving { channel, report_data })
    }
}

impl Proving {
    /// What the report has to repeat.
    #[must_use]
    pub const fn report_data(&self) -> &[u8; 64] {
        &self.report_data
    }

    /// The evidence as a frame to be sent. Without evidence nothing is taken from the client.
    ///
    /// # Errors
    ///
    /// [`SessionError::TooLong`] for a report or token that is none.
    pub fn present(mut self, evidence: Evidence<'_>) -> Result<(Intake, Vec<u8>), SessionError> {
        let (message, phase) = match evidence {
            Evidence::SnpReport { report, certificates } => {
                let fits = certificates.len() <= crate::CERTIFICATES_MAX;
                let certificates = if fits { certificates } else { &[] };
                (ToClient::SnpReport { report, certificates }, Phase::Gathering)
            }
            Evidence::Token(token) => (ToClient::Token(token), Phase::Gathering),
            Evidence::None(reason) => (ToClient::NoEvidence(reason), Phase::Closed),
        };
        let frame = self.channel.seal(&message)?;
        Ok((Intake { channel: self.channel, gathered: Gathered::default(), phase }, frame))
    }
}

impl Intake {
    /// The client's key, of which it has proven to have the secret half.
    #[must_use]
    pub const fn client(&self) -> PublicKey {
        PublicKey(self.channel.peer)
    }

    /// Whether the client is listened to. Before it says something, evidence is all it gets.
    #[must_use]
    pub fn is_welcome(&self, terms: Terms<'_>) -> bool {
        self.is_owner(terms) || self.may_call(terms)
    }

    fn is_owner(&self, terms: Terms<'_>) -> bool {
        terms.session.is_some_and(|terms| {
            terms.insecure_any_client || terms.owners.contains(&self.channel.peer)
        })
    }

    fn may_call(&self, terms: Terms<'_>) -> bool {
        terms
            .service
            .is_some_and(|terms| terms.any_client || terms.clients.contains(&self.channel.peer))
    }

    /// Takes a frame of the client.
    ///
    /// # Errors
    ///
    /// [`SessionError`] for what is not the client's next message; the connection is to be closed
    /// without an answer. What an authentic client may not send is [`Step::Refused`].
    pub fn receive(&mut self, terms: Terms<'_>, frame: &[u8]) -> Result<Step, SessionError> {
        let plain = self.channel.open(frame)?;
        if self.phase == Phase::Closed {
            return Err(SessionError::OutOfOrder);
        }
        let Ok(message) = parse::<ToEnclave<'_>>(&plain) else {
            return self.refuse(Refusal::OutOfOrder);
        };
        match (self.phase, message) {
            (_, ToEnclave::Close) => {
                self.phase = Phase::Closed;
                Ok(Step::Closed)
            }
            (Phase::Connected, ToEnclave::Bytes(bytes)) if bytes.len() <= PIECE_MAX => {
                Ok(Step::Bytes(ServiceBytes::new(bytes)))
            }
            (Phase::Connected, ToEnclave::Finish) => {
                self.phase = Phase::Finished;
                Ok(Step::Finish)
            }
            (Phase::Gathering, ToEnclave::Connect) => self.connect(terms),
            (Phase::Gathering, message) => self.gather(terms, &message),
            // Once the program has been asked for, a client can only leave.
            (
                Phase::Started
                | Phase::Connecting
                | Phase::Connected
                | Phase::Finished
                | Phase::Closed,
                _,
            ) => self.refuse(Refusal::OutOfOrder),
        }
    }

    fn connect(&mut self, terms: Terms<'_>) -> Result<Step, SessionError> {
        if terms.service.is_none() {
            return self.refuse(Refusal::NoService);
        }
        if !self.may_call(terms) {
            return self.refuse(Refusal::NotClient);
        }
        if !self.gathered.is_empty() {
            return self.refuse(Refusal::OutOfOrder);
        }
        self.phase = Phase::Connecting;
        Ok(Step::Connect)
    }

    fn gather(&mut self, terms: Terms<'_>, message: &ToEnclave<'_>) -> Result<Step, SessionError> {
        let session = terms.session.filter(|_| self.is_owner(terms));
        let Some(session) = session else { return self.refuse(Refusal::NotOwner) };
        if !matches!(message, ToEnclave::Start) {
            return match self.gathered.take(session, message) {
                Ok(()) => Ok(Step::More),
                Err(reason) => self.refuse(reason),
            };
        }
        if let Err(reason) = self.gathered.check_complete(session) {
            return self.refuse(reason);
        }
        self.phase = Phase::Started;
        Ok(Step::Start(core::mem::take(&mut self.gathered)))
    }

    /// Refuses, for a reason of the caller's. Nothing is taken any more.
    ///
    /// # Errors
    ///
    /// [`SessionError::Broken`] after an earlier failure.
    pub fn refuse(&mut self, reason: Refusal) -> Result<Step, SessionError> {
        self.phase = Phase::Closed;
        self.gathered = Gathered::default();
        let reply = self.channel.seal(&ToClient::Refused(reason.clone()))?;
        Ok(Step::Refused { reason, reply })
    }

    /// Tells the client that the program has what it sent.
    ///
    /// # Errors
    ///
    /// [`SessionError::OutOfOrder`] before [`Step::Start`].
    pub fn started(&mut self) -> Result<Vec<u8>, SessionError> {
        self.after(&ToClient::Started)
    }

    /// Tells the client how the program ended.
    ///
    /// # Errors
    ///
    /// [`SessionError::OutOfOrder`] before [`Step::Start`].
    pub fn exited(&mut self, status: u8) -> Result<Vec<u8>, SessionError> {
        self.after(&ToClient::Exited { status })
    }

    /// Tells the client that the service is there.
    ///
    /// # Errors
    ///
    /// [`SessionError::OutOfOrder`] before [`Step::Connect`].
    pub fn connected(&mut self) -> Result<Vec<u8>, SessionError> {
        if self.phase != Phase::Connecting {
            return Err(SessionError::OutOfOrder);
        }
        self.phase = Phase::Connected;
        self.channel.seal(&ToClient::Connected)
    }

    /// Bytes of the service, at most [`PIECE_MAX`].
    ///
    /// # Errors
    ///
    /// [`SessionError::OutOfOrder`] before [`Intake::connected`], [`SessionError::TooLong`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SessionError> {
        if !self.is_connected() {
            return Err(SessionError::OutOfOrder);
        }
        if bytes.len() > PIECE_MAX {
            return Err(SessionError::TooLong);
        }
        self.channel.seal(&ToClient::Bytes(bytes))
    }

    /// Tells the client that the service has nothing more to say.
    ///
    /// # Errors
    ///
    /// [`SessionError::OutOfOrder`] before [`Intake::connected`].
    pub fn close(&mut self) -> Result<Vec<u8>, SessionError> {
        if !self.is_connected() {
            return Err(SessionError::OutOfOrder);
        }
        self.phase = Phase::Closed;
        self.channel.seal(&ToClient::Close)
    }

    const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected | Phase::Finished)
    }

    fn after(&mut self, message: &ToClient<'_>) -> Result<Vec<u8>, SessionError> {
        if self.phase == Phase::Started {
            self.channel.seal(message)
        } else {
            Err(SessionError::OutOfOrder)
        }
    }
}
