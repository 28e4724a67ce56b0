// SPDX-License-Identifier: MIT
//! What a session is for: late values and secrets of an owner, held to the manifest's terms.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

mod support;

use strongroom_session::client::{self, Answer, NotPresented};
use strongroom_session::enclave::{Evidence, Intake, Step};
use strongroom_session::message::{NoEvidence, PIECE_MAX, Refusal};
use strongroom_session::{
    CERTIFICATES_MAX, SECRET_LEN_MAX, SECRETS_LEN_MAX, SessionError, TEXT_MAX, is_secret_name,
};
use strongroom_wire::boot::SessionTerms;
use support::*;

fn refusal(step: Step) -> Refusal {
    match step {
        Step::Refused { reason, .. } => reason,
        Step::More
        | Step::Start(_)
        | Step::Connect
        | Step::Bytes(_)
        | Step::Finish
        | Step::Closed => {
            panic!("not refused: {step:?}")
        }
    }
}

#[test]
fn an_owner_delivers_values_and_secrets_and_starts_the_program() {
    let (mut client, mut enclave) = verified(&owner(), 1);
    assert_eq!(enclave.client(), owner().public());
    let secret: Vec<u8> = (0..PIECE_MAX * 2 + 9).map(|at| at.to_le_bytes()[0]).collect();
    let mut sent = client.argument("--verbose").unwrap();
    sent.extend(client.variable("REGION", "north").unwrap());
    sent.extend(client.secret("key", &secret).unwrap());
    let (mut client, start) = client.start().unwrap();
    sent.extend(start);
    assert!(!sent.windows(9).any(|window| window == &secret[..9]));
    let Step::Start(gathered) = feed(&mut enclave, &terms(), &sent) else { panic!("no start") };
    assert_eq!(gathered.arguments, ["--verbose"]);
    assert_eq!(gathered.environment, [("REGION".to_owned(), "north".to_owned())]);
    assert_eq!(*gathered.secrets[0].bytes, secret);
    assert!(!format!("{gathered:?}").contains("north"));

    let started = frame(&enclave.started().unwrap());
    assert_eq!(client.receive(&started), Ok(Answer::Started));
    let exited = frame(&enclave.exited(7).unwrap());
    assert_eq!(client.receive(&exited), Ok(Answer::Exited(7)));
    let close = client.close().unwrap();
    assert!(matches!(feed(&mut enclave, &terms(), &close), Step::Closed));
    assert_eq!(enclave.exited(7), Err(SessionError::OutOfOrder));
}

#[test]
fn an_owner_that_is_not_pinned_is_refused_whatever_it_sends() {
    for number in 0..3 {
        let (mut client, mut enclave) = verified(&stranger(), 2);
        let sent = match number {
            0 => client.secret("key", b"x").unwrap(),
            1 => client.argument("x").unwrap(),
            _ => client.start().unwrap().1,
        };
        let first = frames(&sent).remove(0);
        let Step::Refused { reason, reply } = enclave.receive(owned(&terms()), &first).unwrap()
        else {
            panic!("a stranger is listened to")
        };
        assert_eq!(reason, Refusal::NotOwner);
        assert_eq!(frames(&reply).len(), 1);
        let next = enclave.receive(owned(&terms()), &first);
        assert_eq!(next.unwrap_err(), SessionError::NotAuthentic, "the same frame again");
    }
    // Unless the manifest says so in so many words.
    let any = SessionTerms { insecure_any_client: true, owners: Vec::new(), ..terms() };
    let (mut client, mut enclave) = verified(&stranger(), 2);
    let secret = client.secret("key", b"x").unwrap();
    assert!(matches!(feed(&mut enclave, &any, &secret), Step::More));
    // Neither owners nor that: nobody.
    let nobody = SessionTerms { owners: Vec::new(), ..terms() };
    let (client, mut enclave) = verified(&owner(), 2);
    let start = client.start().unwrap().1;
    assert_eq!(refusal(feed(&mut enclave, &nobody, &start)), Refusal::NotOwner);
}

#[test]
fn what_the_manifest_does_not_declare_is_refused() {
    let none = SessionTerms { owners: terms().owners, ..SessionTerms::default() };
    type Send = fn(&mut strongroom_session::client::Verified) -> Vec<u8>;
    let cases: [(Send, &SessionTerms, Refusal); 7] = [
        (|client| client.argument("a").unwrap(), &none, Refusal::NoLateArguments),
        (
            |client| client.variable("PATH", "a").unwrap(),
            &terms(),
            Refusal::UnknownVariable("PATH".into()),
        ),
        (|client| client.secret("k", b"a").unwrap(), &terms(), Refusal::UnknownSecret("k".into())),
        (|client| client.argument("a\0").unwrap(), &terms(), Refusal::ZeroByte),
        (|client| client.variable("REGION", "\0").unwrap(), &terms(), Refusal::ZeroByte),
        (
            |client| {
                [client.variable("REGION", "a"), client.variable("REGION", "b")]
                    .map(Result::unwrap)
                    .concat()
            },
            &terms(),
            Refusal::Twice("REGION".into()),
        ),
        (
            |client| {
                [client.secret("key", b"a"), client.secret("key", b"")].map(Result::unwrap).concat()
            },
            &terms(),
            Refusal::Twice("key".into()),
        ),
    ];
    for (send, terms, expected) in cases {
        let (mut client, mut enclave) = verified(&owner(), 3);
        let sent = send(&mut client);
        assert_eq!(refusal(feed(&mut enclave, terms, &sent)), expected);
    }
}

