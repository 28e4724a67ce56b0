// SPDX-License-Identifier: MIT
//! What a trusted application says about itself.

use crate::{DIGEST_LEN, IDENTITY_KEY_LEN, NONCE_LEN};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use sha2::{Digest as _, Sha256};

/// What sets the nonce for the attestation PTA apart from all others that it may be given.
const MEMORY_LABEL: &[u8] = b"strongroom optee memory 1\0";
/// Places in the bytes of a UUID before which its text has a hyphen (RFC 9562, section 4).
const HYPHENS: [usize; 4] = [4, 6, 8, 10];

/// The claims of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What makes it fresh, and binds it to a session if there is one.
    pub nonce: [u8; NONCE_LEN],
    /// UUID of the trusted application, in the byte order of its text.
    pub ta_uuid: [u8; 16],
    /// Its version, as signed in its header.
    pub ta_version: u32,
    /// SHA-256 of what was packed.
    pub package_digest: [u8; DIGEST_LEN],
    /// The public half of the key that signs: of this application on this device.
    pub identity_key: [u8; IDENTITY_KEY_LEN],
    /// What the attestation PTA says, where there is one.
    pub memory: Option<MemoryHash>,
}

/// An answer of the attestation PTA to `HASH_TA_MEMORY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryHash {
    /// SHA-256 over all read-only memory of the application that asked.
    pub hash: [u8; DIGEST_LEN],
    /// RSASSA-PSS with SHA-256 over nonce and hash, by the device's key.
    pub signature: Vec<u8>,
}

impl Statement {
    /// The nonce that the attestation PTA is given: SHA-256 over a label and all that is stated but
    /// the PTA's answer. Every part has a fixed length, so that no two statements share one, and the
    /// PTA signs hash after nonce without either's length.
    #[must_use]
    pub fn memory_nonce(&self) -> [u8; DIGEST_LEN] {
        let mut hash = Sha256::new();
        hash.update(MEMORY_LABEL);
        hash.update(self.nonce);
        hash.update(self.ta_uuid);
        hash.update(self.ta_version.to_be_bytes());
        hash.update(self.package_digest);
        hash.update(self.identity_key);
        hash.finalize().into()
    }

    /// The UUID as text.
    #[must_use]
    pub fn uuid_text(&self) -> String {
        let mut text = String::new();
        for (index, byte) in self.ta_uuid.iter().enumerate() {
            let hyphen = if HYPHENS.contains(&index) { "-" } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{hyphen}{byte:02x}");
        }
        text
    }
}
