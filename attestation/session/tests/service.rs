// SPDX-License-Identifier: MIT
//! Connections to the workload's service, over a session that was verified like any other.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

mod support;

use strongroom_session::client::{Incoming, NotConnected};
use strongroom_session::enclave::{Intake, Step, Terms};
use strongroom_session::message::{PIECE_MAX, Refusal};
use strongroom_session::{SecretKey, SessionError};
use strongroom_wire::boot::ServiceTerms;
use support::*;

fn offered() -> ServiceTerms {
    ServiceTerms { clients: vec![stranger().public().0], any_client: false, port: None }
}

/// What comes of one frame.
fn step(enclave: &mut Intake, service: Option<&ServiceTerms>, bytes: &[u8]) -> Step {
    enclave.receive(Terms { session: Some(&terms()), service }, &frame(bytes)).unwrap()
}

/// What the enclave answers to a client with this key that asks for the service.
fn answer(key: &SecretKey, service: Option<&ServiceTerms>) -> Result<(), NotConnected> {
    let (client, mut enclave) = verified(key, 1);
    let (connecting, sent) = client.connect().unwrap();
    let reply = match step(&mut enclave, service, &sent) {
        Step::Connect => enclave.connected().unwrap(),
        Step::Refused { reply, .. } => reply,
        other @ (Step::More | Step::Start(_) | Step::Bytes(_) | Step::Finish | Step::Closed) => {
            panic!("neither accepted nor refused: {other:?}")
        }
    };
    connecting.receive(&frame(&reply)).map(|_| ())
}

#[test]
fn those_whom_the_manifest_names_are_let_through_and_nobody_else() {
    let refused = |reason| Err(NotConnected::Refused(reason));
    let offered = offered();
    assert_eq!(answer(&stranger(), Some(&offered)), Ok(()));
    // An owner starts the program; that does not make it a client.
    assert_eq!(answer(&owner(), Some(&offered)), refused(Refusal::NotClient));
    assert_eq!(answer(&stranger(), None), refused(Refusal::NoService));
    let open = ServiceTerms { clients: Vec::new(), any_client: true, port: None };
    assert_eq!(answer(&owner(), Some(&open)), Ok(()));
    let closed = ServiceTerms::default();
    assert_eq!(answer(&stranger(), Some(&closed)), refused(Refusal::NotClient));
}

#[test]
fn bytes_go_both_ways_in_pieces_until_one_side_leaves() {
    let offered = offered();
    let (client, mut enclave) = verified(&stranger(), 1);
    let (connecting, sent) = client.connect().unwrap();
    assert!(matches!(step(&mut enclave, Some(&offered), &sent), Step::Connect));
    assert_eq!(enclave.bytes(b"early"), Err(SessionError::OutOfOrder));
    let mut client = connecting.receive(&frame(&enclave.connected().unwrap())).unwrap();
    let long: Vec<u8> = (0..2 * PIECE_MAX + 5).map(|at| at.to_le_bytes()[0]).collect();
    let mut heard = Vec::new();
    for frame in frames(&client.send(&long).unwrap()) {
        let terms = Terms { session: None, service: Some(&offered) };
        let Step::Bytes(bytes) = enclave.receive(terms, &frame).unwrap() else {
            panic!("no bytes")
        };
        heard.extend_from_slice(&bytes);
    }
    assert_eq!(heard, long);
    let Incoming::Bytes(bytes) = client.receive(&frame(&enclave.bytes(b"hush").unwrap())).unwrap()
    else {
        panic!("no bytes")
    };
    assert_eq!(&*bytes, b"hush");
    assert!(!format!("{bytes:?}").contains("104"), "bytes are not shown");
    assert_eq!(enclave.bytes(&vec![0; PIECE_MAX + 1]), Err(SessionError::TooLong));
    let finish = client.finish().unwrap();
    assert!(matches!(step(&mut enclave, Some(&offered), &finish), Step::Finish));
    let last = frame(&enclave.bytes(b"last").unwrap());
    assert!(matches!(client.receive(&last), Ok(Incoming::Bytes(_))), "the service goes on");
    let closed = enclave.close().unwrap();
    assert_eq!(client.receive(&frame(&closed)), Ok(Incoming::Closed));
    assert_eq!(enclave.bytes(b"late"), Err(SessionError::OutOfOrder));
}

#[test]
fn a_connection_and_a_start_do_not_mix() {
    let offered = ServiceTerms { clients: vec![owner().public().0], any_client: false, port: None };
    // A secret, then the service.
    let (mut client, mut enclave) = verified(&owner(), 1);
    let secret = client.argument("x").unwrap();
    assert!(matches!(step(&mut enclave, Some(&offered), &secret), Step::More));
    let connect = client.connect().unwrap().1;
    let refused = step(&mut enclave, Some(&offered), &connect);
    assert!(matches!(refused, Step::Refused { reason: Refusal::OutOfOrder, .. }), "{refused:?}");
    // Bytes after the last ones.
    let (client, mut enclave) = verified(&owner(), 3);
    let (connecting, connect) = client.connect().unwrap();
    assert!(matches!(step(&mut enclave, Some(&offered), &connect), Step::Connect));
    let mut client = connecting.receive(&frame(&enclave.connected().unwrap())).unwrap();
    let finish = client.finish().unwrap();
    assert!(matches!(step(&mut enclave, Some(&offered), &finish), Step::Finish));
    let more = client.send(b"more").unwrap();
    let refused = step(&mut enclave, Some(&offered), &more);
    assert!(matches!(refused, Step::Refused { reason: Refusal::OutOfOrder, .. }), "{refused:?}");
    // A program that does not listen.
    let (client, mut enclave) = verified(&owner(), 2);
    let (connecting, connect) = client.connect().unwrap();
    assert!(matches!(step(&mut enclave, Some(&offered), &connect), Step::Connect));
    let reply = enclave.refuse(Refusal::ServiceAbsent).unwrap();
    let Step::Refused { reply, .. } = reply else { panic!("not refused") };
    let refused = connecting.receive(&frame(&reply)).unwrap_err();
    assert_eq!(refused.to_string(), "the enclave refuses: the program does not listen for calls");
}
