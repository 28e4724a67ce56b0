// SPDX-License-Identifier: MIT
//! Evidence that is genuine, and not about this session; or about it, and not good enough.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

mod support;

use strongroom_attestation_testing::application::{self, Application};
use strongroom_attestation_testing::machine::{Machine, policy_text};
use strongroom_evidence::Vmpl;
use strongroom_session::client::{self, Hello, NotVerified};
use strongroom_session::enclave::Evidence;
use strongroom_token::BadToken;
use strongroom_verifier::{Enrolment, Policy, Refusal, verify_token};
use support::*;

/// Shows a client the evidence that `machine` would give for `data`, or for its session.
fn shown(machine: &Machine, data: Option<[u8; 64]>) -> Result<(), NotVerified<Refusal>> {
    let (unproven, proving) = handshake(&owner(), 1);
    let report = report(machine, &data.unwrap_or(*proving.report_data()));
    let evidence = Evidence::SnpReport { report: &report, certificates: b"" };
    let (_, bytes) = proving.present(evidence).unwrap();
    let presented = unproven.receive(&frame(&bytes)).unwrap();
    verify(presented, machine).map(|_| ())
}

fn refused_key(result: Result<(), NotVerified<Refusal>>) -> String {
    let refused = result.unwrap_err();
    let NotVerified::Check(Refusal::Policy { key, .. }) = refused else { panic!("{refused:?}") };
    key
}

#[test]
fn evidence_about_this_session_is_accepted() {
    assert_eq!(shown(&Machine::milan(), None), Ok(()));
    assert_eq!(shown(&Machine::turin(), None), Ok(()));
}

#[test]
fn evidence_of_another_session_nonce_or_enclave_is_refused() {
    let machine = Machine::milan();
    let (_, another) = handshake(&owner(), 2);
    let expected = *handshake(&owner(), 1).1.report_data();
    for found in
        [*another.report_data(), [0; 64], strongroom_session::report_data(&[1; 32], &[2; 32])]
    {
        let refused = shown(&machine, Some(found));
        let (expected, found) = (Box::new(expected), Box::new(found));
        assert_eq!(refused, Err(NotVerified::ReportData { expected, found }));
    }
}

#[test]
fn a_token_has_to_be_about_this_session() {
    let shown = |data: Option<[u8; 64]>| {
        let (unproven, proving) = handshake(&owner(), 1);
        let mut application = Application::new();
        application.statement.nonce = data.unwrap_or(*proving.report_data());
        let (_, bytes) = proving.present(Evidence::Token(&application.token())).unwrap();
        let presented = unproven.receive(&frame(&bytes)).unwrap();
        presented.verify(|evidence, data| {
            let client::Evidence::Token(token) = evidence else { panic!("{evidence:?}") };
            let enrolment = Application::new().enrolment_text("device");
            let enrolment = Enrolment::from_toml(&enrolment).unwrap();
            let policy = Policy::from_toml(&application::policy_text()).unwrap();
            verify_token(token, &enrolment, &policy.with_report_data(data))
        })
    };
    assert!(shown(None).is_ok());
    let expected = *handshake(&owner(), 1).1.report_data();
    for found in [*handshake(&owner(), 2).1.report_data(), [0; 64]] {
        let refused = shown(Some(found)).map(|_| ());
        let (expected, found) = (Box::new(expected), Box::new(found));
        assert_eq!(refused, Err(NotVerified::ReportData { expected, found }));
    }
    let (unproven, proving) = handshake(&owner(), 1);
    let (_, bytes) = proving.present(Evidence::Token(b"no token")).unwrap();
    let presented = unproven.receive(&frame(&bytes)).unwrap();
    let refused = presented.verify(|_, _| Ok::<(), ()>(())).map(|_| ());
    assert_eq!(refused, Err(NotVerified::UnreadableToken(BadToken::Envelope)));
}

/// A man in the middle ends the client's session himself, with keys of his own, and has a genuine
/// enclave of the right measurement sign for its own session with him: keys and hashes differ.
#[test]
fn a_relay_of_a_genuine_enclaves_evidence_is_refused() {
    let machine = Machine::milan();
    let (victim, impostor) = handshake(&owner(), 1);
    // With the victim's nonce, which goes over the wire in the open.
    let (hello, first) = Hello::new(&stranger(), [1; 32], [99; 32]).unwrap();
    let (middle, genuine) = handshake_of((hello, frame(&first)), 3);
    let genuine_report = report(&machine, genuine.report_data());
    let relayed = Evidence::SnpReport { report: &genuine_report, certificates: b"" };
    let (_, bytes) = impostor.present(relayed).unwrap();
    let presented = victim.receive(&frame(&bytes)).unwrap();
    let refused = verify(presented, &machine).unwrap_err();
    assert!(matches!(refused, NotVerified::ReportData { .. }), "{refused:?}");
    // To the middle man himself the same report proves what it should.
    let (_, evidence) = present(genuine, &machine);
    assert!(verify(middle.receive(&evidence).unwrap(), &machine).is_ok());
}

