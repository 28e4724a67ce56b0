// SPDX-License-Identifier: MIT
//! Keys that sign, and what they sign is verified with.

use alloc::vec::Vec;
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::Verifier as _;
use serde::{Deserialize, Serialize};

use crate::{SECRET_LEN, secret::expand};

const P256_SCALAR: &[u8] = b"strongroom key 1: P-256 scalar\0";

/// What a signing key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA with P-256 and SHA-256 (FIPS 186-5), with nonces as in RFC 6979.
    P256,
}

impl Algorithm {
    /// How it is kept.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::P256 => 2,
        }
    }
}

/// A signature, as 64 bytes: Ed25519's `R` and `S`, or ECDSA's `r` and `s`, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature([u8; 32], [u8; 32]);

impl Signature {
    /// Of its bytes.
    pub const fn from_bytes(bytes: &[u8; 64]) -> Self {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        let (first, second) = bytes.split_at(32);
        r.copy_from_slice(first);
        s.copy_from_slice(second);
        Self(r, s)
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let both = self.0.iter().chain(&self.1);
        bytes.iter_mut().zip(both).for_each(|(to, from)| *to = *from);
        bytes
    }
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// What it is.
    pub algorithm: Algorithm,
    /// Ed25519: 32 bytes. P-256: 65 bytes, a point of SEC 1 that is not compressed.
    pub bytes: Vec<u8>,
}

impl PublicKey {
    /// Whether this key has signed this message. A key that is none has signed nothing.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        match self.algorithm {
            Algorithm::Ed25519 => {
                let Ok(bytes) = self.bytes.as_slice().try_into() else { return false };
                let signature = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
                ed25519_dalek::VerifyingKey::from_bytes(bytes)
                    .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
            }
            Algorithm::P256 => {
                let signature = p256::ecdsa::Signature::from_slice(&signature.to_bytes());
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes);
                matches!((key, signature), (Ok(key), Ok(it)) if key.verify(message, &it).is_ok())
            }
        }
    }
}

/// A key that signs. Its secret half is overwritten when it is dropped.
pub struct SigningKey(Kind);

enum Kind {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl core::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "SigningKey({:?})", self.algorithm())
    }
}

impl SigningKey {
    pub(crate) fn of_secret(secret: &[u8; SECRET_LEN], algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Ed25519 => Kind::Ed25519(ed25519_dalek::SigningKey::from_bytes(secret)),
            Algorithm::P256 => Kind::P256(scalar(secret)),
        })
    }

    /// What it is.
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Kind::Ed25519(_) => Algorithm::Ed25519,
            Kind::P256(_) => Algorithm::P256,
        }
    }

    /// Signs a message of any length; the same message gets the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        match &self.0 {
            Kind::Ed25519(key) => Signature::from_bytes(&key.sign(message).to_bytes()),
            Kind::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Signature::from_bytes(&signature.to_bytes().into())
            }
        }
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let bytes = match &self.0 {
            Kind::Ed25519(key) => key.verifying_key().to_bytes().to_vec(),
            Kind::P256(key) => key.verifying_key().to_encoded_point(false).as_bytes().to_vec(),
        };
        PublicKey { algorithm: self.algorithm(), bytes }
    }
}

/// The first of a row of numbers that is one of P-256's scalars; nearly always the very first.
fn scalar(secret: &[u8; SECRET_LEN]) -> p256::ecdsa::SigningKey {
    let mut attempt = 0_u32;
    loop {
        let candidate = expand(secret, P256_SCALAR, &attempt.to_le_bytes());
        if let Ok(key) = p256::ecdsa::SigningKey::from_slice(candidate.as_slice()) {
            return key;
        }
        attempt = attempt.wrapping_add(1);
    }
}
