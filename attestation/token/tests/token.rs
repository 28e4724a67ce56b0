// SPDX-License-Identifier: MIT
//! Tokens: their bytes, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets the unexpected is to fail"
)]

use ed25519_dalek::{Signer as _, SigningKey, Verifier as _};
use proptest::prelude::*;
use strongroom_token::{BadToken, MemoryHash, Statement, TOKEN_LEN_MAX, Token};

fn key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn statement() -> Statement {
    Statement {
        nonce: [1; 64],
        ta_uuid: *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10",
        ta_version: 3,
        package_digest: [2; 32],
        identity_key: key().verifying_key().to_bytes(),
        memory: None,
    }
}

fn with_memory() -> Statement {
    let memory = MemoryHash { hash: [5; 32], signature: vec![6; 384] };
    Statement { memory: Some(memory), ..statement() }
}

fn token(statement: &Statement) -> Vec<u8> {
    statement.to_token(|signed| key().sign(signed).to_bytes()).unwrap()
}

/// Protected header and payload as the standards (RFC 8949, 9052, 8747, 9711) have them, written down
/// without any library.
fn by_hand(statement: &Statement) -> (Vec<u8>, Vec<u8>) {
    let key_id = Token::key_id(&statement.identity_key);
    let protected = [&b"\xa3\x01\x27\x03\x73application/eat+cwt\x04\x58\x20"[..], &key_id].concat();
    let payload = [
        &b"\xa6\x08\xa1\x01\xa3\x01\x01\x20\x06\x21\x58\x20"[..],
        &statement.identity_key,
        b"\x0a\x58\x40",
        &[1; 64],
        b"\x19\x01\x09\x78\x2durn:uuid:c2dd92b4-baf8-4d1b-bded-c95d3085eed2",
        b"\x19\x01\x0e\x78\x2401234567-89ab-cdef-fedc-ba9876543210",
        b"\x19\x01\x0f\x82\x613\x04",
        b"\x3a\x00\x01\x11\x6f\x58\x20",
        &[2; 32],
    ];
    (protected, payload.concat())
}

/// A byte string of CBOR.
fn string(bytes: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let head = if high == 0 { vec![0x58, low] } else { vec![0x59, high, low] };
    [&head[..], bytes].concat()
}

/// Signs, and puts everything together.
fn assemble(protected: &[u8], unprotected: &[u8], payload: &[u8]) -> Vec<u8> {
    let (protected, payload) = (string(protected), string(payload));
    let signed = [&b"\x84\x6aSignature1"[..], &protected, b"\x40", &payload].concat();
    let signature = string(&key().sign(&signed).to_bytes());
    [&b"\xd2\x84"[..], &protected, unprotected, &payload, &signature].concat()
}

