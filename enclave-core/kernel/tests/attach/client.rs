// SPDX-License-Identifier: MIT
//! A client as `strongroom attach` is one, and the security processor it asks about.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};
use strongroom_attestation_testing::application::{self, Application};
use strongroom_attestation_testing::machine::{Machine, NOW, policy_text};
use strongroom_evidence::Vmpl;
use strongroom_fake::{Ending, System};
use strongroom_session::client::{
    Answer, Connected, Connecting, Evidence, Expecting, Hello, Incoming, NotConnected,
    NotPresented, Verified,
};
use strongroom_session::message::NoEvidence;
use strongroom_session::{FRAME_MAX, Frames, SecretKey};
use strongroom_south::{
    AttestingEnvironment, DERIVED_KEY_LEN, KeyRequest, Report, ReportRequest, SecurityError,
    SecurityProcessor,
};
use strongroom_verifier::{
    Claims, Endorsements, Enrolment, Policy, Refusal, verify_report, verify_token,
};

/// The chip of all tests.
static MACHINE: LazyLock<Machine> = LazyLock::new(Machine::milan);
/// Each client has keys and a nonce of its own.
static CLIENTS: AtomicU8 = AtomicU8::new(1);

/// Whose key the manifests pin.
pub(crate) fn owner() -> SecretKey {
    SecretKey::from_bytes([21; 32])
}

/// Somebody else.
pub(crate) fn stranger() -> SecretKey {
    SecretKey::from_bytes([22; 32])
}

/// Signs whatever the kernel asks for, as the chip of a made-up authority.
struct Signing;

/// A security processor of a made-up authority.
pub(crate) fn psp() -> impl SecurityProcessor + 'static {
    Signing
}

impl SecurityProcessor for Signing {
    fn report(&self, request: &ReportRequest) -> Result<Report, SecurityError> {
        let mut report = MACHINE.report;
        report.report_data = request.data;
        let level = u8::try_from(request.vmpl).map_err(|_| SecurityError::Refused(0x16))?;
        report.vmpl = Vmpl::Guest(level);
        assert!(request.certificates, "a client has no other way to them");
        Ok(Report { bytes: MACHINE.chip.sign(&report).to_vec(), certificates: Vec::new() })
    }

    fn derive_key(&self, _: &KeyRequest) -> Result<[u8; DERIVED_KEY_LEN], SecurityError> {
        Err(SecurityError::Refused(0x16))
    }
}

/// A security processor that gives nothing.
pub(crate) struct Refusing(pub(crate) SecurityError);

impl SecurityProcessor for Refusing {
    fn report(&self, _: &ReportRequest) -> Result<Report, SecurityError> {
        Err(self.0)
    }

    fn derive_key(&self, _: &KeyRequest) -> Result<[u8; DERIVED_KEY_LEN], SecurityError> {
        Err(self.0)
    }
}

/// Signs as a made-up trusted application.
pub(crate) struct Stating;

impl AttestingEnvironment for Stating {
    fn token(&self, data: &[u8; 64]) -> Result<Vec<u8>, SecurityError> {
        let mut application = Application::new();
        application.statement.nonce = *data;
        Ok(application.token())
    }
}

/// What the verifier says of a token.
fn judge(token: &[u8], data: [u8; 64]) -> Result<Claims, Refusal> {
    let enrolment = Application::new().enrolment_text("device");
    let enrolment = Enrolment::from_toml(&enrolment).unwrap();
    let policy = Policy::from_toml(&application::policy_text()).unwrap().with_report_data(data);
    verify_token(token, &enrolment, &policy).map(Claims::from)
}

/// A client that has sent its first message.
pub(crate) struct Client {
    pub(crate) visitor: u32,
    frames: Frames,
    hello: Option<Hello>,
}

/// A client that has verified the evidence.
#[derive(Debug)]
pub(crate) struct Attached {
    visitor: u32,
    frames: Frames,
    verified: Verified,
}

/// A client that has sent its last message: `bytes`, if it is to be looked at.
pub(crate) struct Sent {
    pub(crate) visitor: u32,
    pub(crate) bytes: Vec<u8>,
    frames: Frames,
    expecting: Option<Expecting>,
}

impl Client {
    /// Comes, and says hello.
    pub(crate) fn connect(system: &mut System, key: &SecretKey) -> Self {
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let (hello, bytes) = Hello::new(key, [number; 32], [!number; 32]).unwrap();
        let _ = system.run_until_idle();
        let visitor = system.host.visit();
        system.host.bring(visitor, &bytes);
        Self { visitor, frames: Frames::default(), hello: Some(hello) }
    }