#[test]
fn nothing_starts_before_every_secret_is_there() {
    let (client, mut enclave) = verified(&owner(), 4);
    let start = client.start().unwrap().1;
    let missing = Refusal::MissingSecret("key".into());
    assert_eq!(refusal(feed(&mut enclave, &terms(), &start)), missing);

    // A piece is left out by a client that is not honest about the length.
    let (mut client, mut enclave) = verified(&owner(), 4);
    let sent = frames(&client.secret("key", &[1; PIECE_MAX * 2]).unwrap());
    for frame in &sent[..2] {
        assert!(matches!(enclave.receive(owned(&terms()), frame), Ok(Step::More)));
    }
    let start = frame(&client.start().unwrap().1);
    // Its number is not the next: the piece is missed.
    assert_eq!(enclave.receive(owned(&terms()), &start).unwrap_err(), SessionError::NotAuthentic);
}

#[test]
fn a_program_is_started_once() {
    let terms = SessionTerms { secrets: Vec::new(), ..terms() };
    let (client, mut enclave) = verified(&owner(), 5);
    let start = client.start().unwrap().1;
    assert!(matches!(feed(&mut enclave, &terms, &start), Step::Start(_)));
    // A second start of the same client does not exist in its types; another client's is the
    // caller's to refuse.
    let (client, mut enclave) = verified(&owner(), 6);
    let (mut client, start) = client.start().unwrap();
    assert!(matches!(feed(&mut enclave, &terms, &start), Step::Start(_)));
    let Step::Refused { reply, .. } = enclave.refuse(Refusal::AlreadyStarted).unwrap() else {
        panic!("not refused")
    };
    assert_eq!(client.receive(&frame(&reply)), Ok(Answer::Refused(Refusal::AlreadyStarted)));
    assert_eq!(enclave.started(), Err(SessionError::OutOfOrder));
}

#[test]
fn limits_hold_at_their_edge() {
    let many =
        SessionTerms { secrets: (0..5).map(|number| format!("key{number}")).collect(), ..terms() };
    let (mut client, mut enclave) = verified(&owner(), 7);
    assert_eq!(client.secret("key", &[0; SECRET_LEN_MAX + 1]), Err(SessionError::TooLong));
    const { assert!(SECRETS_LEN_MAX == 4 * SECRET_LEN_MAX) };
    for number in 0..4 {
        let sent = client.secret(&format!("key{number}"), &[0; SECRET_LEN_MAX]).unwrap();
        assert!(matches!(feed(&mut enclave, &many, &sent), Step::More));
    }
    let empty = client.secret("key4", b"").unwrap();
    assert!(matches!(feed(&mut enclave, &many, &empty), Step::More), "an empty one still fits");

    let (mut client, mut enclave) = verified(&owner(), 7);
    let long = "x".repeat(TEXT_MAX / 4);
    for _ in 0..4 {
        let sent = client.argument(&long).unwrap();
        assert!(matches!(feed(&mut enclave, &terms(), &sent), Step::More));
    }
    let over = client.argument("x").unwrap();
    assert_eq!(refusal(feed(&mut enclave, &terms(), &over)), Refusal::TooMuch);
    let (mut client, _) = verified(&owner(), 7);
    assert_eq!(client.argument(&"x".repeat(65_519)), Err(SessionError::TooLong));
}

#[test]
fn an_enclave_without_evidence_says_so_and_takes_nothing() {
    let (unproven, proving) = handshake(&owner(), 8);
    let evidence = Evidence::None(NoEvidence::NoSecurityProcessor);
    let (mut enclave, bytes): (Intake, _) = proving.present(evidence).unwrap();
    let refused = unproven.receive(&frame(&bytes)).unwrap_err();
    assert_eq!(refused, NotPresented::NoEvidence(NoEvidence::NoSecurityProcessor));
    assert!(refused.to_string().contains("no security processor"));
    assert_eq!(enclave.started(), Err(SessionError::OutOfOrder));
}

#[test]
fn a_table_of_certificates_that_is_too_long_is_left_out() {
    for (length, expected) in [(CERTIFICATES_MAX, CERTIFICATES_MAX), (CERTIFICATES_MAX + 1, 0)] {
        let (unproven, proving) = handshake(&owner(), 9);
        let certificates = vec![7; length];
        let evidence = Evidence::SnpReport { report: &[1; 1184], certificates: &certificates };
        let (_, bytes) = proving.present(evidence).unwrap();
        let presented = unproven.receive(&frame(&bytes)).unwrap();
        let client::Evidence::SnpReport { certificates, .. } = presented.evidence() else {
            panic!("a token")
        };
        assert_eq!(certificates.len(), expected);
    }
}

#[test]
fn names_of_secrets_are_names_of_files() {
    for good in ["a", "db-password", "tls.key", "A_1", &"x".repeat(64)] {
        assert!(is_secret_name(good), "{good}");
    }
    for bad in ["", ".", "..", ".a", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
        assert!(!is_secret_name(bad), "{bad}");
    }
}