/// A man in the middle with a genuine enclave, of another measurement or on another chip: the
/// session with it is sound, and the policy pins what it is not.
#[test]
fn another_measurement_or_chip_is_refused_under_a_policy_that_pins_them() {
    let mut other = Machine::milan();
    other.report.measurement = [5; 48];
    assert_eq!(refused_key(shown(&other, None)), "snp.measurements");
    let mut chip = Machine::milan();
    chip.report.chip_id = [9; 64];
    chip.facts.chip_id = Some(vec![9; 64]);
    assert_eq!(refused_key(shown(&chip, None)), "snp.chip_ids");
}

/// A program chooses all 64 bytes of its report data: over the very hash of a session, its report is
/// told from the kernel's by the level, which it cannot choose.
#[test]
fn a_programs_report_over_the_session_is_refused_whatever_the_policy_says() {
    for level in [0, 1, 2] {
        let mut program = Machine::milan();
        program.report.vmpl = Vmpl::Guest(level);
        let found = Vmpl::Guest(level);
        assert_eq!(shown(&program, None), Err(NotVerified::PrivilegeLevel { found }));
    }
    let mut host = Machine::milan();
    host.report.vmpl = Vmpl::Host;
    let refused = shown(&host, None);
    assert_eq!(refused, Err(NotVerified::PrivilegeLevel { found: Vmpl::Host }));
    // The policy accepts level 0 as well, and even `skip` would change nothing.
    assert!(policy_text().contains("vmpls = [0, 3]"));
    let mut program = Machine::milan();
    program.report.vmpl = Vmpl::Guest(0);
    let (unproven, proving) = handshake(&owner(), 1);
    let (_, evidence) = present(proving, &program);
    let lax = policy_text().replace("vmpls = [0, 3]", "vmpls = \"skip\"");
    let presented = unproven.receive(&evidence).unwrap();
    let refused = presented.verify(check(&program, &lax)).unwrap_err();
    assert_eq!(refused, NotVerified::PrivilegeLevel { found: Vmpl::Guest(0) });
}

#[test]
fn a_policy_that_does_not_compare_the_report_data_still_does_not_drop_the_binding() {
    let machine = Machine::milan();
    let lax = policy_text().replace("report_data = \"given\"", "report_data = \"skip\"");
    let (unproven, proving) = handshake(&owner(), 1);
    let report = report(&machine, &[7; 64]);
    let evidence = Evidence::SnpReport { report: &report, certificates: b"" };
    let (_, bytes) = proving.present(evidence).unwrap();
    let presented = unproven.receive(&frame(&bytes)).unwrap();
    let refused = presented.verify(check(&machine, &lax)).unwrap_err();
    assert!(matches!(refused, NotVerified::ReportData { .. }));
}

#[test]
fn what_is_no_report_is_refused_before_anybody_checks_it() {
    for report in [&b""[..], &[0; 1184], &[1; 1183]] {
        let (unproven, proving) = handshake(&owner(), 1);
        let evidence = Evidence::SnpReport { report, certificates: b"" };
        let (_, bytes) = proving.present(evidence).unwrap();
        let presented = unproven.receive(&frame(&bytes)).unwrap();
        let refused = presented.verify(|_, _| -> Result<(), ()> { panic!("asked to check") });
        assert!(matches!(refused.unwrap_err(), NotVerified::Unreadable(_)));
    }
}

#[test]
fn a_report_that_was_changed_is_refused_by_its_signature() {
    let machine = Machine::milan();
    let (unproven, proving) = handshake(&owner(), 1);
    let mut report = report(&machine, proving.report_data());
    report[0x90] ^= 1;
    let evidence = Evidence::SnpReport { report: &report, certificates: b"" };
    let (_, bytes) = proving.present(evidence).unwrap();
    let presented = unproven.receive(&frame(&bytes)).unwrap();
    let refused = verify(presented, &machine).unwrap_err();
    assert!(matches!(refused, NotVerified::Check(_)), "{refused:?}");
}
