// SPDX-License-Identifier: MIT
//! Both sides, a security processor that is made up, and a client that checks what it is shown.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test that meets the unexpected is to fail"
)]
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::LazyLock;
use strongroom_attestation_testing::machine::{Machine, NOW, policy_text};
use strongroom_evidence::Report;
use strongroom_session::client::{Evidence, Hello, NotVerified, Presented, Unproven, Verified};
use strongroom_session::enclave::{self, Intake, Proving, Replied, Step, Terms, Waiting};
use strongroom_session::{FRAME_MAX, Frames, SecretKey};
use strongroom_verifier::{Endorsements, Policy, Refusal, SnpClaims};
use strongroom_wire::boot::SessionTerms;

/// The owner of [`terms`].
pub fn owner() -> SecretKey {
    SecretKey::from_bytes([11; 32])
}

/// Somebody else.
pub fn stranger() -> SecretKey {
    SecretKey::from_bytes([12; 32])
}

/// A manifest that takes everything.
pub fn terms() -> SessionTerms {
    SessionTerms {
        owners: vec![owner().public().0],
        insecure_any_client: false,
        late_arguments: true,
        late_environment: vec!["REGION".into()],
        secrets: vec!["key".into()],
    }
}

/// A manifest with these terms, and no service.
pub fn owned(terms: &SessionTerms) -> Terms<'_> {
    Terms { session: Some(terms), service: None }
}

/// The frames in some bytes, which have to be whole.
pub fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Frames::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(FRAME_MAX) {
        frames.push(piece).unwrap();
        while let Some(frame) = frames.next(FRAME_MAX).unwrap() {
            found.push(frame);
        }
    }
    assert!(!frames.is_amid_frame());
    found
}

/// The one frame in some bytes.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut found = frames(bytes);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// Numbers of sessions give other keys and nonces.
pub fn hello(key: &SecretKey, number: u8) -> (Hello, Vec<u8>) {
    let (hello, bytes) = Hello::new(key, [number; 32], [number ^ 0x40; 32]).unwrap();
    (hello, frame(&bytes))
}

pub fn waiting(number: u8) -> Waiting {
    Waiting::new([number ^ 0x80; 32], [number ^ 0xc0; 32]).unwrap()
}

/// Both sides after an undisturbed handshake.
pub fn handshake(key: &SecretKey, number: u8) -> (Unproven, Proving) {
    handshake_of(hello(key, number), number)
}

/// The same for a client that has begun.
pub fn handshake_of((hello, first): (Hello, Vec<u8>), number: u8) -> (Unproven, Proving) {
    let (replied, second): (Replied, _) = waiting(number).receive(&first).unwrap();
    let (unproven, third) = hello.receive(&frame(&second)).unwrap();
    (unproven, replied.receive(&frame(&third)).unwrap())
}

/// What a machine's security processor says of `data`.
pub fn report(machine: &Machine, data: &[u8; 64]) -> Vec<u8> {
    let mut report = machine.report;
    report.report_data = *data;
    machine.chip.sign(&report).to_vec()
}

/// The enclave after it has sent a machine's evidence, and the frame.
pub fn present(proving: Proving, machine: &Machine) -> (Intake, Vec<u8>) {
    let report = report(machine, proving.report_data());
    let evidence = enclave::Evidence::SnpReport { report: &report, certificates: b"table" };
    let (intake, bytes) = proving.present(evidence).unwrap();
    (intake, frame(&bytes))
}

/// A client's check: the verifier, with the certificates of `machine`.
pub fn check(
    machine: &Machine,
    policy: &str,
) -> impl FnOnce(&Evidence, [u8; 64]) -> Result<SnpClaims, Refusal> {
    let policy = Policy::from_toml(policy).unwrap();
    let key = machine.report_key();
    move |evidence, data| {
        let endorsements = Endorsements {
            root: &machine.authority.root_certificate,
            issuer: machine.issuer(),
            report_key: &key,
            revocation_list: machine.revocation_list.as_deref(),
        };
        let policy = policy.with_report_data(data);
        let Evidence::SnpReport { report, .. } = evidence else { panic!("{evidence:?}") };
        strongroom_verifier::verify_report(report, &endorsements, &policy, NOW)
    }
}

/// What a client thinks of a machine's evidence under the policy of the tests.
pub fn verify(
    presented: Presented,
    machine: &Machine,
) -> Result<(Verified, SnpClaims), NotVerified<Refusal>> {
    presented.verify(check(machine, &policy_text()))
}

/// A report that parses; nobody signed it.
static UNSIGNED: LazyLock<Report> = LazyLock::new(|| Machine::milan().report);

/// Both sides, with evidence that the client believes unseen: for tests of what comes after.
pub fn verified(key: &SecretKey, number: u8) -> (Verified, Intake) {
    let (unproven, proving) = handshake(key, number);
    let report = Report { report_data: *proving.report_data(), ..*UNSIGNED };
    let report = report.encode();
    let evidence = enclave::Evidence::SnpReport { report: &report, certificates: b"" };
    let (intake, bytes) = proving.present(evidence).unwrap();
    let presented = unproven.receive(&frame(&bytes)).unwrap();
    let believed = presented.verify(|_, _| Ok::<(), ()>(()));
    (believed.unwrap().0, intake)
}

/// Feeds the frames of `bytes`, until one is more than taken in; the last step.
pub fn feed(intake: &mut Intake, terms: &SessionTerms, bytes: &[u8]) -> Step {
    for frame in frames(bytes) {
        let step = intake.receive(owned(terms), &frame).unwrap();
        if !matches!(step, Step::More) {
            return step;
        }
    }
    Step::More
}