    /// The handshake, and evidence that has to be good.
    pub(crate) fn attach(&mut self, system: &mut System) -> Result<Attached, NoEvidence> {
        let answer = next_frame(system, self.visitor, &mut self.frames);
        let (unproven, last) = self.hello.take().unwrap().receive(&answer).unwrap();
        system.host.bring(self.visitor, &last);
        let evidence = next_frame(system, self.visitor, &mut self.frames);
        let presented = match unproven.receive(&evidence) {
            Ok(presented) => presented,
            Err(NotPresented::NoEvidence(reason)) => return Err(reason),
            Err(other) => panic!("{other:?}"),
        };
        let (verified, claims) = presented
            .verify(|evidence, data| {
                let report = match evidence {
                    Evidence::SnpReport { report, .. } => report,
                    Evidence::Token(token) => return judge(token, data),
                };
                let key = MACHINE.report_key();
                let endorsements = Endorsements {
                    root: &MACHINE.authority.root_certificate,
                    issuer: MACHINE.issuer(),
                    report_key: &key,
                    revocation_list: MACHINE.revocation_list.as_deref(),
                };
                let policy = Policy::from_toml(&policy_text()).unwrap().with_report_data(data);
                verify_report(report, &endorsements, &policy, NOW).map(Claims::from)
            })
            .unwrap();
        assert!(claims.snp().is_none_or(|claims| claims.vmpl == 3));
        let frames = std::mem::take(&mut self.frames);
        Ok(Attached { visitor: self.visitor, frames, verified })
    }
}

impl Attached {
    pub(crate) fn argument(&mut self, system: &mut System, argument: &str) -> &mut Self {
        let bytes = self.verified.argument(argument).unwrap();
        system.host.bring(self.visitor, &bytes);
        self
    }

    pub(crate) fn variable(&mut self, system: &mut System, name: &str, value: &str) -> &mut Self {
        let bytes = self.verified.variable(name, value).unwrap();
        system.host.bring(self.visitor, &bytes);
        self
    }

    pub(crate) fn secret(&mut self, system: &mut System, name: &str, value: &[u8]) -> &mut Self {
        let bytes = self.verified.secret(name, value).unwrap();
        system.host.bring(self.visitor, &bytes);
        self
    }

    /// Says `start`, and runs until nothing more happens.
    pub(crate) fn start(self, system: &mut System) -> (Sent, Result<Option<u64>, Ending>) {
        let (expecting, bytes) = self.verified.start().unwrap();
        system.host.bring(self.visitor, &bytes);
        let ending = system.run_until_idle();
        let Self { visitor, frames, .. } = self;
        (Sent { visitor, bytes, frames, expecting: Some(expecting) }, ending)
    }

    /// Asks for the service; what the enclave says, once it says something.
    pub(crate) fn ask_for_service(self, system: &mut System) -> Asking {
        let (connecting, bytes) = self.verified.connect().unwrap();
        system.host.bring(self.visitor, &bytes);
        Asking { visitor: self.visitor, frames: self.frames, connecting }
    }

    /// Leaves.
    pub(crate) fn close(self, system: &mut System) -> Sent {
        let bytes = self.verified.close().unwrap();
        system.host.bring(self.visitor, &bytes);
        system.run_until_idle().unwrap();
        Sent { visitor: self.visitor, bytes, frames: self.frames, expecting: None }
    }
}

/// A client that has asked for the service.
pub(crate) struct Asking {
    visitor: u32,
    frames: Frames,
    connecting: Connecting,
}

/// A client of the service.
pub(crate) struct Caller {
    pub(crate) visitor: u32,
    frames: Frames,
    connected: Connected,
}

impl Asking {
    /// The connection, or why there is none.
    pub(crate) fn answer(mut self, system: &mut System) -> Result<Caller, NotConnected> {
        let frame = next_frame(system, self.visitor, &mut self.frames);
        let connected = self.connecting.receive(&frame)?;
        Ok(Caller { visitor: self.visitor, frames: self.frames, connected })
    }
}

impl Caller {
    /// Sends, and runs until nothing more happens.
    pub(crate) fn say(&mut self, system: &mut System, bytes: &[u8]) {
        system.host.bring(self.visitor, &self.connected.send(bytes).unwrap());
        let _ = system.run_until_idle();
    }

    /// What the service has said since; none at the end for its end.
    pub(crate) fn hear(&mut self, system: &mut System) -> (Vec<u8>, bool) {
        let mut heard = Vec::new();
        loop {
            let _ = system.run_until_idle();
            let fetched = system.host.fetch(self.visitor);
            if fetched.is_empty() {
                return (heard, false);
            }
            for piece in fetched.chunks(FRAME_MAX) {
                self.frames.push(piece).unwrap();
                while let Some(frame) = self.frames.next(FRAME_MAX).unwrap() {
                    match self.connected.receive(&frame).unwrap() {
                        Incoming::Bytes(bytes) => heard.extend_from_slice(&bytes),
                        Incoming::Closed => return (heard, true),
                    }
                }
            }
        }
    }

    /// Leaves.
    pub(crate) fn close(self, system: &mut System) {
        system.host.bring(self.visitor, &self.connected.close().unwrap());
        let _ = system.run_until_idle();
    }
}

impl Sent {
    /// What the enclave has said to that.
    pub(crate) fn answers(&mut self, system: &mut System) -> Vec<Answer> {
        self.frames.push(&system.host.fetch(self.visitor)).unwrap();
        let mut answers = Vec::new();
        while let Some(frame) = self.frames.next(FRAME_MAX).unwrap() {
            answers.push(self.expecting.as_mut().unwrap().receive(&frame).unwrap());
        }
        answers
    }
}

/// Runs the enclave until it has sent a whole frame.
fn next_frame(system: &mut System, visitor: u32, frames: &mut Frames) -> Vec<u8> {
    system.run_until_idle().unwrap();
    frames.push(&system.host.fetch(visitor)).unwrap();
    frames.next(FRAME_MAX).unwrap().unwrap()
}
