// SPDX-License-Identifier: MIT
//! An owner's end of an attested session, over a socket.

mod service;

pub use service::{ServiceConnection, ServiceReader, ServiceWriter};

use super::{Appraisal, AttestError, EndorsementFiles, Verdict};
use crate::session::{AttachAddress, Connected};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strongroom_evidence::Vmpl;
use strongroom_session::client::{
    Answer, Evidence, Hello, NotPresented, NotVerified, Presented, Verified,
};
use strongroom_session::message::Refusal as EnclaveRefusal;
use strongroom_session::{
    FRAME_MAX, Frames, HANDSHAKE_FRAME_MAX, KERNEL_VMPL, SecretKey, SessionError,
};
use strongroom_token::NONCE_LEN as CHALLENGE_LEN;
use strongroom_verifier::{Claims, Hex, Reason, Refusal};
use zeroize::Zeroizing;

/// How long an enclave may take for an answer. It may not have booted yet.
const PATIENCE: Duration = Duration::from_secs(120);

/// A session to be had with an enclave.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// What is asked of the evidence.
    pub appraisal: Appraisal,
    /// Accept roots that are not AMD's, for simulations. The evidence then proves nothing.
    pub insecure_accept_simulated: bool,
    /// What the evidence is verified under, where the enclave's host gives nothing.
    pub endorsements: EndorsementFiles,
    /// The owner's key; a fresh one where there is none.
    pub key: Option<SecretKey>,
    /// What the program is given.
    pub brings: Brings,
}

/// What an owner brings along. It leaves only after the evidence was accepted.
#[derive(Clone, Default)]
pub struct Brings {
    /// Arguments behind those of the manifest.
    pub arguments: Vec<String>,
    /// Variables, name and value.
    pub environment: Vec<(String, String)>,
    /// Secrets, name and contents.
    pub secrets: Vec<(String, Zeroizing<Vec<u8>>)>,
}

/// Values are not shown.
impl std::fmt::Debug for Brings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.secrets.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Brings").field("secrets", &names).finish_non_exhaustive()
    }
}

/// A new key for an owner.
///
/// # Errors
/// [`AttestError::Session`] when the system has no randomness.
pub fn generate_key() -> Result<SecretKey, AttestError> {
    random().map(SecretKey::from_bytes)
}

/// A challenge that nobody has seen before.
///
/// # Errors
/// [`AttestError::Session`] when the system has no randomness.
pub fn random_challenge() -> Result<[u8; CHALLENGE_LEN], AttestError> {
    random()
}

/// Connects to an enclave's launcher.
fn connect(address: &AttachAddress) -> Result<Connected, AttestError> {
    let failed = AttestError::io("connect to", address.to_string());
    address.connect(PATIENCE).map_err(failed)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why the program was not started, or cannot be called.
enum Failure {
    Refused(Reason),
    Unreadable(Refusal),
    Error(AttestError),
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(reason) => Self::Refused { reason },
            Failure::Unreadable(refusal) => Self::of_refusal(&refusal),
            Failure::Error(error) => Self::of_error(&error),
        }
    }
}

impl From<AttestError> for Failure {
    fn from(error: AttestError) -> Self {
        Self::Error(error)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Self::Error(AttestError::Session(error.to_string()))
    }
}

impl Attachment {
    /// Connects, verifies, sends, and has the program started. Accepted means all of that.
    #[must_use]
    pub fn attach(&self, address: &AttachAddress) -> Verdict {
        match connect(address) {
            Ok(mut stream) => self.over(&mut stream, now()),
            Err(error) => Verdict::of_error(&error),
        }
    }

    /// The same over a stream that somebody else has connected, at the time `now` in seconds since
    /// 1970.
    pub fn over(&self, stream: &mut (impl Read + Write), now: u64) -> Verdict {
        match self.converse(stream, now) {
            Ok(claims) => Verdict::Accepted { claims: Box::new(claims) },
            Err(failure) => failure.into(),
        }
    }

    fn converse(&self, stream: &mut (impl Read + Write), now: u64) -> Result<Claims, Failure> {
        let mut talk = Talk { stream, frames: Frames::default() };
        let (mut verified, claims) = self.establish(&mut talk, now)?;
        let mut sent = Vec::new();
        for argument in &self.brings.arguments {
            sent.extend(verified.argument(argument)?);
        }
        for (name, value) in &self.brings.environment {
            sent.extend(verified.variable(name, value)?);
        }
        for (name, bytes) in &self.brings.secrets {
            sent.extend(verified.secret(name, bytes)?);
        }
        let (mut expecting, start) = verified.start()?;
        sent.extend(start);
        // An enclave that refuses stops listening: its reason is worth more than the broken pipe.
        let outcome = talk.send(&sent);
        let answer = match talk.receive(FRAME_MAX) {
            Ok(frame) => expecting.receive(&frame)?,
            Err(error) => return Err(outcome.err().unwrap_or(error).into()),
        };
        match answer {
            Answer::Started => Ok(claims),
            Answer::Refused(refusal) => {
                Err(refused_by_enclave("what the manifest's [session] accepts", &refusal))
            }
            Answer::Exited(_) | Answer::Closed => Err(SessionError::OutOfOrder.into()),
        }
    }

