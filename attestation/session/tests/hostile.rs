// SPDX-License-Identifier: MIT
//! Somebody between the two sides, who may do anything to their messages.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

mod support;

use proptest::prelude::*;
use strongroom_attestation_testing::machine::Machine;
use strongroom_session::client::{Hello, NotPresented};
use strongroom_session::enclave::{Step, Waiting};
use strongroom_session::{Frames, SessionError};
use support::*;

const NOT_AUTHENTIC: SessionError = SessionError::NotAuthentic;

#[test]
fn replayed_messages_are_refused() {
    let (mut client, mut enclave) = verified(&owner(), 1);
    let argument = frame(&client.argument("a").unwrap());
    assert!(matches!(enclave.receive(owned(&terms()), &argument), Ok(Step::More)));
    assert_eq!(enclave.receive(owned(&terms()), &argument).unwrap_err(), NOT_AUTHENTIC);
    // And then there is no way back, for the right one either.
    let next = frame(&client.argument("b").unwrap());
    assert_eq!(enclave.receive(owned(&terms()), &next).unwrap_err(), SessionError::Broken);
    assert!(enclave.started().is_err());
}

#[test]
fn reordered_and_dropped_messages_are_refused() {
    let (mut client, mut enclave) = verified(&owner(), 1);
    let _first = client.argument("a").unwrap();
    let second = frame(&client.argument("b").unwrap());
    assert_eq!(enclave.receive(owned(&terms()), &second).unwrap_err(), NOT_AUTHENTIC);
}

#[test]
fn truncated_and_lengthened_messages_are_refused() {
    let whole = {
        let (mut client, _) = verified(&owner(), 1);
        frame(&client.argument("argument").unwrap())
    };
    for length in 0..whole.len() {
        let (mut client, mut enclave) = verified(&owner(), 1);
        let mut sent = frame(&client.argument("argument").unwrap());
        sent.truncate(length);
        assert_eq!(enclave.receive(owned(&terms()), &sent).unwrap_err(), NOT_AUTHENTIC, "{length}");
    }
    let (mut client, mut enclave) = verified(&owner(), 1);
    let mut sent = frame(&client.argument("argument").unwrap());
    sent.push(0);
    assert_eq!(enclave.receive(owned(&terms()), &sent).unwrap_err(), NOT_AUTHENTIC);
}

#[test]
fn reflected_messages_are_refused() {
    let (mut client, mut enclave) = verified(&owner(), 1);
    let argument = frame(&client.argument("a").unwrap());
    let (mut expecting, start) = client.start().unwrap();
    for own in [argument, frame(&start)] {
        assert!(expecting.receive(&own).is_err());
    }
    // To the enclave, its own evidence.
    let (unproven, proving) = handshake(&owner(), 2);
    let (mut second, evidence) = present(proving, &Machine::milan());
    assert_eq!(second.receive(owned(&terms()), &evidence).unwrap_err(), NOT_AUTHENTIC);
    drop(unproven);
    // In the handshake: to the client, its own first message.
    let (hello, first) = hello(&owner(), 3);
    assert_eq!(hello.receive(&first).unwrap_err(), SessionError::Handshake);
    drop(enclave.receive(owned(&terms()), &[]));
}

#[test]
fn messages_of_another_session_are_refused() {
    let (mut other, _) = verified(&owner(), 1);
    let (_, mut enclave) = verified(&owner(), 2);
    let argument = frame(&other.argument("a").unwrap());
    assert_eq!(enclave.receive(owned(&terms()), &argument).unwrap_err(), NOT_AUTHENTIC);

    let (_, proving) = handshake(&owner(), 1);
    let (unproven, _) = handshake(&owner(), 2);
    let (_, evidence) = present(proving, &Machine::milan());
    let refused = unproven.receive(&evidence).unwrap_err();
    assert_eq!(refused, NotPresented::Session(NOT_AUTHENTIC));
}

#[test]
fn an_owners_handshake_cannot_be_replayed() {
    let (hello, first) = hello(&owner(), 1);
    let (replied, second) = waiting(1).receive(&first).unwrap();
    let (_, third) = hello.receive(&frame(&second)).unwrap();
    assert!(replied.receive(&frame(&third)).is_ok());
    // The same to an enclave that has made new keys, as each session does.
    let (replied, _) = waiting(2).receive(&first).unwrap();
    assert_eq!(replied.receive(&frame(&third)).unwrap_err(), SessionError::Handshake);
}

