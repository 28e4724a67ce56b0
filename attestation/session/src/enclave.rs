// SPDX-License-Identifier: MIT
//! The enclave's side.

use crate::channel::{Channel, Handshake, Role, parse};
use crate::gathered::Gathered;
use crate::message::{NoEvidence, Refusal, ToClient, ToEnclave};
use crate::{KEY_LEN, NONCE_LEN, PublicKey, SessionError, report_data};
use alloc::vec::Vec;
use strongroom_wire::boot::SessionTerms;

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
    pub fn is_owner(&self, terms: &SessionTerms) -> bool {
        is_owner(terms, &self.channel.peer)
    }

    /// Takes a frame of the client.
    ///
    /// # Errors
    ///
    /// [`SessionError`] for what is not the client's next message; the connection is to be closed
    /// without an answer. What an authentic client may not send is [`Step::Refused`].
    pub fn receive(&mut self, terms: &SessionTerms, frame: &[u8]) -> Result<Step, SessionError> {
        let plain = self.channel.open(frame)?;
        match self.phase {
            Phase::Gathering => {}
            Phase::Started => return self.after_start(&plain),
            Phase::Closed => return Err(SessionError::OutOfOrder),
        }
        let Ok(message) = parse::<ToEnclave<'_>>(&plain) else {
            return self.refuse(Refusal::OutOfOrder);
        };
        if matches!(message, ToEnclave::Close) {
            self.phase = Phase::Closed;
            return Ok(Step::Closed);
        }
        if !is_owner(terms, &self.channel.peer) {
            return self.refuse(Refusal::NotOwner);
        }
        if !matches!(message, ToEnclave::Start) {
            return match self.gathered.take(terms, &message) {
                Ok(()) => Ok(Step::More),
                Err(reason) => self.refuse(reason),
            };
        }
        if let Err(reason) = self.gathered.check_complete(terms) {
            return self.refuse(reason);
        }
        self.phase = Phase::Started;
        Ok(Step::Start(core::mem::take(&mut self.gathered)))
    }

    /// Once the program has been asked for, a client can only leave.
    fn after_start(&mut self, plain: &[u8]) -> Result<Step, SessionError> {
        match parse(plain) {
            Ok(ToEnclave::Close) => {
                self.phase = Phase::Closed;
                Ok(Step::Closed)
            }
            Ok(_) | Err(_) => self.refuse(Refusal::OutOfOrder),
        }
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

    fn after(&mut self, message: &ToClient<'_>) -> Result<Vec<u8>, SessionError> {
        match self.phase {
            Phase::Started => self.channel.seal(message),
            Phase::Gathering | Phase::Closed => Err(SessionError::OutOfOrder),
        }
    }
}

/// Whether a client with this key is listened to. Public keys are no secret: comparing may take
/// as long as it likes.
fn is_owner(terms: &SessionTerms, key: &[u8; KEY_LEN]) -> bool {
    terms.insecure_any_client || terms.owners.contains(key)
}