#[test]
fn the_bytes_are_those_of_the_standards() {
    let (protected, payload) = by_hand(&statement());
    let expected = assemble(&protected, b"\xa0", &payload);
    assert_eq!(hex(&token(&statement())), hex(&expected));
    assert_eq!(Token::parse(&expected).unwrap().statement, statement());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_was_stated_is_read_and_its_signature_verifies() {
    for statement in [statement(), with_memory()] {
        let read = Token::parse(&token(&statement)).unwrap();
        assert_eq!(read.statement, statement);
        let signature = ed25519_dalek::Signature::from_bytes(&read.signature);
        key().verifying_key().verify(&read.signed, &signature).unwrap();
    }
}

#[test]
fn no_changed_bit_keeps_statement_and_signature() {
    let good = token(&with_memory());
    let key = key().verifying_key();
    for bit in 0..good.len() * 8 {
        let mut changed = good.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(read) = Token::parse(&changed) else { continue };
        let signature = ed25519_dalek::Signature::from_bytes(&read.signature);
        let genuine = key.verify_strict(&read.signed, &signature).is_ok();
        assert!(!genuine, "bit {bit} does not count");
    }
}

#[test]
fn cut_and_extended_tokens_are_refused() {
    let good = token(&with_memory());
    for length in 0..good.len() {
        assert!(Token::parse(&good[..length]).is_err(), "{length} bytes");
    }
    let longer = [&good[..], b"\0"].concat();
    assert_eq!(Token::parse(&longer), Err(BadToken::Envelope));
    assert_eq!(Token::parse(&vec![0; TOKEN_LEN_MAX + 1]), Err(BadToken::TooLong));
}

/// Legal CBOR and COSE with the same claims, but not the profile's.
#[test]
fn other_encodings_of_the_same_claims_are_refused() {
    let (protected, payload) = by_hand(&statement());
    let replaced = |bytes: &[u8], from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    };
    let long_length = replaced(&payload, b"\x0a\x58\x40", b"\x0a\x59\x00\x40");
    let mut twice = [&payload[..], b"\x08", &payload[2..44]].concat();
    twice[0] = 0xa7;
    let mut more = [&payload[..], b"\x18\x63\x00"].concat();
    more[0] = 0xa7;
    let without_end = [b"\xbf", &payload[1..], b"\xff"].concat();
    let no_number = replaced(&payload, b"\x613\x04", b"\x6203\x04");
    let upper_case = replaced(&payload, b"89ab-cdef", b"89AB-cdef");
    for payload in [long_length, twice, more, without_end, no_number, upper_case] {
        let token = assemble(&protected, b"\xa0", &payload);
        assert_eq!(Token::parse(&token), Err(BadToken::Encoding), "{}", hex(&payload));
    }
    let headers = [
        (replaced(&protected, b"\x01\x27", b"\x01\x26"), &b"\xa0"[..]),
        (replaced(&protected, b"\x03\x73application/eat+cwt", b"\x03\x19\x01\x07"), b"\xa0"),
        (protected.clone(), b"\xa1\x04\x41\x00"),
    ];
    for (protected, unprotected) in headers {
        let token = assemble(&protected, unprotected, &payload);
        assert_eq!(Token::parse(&token), Err(BadToken::Encoding), "{}", hex(&protected));
    }
    let good = assemble(&protected, b"\xa0", &payload);
    assert_eq!(Token::parse(&good[1..]), Err(BadToken::Envelope), "without the tag");
}

#[test]
fn each_claim_has_to_be_there() {
    let good = token(&statement());
    let claims: [(&[u8], &str); 5] = [
        (b"\x08\xa1\x01", "cnf"),
        (b"\x0a\x58\x40", "eat_nonce"),
        (b"\x19\x01\x0e\x78", "swname"),
        (b"\x19\x01\x0f\x82", "swversion"),
        (b"\x3a\x00\x01\x11\x6f", "package digest"),
    ];
    for (start, name) in claims {
        let at = good.windows(start.len()).position(|window| window == start).unwrap();
        let mut changed = good.clone();
        // The key becomes another, of the same length.
        let key_end = match start[0] {
            0x19 => at + 2,
            0x3a => at + 4,
            _ => at,
        };
        changed[key_end] = if start[0] < 0x18 { start[0] - 1 } else { changed[key_end] ^ 0x40 };
        assert_eq!(Token::parse(&changed), Err(BadToken::Claim(name)));
    }
}

#[test]
fn every_part_counts_in_the_nonce_for_the_memory() {
    let base = statement();
    let mut changed = [base.clone(), base.clone(), base.clone(), base.clone(), base.clone()];
    changed[0].nonce[63] ^= 1;
    changed[1].ta_uuid[15] ^= 1;
    changed[2].ta_version ^= 1;
    changed[3].package_digest[31] ^= 1;
    changed[4].identity_key[31] ^= 1;
    for other in changed {
        assert_ne!(other.memory_nonce(), base.memory_nonce(), "{other:?}");
    }
    assert_eq!(with_memory().memory_nonce(), base.memory_nonce());
}

#[test]
fn an_impossible_signature_is_not_written() {
    let memory = MemoryHash { hash: [5; 32], signature: vec![6; TOKEN_LEN_MAX] };
    let statement = Statement { memory: Some(memory), ..statement() };
    assert_eq!(statement.to_token(|_| [0; 64]), Err(BadToken::TooLong));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Token::parse(&bytes);
    }

    #[test]
    fn damage_in_several_places_does_not_panic(
        places in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = token(&with_memory());
        for (place, value) in places {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Token::parse(&bytes);
    }
}