    /// Handshake and evidence, up to the point from which secrets can be sent.
    fn establish<S: Read + Write>(
        &self,
        talk: &mut Talk<S>,
        now: u64,
    ) -> Result<(Verified, Claims), Failure> {
        let key = match &self.key {
            Some(key) => key.clone(),
            None => generate_key()?,
        };
        let (hello, bytes) = Hello::new(&key, random()?, random()?)?;
        talk.send(&bytes)?;
        let (unproven, bytes) = hello.receive(&talk.receive(HANDSHAKE_FRAME_MAX)?)?;
        talk.send(&bytes)?;
        let presented = unproven.receive(&talk.receive(FRAME_MAX)?).map_err(not_presented)?;
        self.verify(presented, now)
    }

    fn verify(&self, presented: Presented, now: u64) -> Result<(Verified, Claims), Failure> {
        let verified = presented.verify(|evidence, data| self.check(evidence, data, now));
        verified.map_err(|refused| match refused {
            NotVerified::Check(failure) => failure,
            NotVerified::Unreadable(malformed) => Failure::Unreadable(Refusal::Report(malformed)),
            NotVerified::UnreadableToken(bad) => Failure::Unreadable(Refusal::Token(bad)),
            NotVerified::PrivilegeLevel { found } => Failure::Refused(wrong_level(found)),
            NotVerified::ReportData { expected, found } => {
                Failure::Refused(wrong_session(&expected, &found))
            }
        })
    }

    /// The verifier's part.
    fn check(&self, evidence: &Evidence, data: [u8; 64], now: u64) -> Result<Claims, Failure> {
        let policy = self.appraisal.read(self.insecure_accept_simulated)?;
        let bundle = match evidence {
            Evidence::SnpReport { report, certificates } => {
                let table = Path::new("the certificate table of the enclave's host");
                self.endorsements.bundle(report.clone(), certificates, table)?
            }
            Evidence::Token(token) => self.endorsements.token(token.clone())?,
        };
        if !bundle.data_is_compared(&policy) {
            return Err(AttestError::NonceIgnored.into());
        }
        bundle.judge(&policy.with_report_data(data), now).map_err(|refusal| {
            match refusal.is_unreadable() {
                true => Failure::Unreadable(refusal),
                false => Failure::Refused((&refusal).into()),
            }
        })
    }
}

/// A genuine enclave said no.
fn refused_by_enclave(expected: &str, refusal: &EnclaveRefusal) -> Failure {
    Failure::Refused(Reason {
        check: "session.terms".to_owned(),
        expected: Some(expected.to_owned()),
        found: Some(refusal.to_string()),
        message: format!("the enclave is genuine, and refuses: {refusal}"),
    })
}

fn not_presented(why: NotPresented) -> Failure {
    match why {
        NotPresented::Session(error) => error.into(),
        NotPresented::NoEvidence(reason) => Failure::Refused(Reason {
            check: "session.evidence".to_owned(),
            expected: Some("a report".to_owned()),
            found: Some(format!("none: {reason}")),
            message: format!(
                "the enclave has no evidence: {reason}; launch it on an SEV-SNP host, or in a \
                 simulation with a security processor and --insecure-accept-simulated"
            ),
        }),
    }
}

fn wrong_level(found: Vmpl) -> Reason {
    let found = match found {
        Vmpl::Guest(level) => level.to_string(),
        Vmpl::Host => "asked for by the host".to_owned(),
    };
    Reason {
        check: "session.vmpl".to_owned(),
        expected: Some(KERNEL_VMPL.to_string()),
        message: format!(
            "the report's privilege level is {found}, and not the kernel's, {KERNEL_VMPL}: a \
             program may have asked for it"
        ),
        found: Some(found),
    }
}

fn wrong_session(expected: &[u8; 64], found: &[u8; 64]) -> Reason {
    let (expected, found) = (Hex(*expected).to_string(), Hex(*found).to_string());
    Reason {
        check: "session.report_data".to_owned(),
        message: format!(
            "the report is not about this session: its data are {found}, and not {expected}"
        ),
        expected: Some(expected),
        found: Some(found),
    }
}

fn random<const N: usize>() -> Result<[u8; N], AttestError> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| AttestError::Session("the system has no randomness".to_owned()))?;
    Ok(bytes)
}

/// Frames over a stream.
#[derive(Debug)]
struct Talk<S> {
    stream: S,
    frames: Frames,
}

impl<S: Read + Write> Talk<S> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), AttestError> {
        self.stream.write_all(bytes).map_err(broken("send to"))?;
        self.stream.flush().map_err(broken("send to"))
    }

    fn receive(&mut self, max: usize) -> Result<Vec<u8>, AttestError> {
        self.next_frame(max).map_err(|error| match error {
            NoFrame::Session(error) => AttestError::Session(error.to_string()),
            NoFrame::Stream(error) => broken("hear from")(error),
        })
    }
}

/// Why no frame comes.
enum NoFrame {
    Session(SessionError),
    Stream(io::Error),
}

impl<S: Read> Talk<S> {
    fn next_frame(&mut self, max: usize) -> Result<Vec<u8>, NoFrame> {
        let mut piece = [0; 16 * 1024];
        loop {
            if let Some(frame) = self.frames.next(max).map_err(NoFrame::Session)? {
                return Ok(frame);
            }
            match self.stream.read(&mut piece).map_err(NoFrame::Stream)? {
                0 => return Err(NoFrame::Session(SessionError::Truncated)),
                count => {
                    let bytes = piece.get(..count).unwrap_or_default();
                    self.frames.push(bytes).map_err(NoFrame::Session)?;
                }
            }
        }
    }
}

fn broken(action: &'static str) -> impl FnOnce(io::Error) -> AttestError {
    AttestError::io(action, "the enclave")
}
