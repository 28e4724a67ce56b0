// SPDX-License-Identifier: MIT
//! The signer on a machine that the test decides over.

use strongroom::{CallError, ConnectError, OpenError, platform::StorageError};
use strongroom_keys::Algorithm::{Ed25519, P256};
use strongroom_signer::{
    KeyKeeper, LOG_MAX, RATE, SignError, SignerClient, SignerInterface, WINDOW,
};
use strongroom_testing::{Fake, InProcess};

type Client = SignerClient<InProcess<KeyKeeper, SignerInterface>>;

fn connect(machine: &Fake) -> Result<Client, ConnectError> {
    SignerClient::connect(machine.serve())
}

#[test]
fn signatures_verify_and_the_key_stays() {
    let machine = Fake::new();
    for algorithm in [Ed25519, P256] {
        let mut client = connect(&machine).unwrap();
        let key = client.public_key(algorithm).unwrap();
        let signature = client.sign(algorithm, [7; 32]).unwrap();
        assert!(key.verify(&[7; 32], &signature) && !key.verify(&[8; 32], &signature));
        drop(client);
        assert_eq!(connect(&machine).unwrap().public_key(algorithm).unwrap(), key);
        assert_ne!(connect(&Fake::seeded(1)).unwrap().public_key(algorithm).unwrap(), key);
    }
}

#[test]
fn so_often_and_no_more() {
    let machine = Fake::new();
    let mut client = connect(&machine).unwrap();
    for _ in 0..RATE {
        client.sign(Ed25519, [1; 32]).unwrap();
    }
    let too_often = Err(CallError::Service(SignError::TooOften(60_000)));
    assert_eq!(client.sign(Ed25519, [1; 32]), too_often);
    machine.advance(WINDOW);
    client.sign(Ed25519, [1; 32]).unwrap();
}

#[test]
fn the_log_is_everybodys_and_keeps_the_latest() {
    let machine = Fake::new();
    for number in 0..=u8::try_from(LOG_MAX).unwrap() {
        connect(&machine).unwrap().sign(Ed25519, [number; 32]).unwrap();
    }
    let log = connect(&machine).unwrap().log().unwrap();
    assert_eq!((log.len(), log[0], log[LOG_MAX - 1][0]), (LOG_MAX, [1; 32], 32));
}

#[test]
fn nothing_is_signed_without_the_log() {
    let machine = Fake::new();
    let mut client = connect(&machine).unwrap();
    machine.set_full(true);
    let refused = CallError::Service(SignError::Log(StorageError::Full));
    assert_eq!(client.sign(Ed25519, [1; 32]), Err(refused));
}

#[test]
fn a_damaged_key_is_not_replaced() {
    let machine = Fake::new();
    drop(connect(&machine).unwrap());
    machine.damage();
    let refused = connect(&machine).err();
    assert_eq!(refused, Some(ConnectError::Refused(OpenError::Storage)));
}

/// `Sealed<NoFreshness>`: what a host gets that puts old storage back.
#[test]
fn a_host_that_restores_old_storage_shortens_the_log() {
    let machine = Fake::new();
    let mut client = connect(&machine).unwrap();
    client.sign(Ed25519, [1; 32]).unwrap();
    let old = machine.stored();
    client.sign(Ed25519, [2; 32]).unwrap();
    machine.restore(&old);
    assert_eq!(client.log().unwrap(), [[1; 32]]);
}
