// SPDX-License-Identifier: MIT
//! Evidence of trusted applications: an Entity Attestation Token (EAT, RFC 9711), in CBOR, signed
//! with COSE (RFC 9052).
//!
//! A trusted application signs [`Statement`] with a key that is its own on its device
//! ([`Token::key_id`]). The statement may repeat what OP-TEE's attestation PTA has said of the
//! application's memory ([`MemoryHash`]): a hash of all that is read-only in it, signed by a key of the
//! device, over a nonce that covers the rest of the statement ([`Statement::memory_nonce`]).
//!
//! This crate knows the layout: who may have signed is the verifier's business. The profile, in the
//! terms of RFC 9711, section 6:
//!
//! | what | how |
//! |:--|:--|
//! | profile | [`PROFILE`] |
//! | serialization | CBOR, definite lengths, deterministic (RFC 8949, 4.2.1); no other encoding is read |
//! | envelope | tagged `COSE_Sign1`; protected header: `alg` (EdDSA), content type, `kid` (SHA-256 of the key); unprotected header: empty |
//! | keys | Ed25519, enrolled beforehand; the token's own `cnf` proves nothing by itself |
//! | freshness | `eat_nonce`, always [`NONCE_LEN`] bytes |
//! | detached bundles, nested tokens, encryption | none |
//!
//! | claim | key | value |
//! |:--|--:|:--|
//! | `cnf` (RFC 8747) | 8 | a `COSE_Key` with the identity key |
//! | `eat_nonce` | 10 | 64 bytes: the client's nonce, or what a session is bound to |
//! | `eat_profile` | 265 | the profile |
//! | `swname` | 270 | UUID of the trusted application, in lower case |
//! | `swversion` | 271 | its version, a decimal number |
//! | package digest | -70000 | SHA-256, 32 bytes |
//! | memory hash | -70001 | array of hash (32 bytes) and signature; absent where the PTA is |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod decode;
mod encode;
mod error;
mod statement;

pub use error::BadToken;
pub use statement::{MemoryHash, Statement};

use alloc::vec::Vec;
use sha2::{Digest as _, Sha256, Sha512};

/// What sets these tokens apart from all others (`eat_profile`).
pub const PROFILE: &str = "urn:uuid:c2dd92b4-baf8-4d1b-bded-c95d3085eed2";
/// Media type of the payload (RFC 9782).
pub const CONTENT_TYPE: &str = "application/eat+cwt";
/// Bytes of the nonce.
pub const NONCE_LEN: usize = 64;
/// Bytes of an identity key (Ed25519, RFC 8032).
pub const IDENTITY_KEY_LEN: usize = 32;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;
/// Bytes of a SHA-256 digest.
pub const DIGEST_LEN: usize = 32;
/// Most bytes of the attestation PTA's signature: RSA with 4096 bits.
pub const MEMORY_SIGNATURE_MAX: usize = 512;
/// Most bytes of a token, with room to spare.
pub const TOKEN_LEN_MAX: usize = 2048;

/// A token that was read. Nobody has looked at its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What is stated.
    pub statement: Statement,
    /// The bytes that the signature covers.
    pub signed: Vec<u8>,
    /// The signature of the identity key that the statement names.
    pub signature: [u8; SIGNATURE_LEN],
}

/// What sets the answer to a challenge apart from any session's evidence.
const CHALLENGE_LABEL: &[u8] = b"strongroom optee challenge 1\0";

/// The nonce in a token that somebody asks for outside of a session: SHA-512 over a label and the
/// challenge. An application signs no caller's 64 bytes as they are: they could be those that a session
/// is bound to, and the caller an impostor.
#[must_use]
pub fn challenge_nonce(challenge: &[u8; NONCE_LEN]) -> [u8; NONCE_LEN] {
    let mut hash = Sha512::new();
    hash.update(CHALLENGE_LABEL);
    hash.update(challenge);
    hash.finalize().into()
}

impl Token {
    /// The name of an identity key: its SHA-256.
    #[must_use]
    pub fn key_id(identity_key: &[u8; IDENTITY_KEY_LEN]) -> [u8; DIGEST_LEN] {
        Sha256::digest(identity_key).into()
    }
}
