// SPDX-License-Identifier: MIT
//! Attested sessions: a client and an enclave agree on keys that evidence is bound to.
//!
//! Neither side does input or output: frames go in, bytes to be sent come out, and the caller brings
//! randomness. What may happen next is in the types.
//!
//! | client | on the wire | enclave |
//! |:--|:--|:--|
//! | [`client::Hello`] | `e`, nonce → | [`enclave::Waiting`] |
//! | | ← `e, ee, s, es` | [`enclave::Replied`] |
//! | [`client::Unproven`] | `s, se` → | [`enclave::Proving`] |
//! | [`client::Presented`] | ← evidence | [`enclave::Intake`] |
//! | [`client::Verified`] | arguments, variables, secrets, start → | |
//! | [`client::Expecting`] | ← started, exit status | |
//! | [`client::Connecting`] | or: connect → | |
//! | [`client::Connected`] | ← connected; bytes of the workload's service in both directions | |
//!
//! The first three messages are Noise's pattern XX with [`PATTERN`] and [`PROLOGUE`]; the client is
//! the initiator. Its static key is the owner's, the enclave's is made for this session. The report
//! data of the evidence is [`report_data`]: it covers the client's nonce and the handshake's hash,
//! and with that all keys of both sides. Reports that a program asks for are of another privilege
//! level than [`KERNEL_VMPL`], so no program can make this evidence.
//!
//! There is no way to a [`client::Verified`], which alone can send secrets, but through
//! [`client::Presented::verify`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod channel;
pub mod client;
pub mod enclave;
mod error;
mod frame;
mod gathered;
mod key;
pub mod message;

pub use error::SessionError;
pub use frame::{FRAME_MAX, Frames, HANDSHAKE_FRAME_MAX};
pub use gathered::{Gathered, Secret, TEXT_MAX, VALUES_MAX};
pub use key::{BadKey, KEY_LEN, PublicKey, SecretKey};

use sha2::{Digest as _, Sha512};
pub use strongroom_token::challenge_nonce;

/// The Noise protocol (revision 34 of the specification).
pub const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_SHA256";
/// Noise's prologue: this protocol and its version. Sides that disagree on it get no keys.
pub const PROLOGUE: &[u8] = b"strongroom session 1";
/// Bytes of the nonce that a client chooses.
pub const NONCE_LEN: usize = 32;
/// Bytes of Noise's handshake hash (SHA-256).
pub const HANDSHAKE_HASH_LEN: usize = 32;
/// The privilege level at which the kernel asks for reports, and no program can. Tools on Linux ask at
/// 0 or 1.
pub const KERNEL_VMPL: u8 = 3;
/// Most bytes of a secret.
pub const SECRET_LEN_MAX: usize = 256 * 1024;
/// Most bytes of all secrets of a session.
pub const SECRETS_LEN_MAX: usize = 1024 * 1024;
/// Most bytes of a secret's name.
pub const SECRET_NAME_MAX: usize = 64;
/// Most bytes of the certificate table that evidence brings along.
pub const CERTIFICATES_MAX: usize = 48 * 1024;

/// What sets this hash apart from any other that a report may carry.
const EVIDENCE_LABEL: &[u8] = b"strongroom session evidence 1\0";

/// The report data of a session's evidence: SHA-512 over label, nonce and handshake hash.
#[must_use]
pub fn report_data(nonce: &[u8; NONCE_LEN], handshake_hash: &[u8; HANDSHAKE_HASH_LEN]) -> [u8; 64] {
    let mut hash = Sha512::new();
    hash.update(EVIDENCE_LABEL);
    hash.update(nonce);
    hash.update(handshake_hash);
    hash.finalize().into()
}

/// Whether a secret can have this name: it becomes the name of a file.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=SECRET_NAME_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}
