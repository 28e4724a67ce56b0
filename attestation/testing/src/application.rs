// SPDX-License-Identifier: MIT
//! A made-up trusted application on a made-up device, and a policy that it satisfies.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

use ed25519_dalek::{Signer as _, SigningKey};
use rsa::RsaPrivateKey;
use rsa::pss::BlindedSigningKey;
use rsa::rand_core::OsRng;
use rsa::sha2::Sha256;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rsa::traits::PublicKeyParts as _;
use std::fmt::Write as _;
use std::sync::LazyLock;
use strongroom_token::{MemoryHash, Statement};

/// The policy with names for the long values.
const POLICY: &str = r#"
version = 1

[optee]
ta_uuids = ["01234567-89ab-8def-bedc-ba9876543210"]
min_ta_version = 3
package_digests = ["PACKAGE"]
memory_hashes = ["MEMORY"]
identity_key_ids = ["IDENTITY"]
report_data = "given"
"#;

/// A strict policy that an [`Application`] satisfies, as TOML.
#[must_use]
pub fn policy_text() -> String {
    let key = strongroom_token::Token::key_id(&Application::new().statement.identity_key);
    POLICY
        .replace("PACKAGE", &"02".repeat(32))
        .replace("MEMORY", &"05".repeat(32))
        .replace("IDENTITY", &hex::encode(key))
}

/// The device's key, made once: that takes a while.
static DEVICE: LazyLock<RsaPrivateKey> =
    LazyLock::new(|| RsaPrivateKey::new(&mut OsRng, 2048).unwrap());

/// An application, and what it states; unsigned.
#[derive(Debug)]
pub struct Application {
    key: SigningKey,
    /// What it states, but for its memory.
    pub statement: Statement,
    /// The hash of its memory, where the device has an attestation PTA.
    pub memory: Option<[u8; 32]>,
}

impl Application {
    /// One that satisfies [`policy_text`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_key([9; 32])
    }

    /// The same with another key: on another device.
    #[must_use]
    pub fn with_key(secret: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&secret);
        let statement = Statement {
            nonce: [3; 64],
            ta_uuid: *b"\x01\x23\x45\x67\x89\xab\x8d\xef\xbe\xdc\xba\x98\x76\x54\x32\x10",
            ta_version: 3,
            package_digest: [2; 32],
            identity_key: key.verifying_key().to_bytes(),
            memory: None,
        };
        Self { key, statement, memory: Some([5; 32]) }
    }

    /// The token: memory signed by the device, the rest by the application.
    #[must_use]
    pub fn token(&self) -> Vec<u8> {
        let memory = self.memory.map(|hash| MemoryHash {
            hash,
            signature: device_signature(&self.statement.memory_nonce(), &hash),
        });
        self.sign(&Statement { memory, ..self.statement.clone() })
    }

    /// A token that states what it is told.
    #[must_use]
    pub fn sign(&self, statement: &Statement) -> Vec<u8> {
        statement.to_token(|signed| self.key.sign(signed).to_bytes()).unwrap()
    }

    /// The enrolment of application and device, as TOML, with the platform `device` or `simulated`.
    #[must_use]
    pub fn enrolment_text(&self, platform: &str) -> String {
        let mut text = String::new();
        write!(
            text,
            "version = 1\nplatform = \"{platform}\"\nta_uuid = \"{}\"\nidentity_key = \"{}\"\n\n\
             [attestation_key]\nmodulus = \"{}\"\nexponent = \"{}\"\n",
            self.statement.uuid_text(),
            hex::encode(self.statement.identity_key),
            hex::encode(DEVICE.n().to_bytes_be()),
            hex::encode(DEVICE.e().to_bytes_be()),
        )
        .unwrap();
        text
    }
}

impl Default for Application {
    fn default() -> Self {
        Self::new()
    }
}

/// What the attestation PTA signs for anybody: a nonce of the caller's, and a hash behind it.
#[must_use]
pub fn device_signature(nonce: &[u8], hash: &[u8; 32]) -> Vec<u8> {
    let key = BlindedSigningKey::<Sha256>::new(DEVICE.clone());
    key.sign_with_rng(&mut OsRng, &[nonce, hash].concat()).to_vec()
}
