// SPDX-License-Identifier: MIT
//! Keys on a machine that the test decides over; `ring` is the second opinion.

use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use strongroom_keys::{Algorithm, KEY_NAME_MAX, KeyError, Keys, PublicKey, Signature};
use strongroom_service::platform::StorageError;
use strongroom_testing::Fake;

const ALL: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::P256];

fn keys(machine: &Fake) -> Keys {
    Keys::of(&machine.platform())
}

fn ring_verifies(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    let signature = signature.to_bytes();
    match key.algorithm {
        Algorithm::Ed25519 => {
            UnparsedPublicKey::new(&ED25519, &key.bytes).verify(message, &signature).is_ok()
        }
        Algorithm::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.bytes)
            .verify(message, &signature)
            .is_ok(),
    }
}

#[test]
fn signatures_verify_here_and_elsewhere() {
    for algorithm in ALL {
        let key = keys(&Fake::new()).signing("k", algorithm).unwrap();
        let (public, signature) = (key.public(), key.sign(b"text"));
        assert!(public.verify(b"text", &signature) && ring_verifies(&public, b"text", &signature));
        assert!(!public.verify(b"texts", &signature));
        for at in [0, 31, 32, 63] {
            let mut bytes = signature.to_bytes();
            bytes[at] ^= 1;
            assert!(!public.verify(b"text", &Signature::from_bytes(&bytes)), "{algorithm:?} {at}");
        }
        for bad in [vec![], vec![4; 32], vec![4; 65], public.bytes[1..].to_vec()] {
            let none = PublicKey { algorithm, bytes: bad };
            assert!(!none.verify(b"text", &signature), "{none:?}");
        }
        let other = PublicKey { algorithm: ALL[usize::from(algorithm == ALL[0])], ..public };
        assert!(!other.verify(b"text", &signature));
    }
}

#[test]
fn keys_stay_with_their_machine_and_name() {
    let machine = Fake::new();
    for algorithm in ALL {
        let name = format!("{algorithm:?}");
        let public = keys(&machine).signing(&name, algorithm).unwrap().public();
        assert_eq!(keys(&machine).signing(&name, algorithm).unwrap().public(), public);
        assert_ne!(keys(&machine).signing("other", algorithm).unwrap().public(), public);
        assert_ne!(keys(&Fake::seeded(1)).signing(&name, algorithm).unwrap().public(), public);
        keys(&machine).delete("other").unwrap();
    }
    assert_eq!(keys(&machine).names().unwrap(), ["Ed25519", "P256"]);
    let temporary = [keys(&machine).temporary(ALL[0]), keys(&machine).temporary(ALL[0])];
    assert_ne!(temporary[0].public(), temporary[1].public());
    assert_eq!(keys(&machine).names().unwrap().len(), 2);
}

#[test]
fn a_key_for_one_thing_is_for_nothing_else() {
    let machine = Fake::new();
    keys(&machine).signing("k", Algorithm::Ed25519).unwrap();
    let wrong = keys(&machine).signing("k", Algorithm::P256).err();
    assert_eq!(
        (wrong, keys(&machine).secret("k").err()),
        (Some(KeyError::Kind), Some(KeyError::Kind))
    );
}

#[test]
fn what_is_encrypted_comes_back_to_the_same_key_and_context_only() {
    let machine = Fake::new();
    let key = keys(&machine).secret("k").unwrap();
    let sealed = key.encrypt(b"mine", b"hush").unwrap();
    assert_eq!(sealed.len(), 24 + 4 + 16);
    assert_ne!(key.encrypt(b"mine", b"hush").unwrap(), sealed, "another nonce");
    assert_eq!(keys(&machine).secret("k").unwrap().decrypt(b"mine", &sealed).unwrap(), b"hush");
    let refused = Err(KeyError::Refused);
    assert_eq!(key.decrypt(b"yours", &sealed), refused);
    assert_eq!(key.derive("").decrypt(b"mine", &sealed), refused);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(key.decrypt(b"mine", &changed), refused, "byte {at}");
        assert_eq!(key.decrypt(b"mine", &sealed[..at]), refused, "cut at {at}");
    }
}

#[test]
fn derived_keys_depend_on_all_that_leads_to_them() {
    let machine = Fake::new();
    let master = keys(&machine).secret("master").unwrap();
    let again = keys(&machine).secret("master").unwrap();
    for algorithm in ALL {
        let account = |label: &str| master.derive_signing(label, algorithm).public();
        assert_eq!(account("1"), again.derive_signing("1", algorithm).public());
        assert_ne!(account("1"), account("2"));
        assert_ne!(account("1"), master.derive("1").derive_signing("1", algorithm).public());
    }
    let sealed = master.derive("a").encrypt(b"", b"x").unwrap();
    assert_eq!(again.derive("a").decrypt(b"", &sealed).unwrap(), b"x");
    assert_eq!(again.derive("b").decrypt(b"", &sealed), Err(KeyError::Refused));
    let own = keys(&machine).of_machine("l").unwrap().encrypt(b"", b"x").unwrap();
    assert_eq!(keys(&Fake::seeded(1)).of_machine("l").unwrap().decrypt(b"", &own).unwrap(), b"x");
    assert_eq!(keys(&machine).of_machine("m").unwrap().decrypt(b"", &own), Err(KeyError::Refused));
    assert_eq!(keys(&machine).names().unwrap(), ["master"], "the rest is kept nowhere");
}

#[test]
fn storage_that_fails_or_lies_gives_no_key() {
    let machine = Fake::new();
    keys(&machine).signing("k", Algorithm::P256).unwrap();
    machine.damage();
    let damaged = Some(KeyError::Storage(StorageError::Damaged));
    assert_eq!(keys(&machine).signing("k", Algorithm::P256).err(), damaged);
    machine.set_full(true);
    let full = Some(KeyError::Storage(StorageError::Full));
    assert_eq!(keys(&machine).secret("new").err(), full);
    let long = "k".repeat(KEY_NAME_MAX + 1);
    let too_large = Some(KeyError::Storage(StorageError::TooLarge));
    assert_eq!(keys(&machine).secret(&long).err(), too_large);
    assert_eq!(keys(&machine).secret("").err(), too_large);
}

#[test]
fn nothing_prints_a_secret() {
    let machine = Fake::new();
    let (signing, secret) =
        (keys(&machine).temporary(Algorithm::P256), keys(&machine).secret("k").unwrap());
    assert_eq!(format!("{signing:?} {secret:?}"), "SigningKey(P256) SecretKey");
}
