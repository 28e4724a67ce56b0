// SPDX-License-Identifier: MIT
//! Keys and tokens.

use alloc::vec;
use alloc::vec::Vec;
use ed25519_dalek::{Signer as _, SigningKey};
use optee_utee::{Error, ErrorKind, ParamIndex, TaSessionBuilder, TeeParams, Uuid};
use strongroom_token::{DIGEST_LEN, MEMORY_SIGNATURE_MAX, MemoryHash, NONCE_LEN, Statement};
use zeroize::Zeroizing;

/// OP-TEE's system PTA (`pta_system.h`).
const SYSTEM: [u8; 16] = *b"\x3a\x2f\x89\x78\x5d\xc0\x11\xe8\x9c\x2d\xfa\x7a\xe0\x1b\xbe\xbc";
/// `PTA_SYSTEM_DERIVE_TA_UNIQUE_KEY`: extra data in, a key out.
const DERIVE_TA_UNIQUE_KEY: u32 = 1;
/// OP-TEE's attestation PTA (`pta_attestation.h`).
const ATTESTATION: [u8; 16] = *b"\x39\x80\x08\x61\x18\x2a\x47\x20\x9b\x67\x2b\xcd\x62\x2b\xc0\xb5";
/// `PTA_ATTESTATION_HASH_TA_MEMORY`: nonce in, hash and signature out.
const HASH_TA_MEMORY: u32 = 2;

/// What is stated besides the key and the memory's hash.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// What the token is fresh for.
    pub nonce: [u8; NONCE_LEN],
    /// The application's name.
    pub ta_uuid: [u8; 16],
    /// Its version.
    pub ta_version: u32,
    /// The digest of its package; zeros for none.
    pub package_digest: [u8; DIGEST_LEN],
}

/// There is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// OP-TEE says so, with this code.
    Refused(u32),
    /// What OP-TEE answers is not what it should be.
    Broken,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Refused(error.raw_code())
    }
}

/// A key of this application on this device, and of no other application.
///
/// # Errors
///
/// What the system PTA says.
pub fn derive(label: &[u8], key: &mut [u8; 32]) -> Result<(), Error> {
    let mut system = TaSessionBuilder::new(Uuid::from_bytes(SYSTEM)).build()?;
    let mut parameters = TeeParams::new()
        .with_memref_in(ParamIndex::Arg0, label)
        .with_memref_out(ParamIndex::Arg1, key.as_mut_slice());
    system.invoke_command(DERIVE_TA_UNIQUE_KEY, &mut parameters)
}

/// A token, signed with the key that this label sets apart from the application's other keys.
///
/// # Errors
///
/// [`Failed`].
pub fn token(facts: &Facts, identity_label: &[u8]) -> Result<Vec<u8>, Failed> {
    let mut seed = Zeroizing::new([0; 32]);
    derive(identity_label, &mut seed)?;
    let key = SigningKey::from_bytes(&seed);
    let mut statement = Statement {
        nonce: facts.nonce,
        ta_uuid: facts.ta_uuid,
        ta_version: facts.ta_version,
        package_digest: facts.package_digest,
        identity_key: key.verifying_key().to_bytes(),
        memory: None,
    };
    statement.memory = memory_hash(&statement.memory_nonce())?;
    let token = statement.to_token(|signed| key.sign(signed).to_bytes());
    token.map_err(|_| Failed::Broken)
}

/// None where OP-TEE is built without the PTA.
fn memory_hash(nonce: &[u8; DIGEST_LEN]) -> Result<Option<MemoryHash>, Failed> {
    let mut pta = match TaSessionBuilder::new(Uuid::from_bytes(ATTESTATION)).build() {
        Ok(session) => session,
        Err(error) if error.kind() == ErrorKind::ItemNotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut answer = vec![0; DIGEST_LEN.saturating_add(MEMORY_SIGNATURE_MAX)];
    let mut parameters = TeeParams::new()
        .with_memref_in(ParamIndex::Arg0, nonce)
        .with_memref_out(ParamIndex::Arg1, &mut answer);
    pta.invoke_command(HASH_TA_MEMORY, &mut parameters)?;
    let written = parameters[ParamIndex::Arg1].written_slice().unwrap_or_default();
    let (hash, signature) = written.split_first_chunk().ok_or(Failed::Broken)?;
    Ok(Some(MemoryHash { hash: *hash, signature: signature.to_vec() }))
}