#[test]
fn a_nonce_has_its_length() {
    let (_, good) = hello(&owner(), 1);
    assert_eq!(good.len(), 64);
    for length in (0..64).chain([65, 128, 129, 500]) {
        let mut first = good.clone();
        first.resize(length, 7);
        assert_eq!(waiting(1).receive(&first).unwrap_err(), SessionError::Handshake, "{length}");
    }
}

#[test]
fn every_bit_of_the_handshake_counts() {
    let (_, first) = hello(&owner(), 1);
    // The first message is open: its bits are noticed when the second is read.
    for bit in 0..first.len() * 8 {
        let mut changed = first.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (hello, _) = hello(&owner(), 1);
        let (_, second) = waiting(1).receive(&changed).unwrap();
        // X25519 ignores the highest bit of a key; Noise's hash does not.
        assert_eq!(hello.receive(&frame(&second)).unwrap_err(), SessionError::Handshake, "{bit}");
    }
    let (replied, second) = waiting(1).receive(&first).unwrap();
    drop(replied);
    let second = frame(&second);
    for bit in 0..second.len() * 8 {
        let mut changed = second.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (hello, _) = hello(&owner(), 1);
        assert_eq!(hello.receive(&changed).unwrap_err(), SessionError::Handshake, "{bit}");
    }
    let (hello, _) = hello(&owner(), 1);
    let third = frame(&hello.receive(&second).unwrap().1);
    for bit in 0..third.len() * 8 {
        let mut changed = third.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (replied, _) = waiting(1).receive(&first).unwrap();
        assert_eq!(replied.receive(&changed).unwrap_err(), SessionError::Handshake, "{bit}");
    }
}

proptest! {
    /// Bytes that nobody wrote get an error in each state, and nothing panics.
    #[test]
    fn no_bytes_make_a_side_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut frames = Frames::default();
        let _ = frames.push(&bytes);
        while let Ok(Some(_)) = frames.next(128) {}
        let (hello, first) = hello(&owner(), 1);
        prop_assert!(hello.receive(&bytes).is_err());
        if let Ok((replied, _)) = Waiting::new([1; 32], [2; 32]).unwrap().receive(&bytes) {
            prop_assert_eq!(bytes.len(), 64);
            prop_assert!(replied.receive(&first).is_err());
        }
        let (unproven, proving) = handshake(&owner(), 1);
        prop_assert!(unproven.receive(&bytes).is_err());
        let evidence = strongroom_session::enclave::Evidence::SnpReport { report: &bytes, certificates: &bytes };
        let (mut enclave, _) = proving.present(evidence).unwrap();
        prop_assert!(enclave.receive(owned(&terms()), &bytes).is_err());
    }

    /// An owner that sends anything at all in the right channel: an answer, and nothing panics.
    #[test]
    fn any_order_of_messages_has_an_answer(picks in proptest::collection::vec(0_u8..6, 0..12)) {
        let (mut client, mut enclave) = verified(&owner(), 1);
        for pick in picks {
            let sent = match pick {
                0 => client.argument("a").unwrap(),
                1 => client.variable("REGION", "b").unwrap(),
                2 => client.variable("OTHER", "b").unwrap(),
                3 => client.secret("key", b"cc").unwrap(),
                4 => client.secret("key", b"").unwrap(),
                _ => client.secret("other", b"d").unwrap(),
            };
            for frame in frames(&sent) {
                match enclave.receive(owned(&terms()), &frame) {
                    Ok(Step::More) => {}
                    Ok(Step::Refused { .. }) | Err(SessionError::OutOfOrder) => return Ok(()),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
        let start = client.start().unwrap().1;
        let step = feed(&mut enclave, &terms(), &start);
        let answered = matches!(step, Step::Start(_) | Step::Refused { .. });
        prop_assert!(answered);
    }
}

/// Without the nonce's own bytes a client would take old evidence.
#[test]
fn the_nonce_is_part_of_the_binding() {
    let hash = [1; 32];
    let bound = strongroom_session::report_data(&[2; 32], &hash);
    assert_ne!(bound, strongroom_session::report_data(&[3; 32], &hash));
    assert_ne!(bound, strongroom_session::report_data(&[2; 32], &[2; 32]));
    let (_, first) = hello(&owner(), 1);
    let (_, other) = Hello::new(&owner(), [9; 32], [1 ^ 0x40; 32]).unwrap();
    assert_ne!(first, frame(&other), "the same keys, another nonce");
}
