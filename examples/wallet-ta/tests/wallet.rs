// SPDX-License-Identifier: MIT
//! The wallet on a machine that the test decides over, called as C calls it and as Rust does.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

use strongroom::CallError;
use strongroom_keys::{Algorithm, PublicKey, Signature};
use strongroom_testing::{
    Fake, InProcess,
    Parameter::{self, MemoryInput, None as Nothing, ValueInput, ValueOutput},
    fuzz,
};
use strongroom_wallet::{MyWallet, SIGNED, TRIES, WalletClient, WalletError, WalletInterface};

type Client = WalletClient<InProcess<MyWallet, WalletInterface>>;

fn connect(machine: &Fake) -> Client {
    Client::connect(machine.serve()).unwrap()
}

fn verifies(address: [u8; 32], amount: u64, digest: [u8; 32], signature: &[u8]) -> bool {
    let key = PublicKey { algorithm: Algorithm::Ed25519, bytes: address.to_vec() };
    let message = [SIGNED, &amount.to_le_bytes(), &digest].concat();
    key.verify(&message, &Signature::from_bytes(signature.try_into().unwrap()))
}

#[test]
fn it_signs_what_was_allowed_and_no_more() {
    let machine = Fake::new();
    let mut client = connect(&machine);
    assert_eq!(client.address(0), Err(CallError::Service(WalletError::New)));
    client.allow("1234", 100).unwrap();
    let signature = client.sign(7, [1; 32], 60).unwrap();
    let address = client.address(7).unwrap();
    assert!(verifies(address, 60, [1; 32], &signature));
    assert!(!verifies(address, 61, [1; 32], &signature), "the amount is signed too");
    let over = Err(CallError::Service(WalletError::OverLimit(40)));
    assert_eq!(client.sign(7, [1; 32], 41), over);
    // Another session, another start: the same wallet.
    let mut other = connect(&machine);
    assert_eq!((other.left(), other.address(7)), (Ok(40), Ok(address)));
    assert_ne!(other.address(8).unwrap(), address);
    other.allow("1234", u64::MAX).unwrap();
    assert_eq!(client.left(), Ok(u64::MAX));
}

#[test]
fn wrong_pins_are_counted_before_they_are_compared() {
    let machine = Fake::new();
    connect(&machine).allow("1234", 1).unwrap();
    machine.set_full(true);
    let refused = connect(&machine).allow("9999", 9).unwrap_err();
    assert!(
        matches!(refused, CallError::Service(WalletError::Key(_))),
        "not compared: {refused:?}"
    );
    machine.set_full(false);
    for left in (0..TRIES).rev() {
        let wrong = Err(CallError::Service(WalletError::WrongPin(left)));
        assert_eq!(connect(&machine).allow("9999", 9), wrong);
    }
    let locked = Err(CallError::Service(WalletError::Locked));
    assert_eq!(connect(&machine).allow("1234", 9), locked, "the right one comes too late");
    assert_eq!(connect(&machine).left(), Ok(1), "what was allowed stays allowed");
}

#[test]
fn the_right_pin_gives_the_tries_back() {
    let machine = Fake::new();
    let mut client = connect(&machine);
    client.allow("1234", 1).unwrap();
    for _ in 0..3 {
        for _ in 1..TRIES {
            client.allow("9999", 9).unwrap_err();
        }
        client.allow("1234", 1).unwrap();
    }
    let length = Err(CallError::Service(WalletError::PinLength));
    assert_eq!((client.allow("123", 1), client.allow(&"1".repeat(17), 1)), (length, length));
}

#[test]
fn clients_in_c_get_the_same() {
    let machine = Fake::new();
    let mut client = machine.open_gp::<MyWallet, WalletInterface>().unwrap();
    let mut address = [ValueInput(7, 0), Parameter::output(32), Nothing, Nothing];
    assert_eq!(client.invoke(1, &mut address), 1, "no wallet yet");
    let pin = || MemoryInput(b"1234".to_vec());
    assert_eq!(client.invoke(2, &mut [pin(), ValueInput(5, 1), Nothing, Nothing]), 0);
    let mut left = [ValueOutput(0, 0), Nothing, Nothing, Nothing];
    assert_eq!((client.invoke(3, &mut left), &left[0]), (0, &ValueOutput(5, 1)));
    assert_eq!(client.invoke(1, &mut address), 0);
    let address = <[u8; 32]>::try_from(address[1].written().unwrap()).unwrap();
    let digest = || MemoryInput(vec![9; 32]);
    let mut sign = [ValueInput(7, 0), digest(), ValueInput(3, 0), Parameter::output(64)];
    assert_eq!(client.invoke(4, &mut sign), 0);
    assert!(verifies(address, 3, [9; 32], sign[3].written().unwrap()));
    assert_eq!(connect(&machine).address(7), Ok(address));
}

/// What a host gets that deletes the wallet: another one, and not its accounts under another PIN.
#[test]
fn a_new_pin_is_a_new_wallet() {
    let machine = Fake::new();
    connect(&machine).allow("1234", 1).unwrap();
    let address = connect(&machine).address(0).unwrap();
    machine.platform().sealed().delete("wallet").unwrap();
    connect(&machine).allow("9999", u64::MAX).unwrap();
    assert_ne!(connect(&machine).address(0).unwrap(), address);
}

/// `Sealed<NoFreshness>`: old storage is an old wallet, with what was allowed then, and its tries.
#[test]
fn a_host_that_restores_old_storage_restores_what_was_allowed() {
    let machine = Fake::new();
    let mut client = connect(&machine);
    client.allow("1234", 100).unwrap();
    let old = machine.stored();
    client.sign(0, [0; 32], 100).unwrap();
    machine.restore(&old);
    assert_eq!(client.left(), Ok(100));
}

fuzz!(MyWallet, WalletInterface, 1000);
