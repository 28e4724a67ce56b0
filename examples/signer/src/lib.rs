// SPDX-License-Identifier: MIT
//! Keeps two keys that nobody can take out, Ed25519 and P-256, and signs with them: at most [`RATE`]
//! times a minute, and every signature leaves an entry in a log.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{string::String, vec::Vec};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};
use strongroom::{
    Caller, OpenError, Platform, Service,
    platform::{EvidenceError, NONCE_LEN, StorageError},
};
use strongroom_keys::{Algorithm, KeyError, Keys, PublicKey, Signature, SigningKey};

/// The trusted application's name.
pub const UUID: &str = "5f0c1a3e-8d4b-4c56-9b1f-2a7e6d0c9f31";
/// Signatures of a session within [`WINDOW`].
pub const RATE: usize = 5;
/// A minute.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Entries that the log keeps; older ones are forgotten.
pub const LOG_MAX: usize = 32;

const LOG: &str = "log";
/// Bytes of an entry in the log: a digest.
const ENTRY: usize = 32;

/// Why nothing was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignError {
    /// So many signatures in so short a time: wait so many milliseconds.
    TooOften(u32),
    /// The log cannot be written, and nothing is signed without it.
    Log(StorageError),
    /// The machine gives no evidence.
    Evidence(EvidenceError),
}

impl core::fmt::Display for SignError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooOften(millis) => write!(formatter, "too often: wait {millis} ms"),
            Self::Log(error) => write!(formatter, "the log cannot be written: {error}"),
            Self::Evidence(error) => write!(formatter, "there is no evidence: {error:?}"),
        }
    }
}

/// What evidence about a key is bound to: a hash over the client's nonce and the public key.
pub fn bound(nonce: &[u8; 32], key: &PublicKey) -> [u8; NONCE_LEN] {
    let parts = [b"strongroom signer 1\0".as_slice(), nonce, &key.bytes];
    Sha512::digest(parts.concat()).into()
}

/// Signs with keys that stay inside.
#[strongroom::service]
pub trait Signer {
    /// Does nothing: what a call costs.
    fn nothing(&self);
    /// The public key.
    fn public_key(&self, algorithm: Algorithm) -> PublicKey;
    /// Signs a digest, as a message of 32 bytes.
    fn sign(&mut self, algorithm: Algorithm, digest: [u8; 32]) -> Result<Signature, SignError>;
    /// Evidence about this service, that a key is its own: bound to [`bound`].
    fn evidence(&self, algorithm: Algorithm, nonce: [u8; 32]) -> Result<Vec<u8>, SignError>;
    /// Digests that were signed, by all sessions, the latest last.
    fn log(&self) -> Result<Vec<[u8; 32]>, SignError>;
    /// Names of what lies in sealed storage.
    fn stored(&self) -> Result<Vec<String>, SignError>;
    /// Panics, to see what becomes of a client. A signer for more than tests has no such method.
    fn panic_on_purpose(&mut self);
    /// Waits until its client cancels the call, a minute at most; the same.
    fn wait(&self);
}

/// The service.
pub struct KeyKeeper {
    platform: Platform,
    ed25519: SigningKey,
    p256: SigningKey,
    /// When this session signed, of late.
    signed: [Option<Duration>; RATE],
}

impl core::fmt::Debug for KeyKeeper {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("KeyKeeper")
    }
}

impl Service for KeyKeeper {
    fn open(platform: &Platform, _caller: &Caller) -> Result<Self, OpenError> {
        let keys = Keys::of(platform);
        let key = |name, algorithm| {
            keys.signing(name, algorithm).map_err(|_: KeyError| OpenError::Storage)
        };
        Ok(Self {
            platform: platform.clone(),
            ed25519: key("ed25519", Algorithm::Ed25519)?,
            p256: key("p256", Algorithm::P256)?,
            signed: [None; RATE],
        })
    }
}

impl KeyKeeper {
    const fn key(&self, algorithm: Algorithm) -> &SigningKey {
        match algorithm {
            Algorithm::Ed25519 => &self.ed25519,
            Algorithm::P256 => &self.p256,
        }
    }

    /// Takes a place among the signatures of this minute.
    fn take_turn(&mut self) -> Result<(), SignError> {
        let now = self.platform.monotonic();
        let ends = |at: Duration| at.saturating_add(WINDOW);
        let is_free = |slot: &&mut Option<Duration>| slot.is_none_or(|at| ends(at) <= now);
        if let Some(slot) = self.signed.iter_mut().find(is_free) {
            *slot = Some(now);
            return Ok(());
        }
        let next = self.signed.iter().flatten().min().copied().unwrap_or(now);
        let wait = ends(next).saturating_sub(now).as_millis();
        Err(SignError::TooOften(u32::try_from(wait).unwrap_or(u32::MAX)))
    }

    fn log_one(&self, digest: &[u8; ENTRY]) -> Result<(), SignError> {
        let mut entries = self.entries()?;
        entries.extend(digest);
        let most = LOG_MAX.saturating_mul(ENTRY);
        let old = entries.len().saturating_sub(most);
        entries.drain(..old);
        self.platform.sealed().put(LOG, &entries).map_err(SignError::Log)
    }

    fn entries(&self) -> Result<Vec<u8>, SignError> {
        match self.platform.sealed().get(LOG) {
            Ok(entries) => Ok(entries),
            Err(StorageError::Absent) => Ok(Vec::new()),
            Err(error) => Err(SignError::Log(error)),
        }
    }
}

impl Signer for KeyKeeper {
    fn nothing(&self) {}

    fn public_key(&self, algorithm: Algorithm) -> PublicKey {
        self.key(algorithm).public()
    }

    fn sign(&mut self, algorithm: Algorithm, digest: [u8; 32]) -> Result<Signature, SignError> {
        self.take_turn()?;
        self.platform.exclusively(|| self.log_one(&digest))?;
        Ok(self.key(algorithm).sign(&digest))
    }

    fn evidence(&self, algorithm: Algorithm, nonce: [u8; 32]) -> Result<Vec<u8>, SignError> {
        let bound = bound(&nonce, &self.key(algorithm).public());
        self.platform.evidence(&bound).map_err(SignError::Evidence)
    }

    fn log(&self) -> Result<Vec<[u8; 32]>, SignError> {
        Ok(self.entries()?.as_chunks::<ENTRY>().0.to_vec())
    }

    fn stored(&self) -> Result<Vec<String>, SignError> {
        self.platform.sealed().list().map_err(SignError::Log)
    }

    fn panic_on_purpose(&mut self) {
        strongroom::log!(self.platform, "this session ends on purpose");
        panic!("on purpose");
    }

    fn wait(&self) {
        let begun = self.platform.monotonic();
        while !self.platform.is_cancelled()
            && self.platform.monotonic().saturating_sub(begun) < WINDOW
        {
            core::hint::spin_loop();
        }
    }
}
