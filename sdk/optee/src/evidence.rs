// SPDX-License-Identifier: MIT
//! What vouches for a service: a key of its own on this device, and the device's attestation PTA where
//! OP-TEE has one.
//!
//! The layout is that of programs in the library OS (`strongroom_token`), so that the same verifier reads
//! it. A service has no package, whose digest is zeros, and knows no version of itself: what its policy
//! names is the hash of its memory.

use alloc::{vec, vec::Vec};
use ed25519_dalek::{Signer as _, SigningKey};
use optee_utee::{
    Error, ErrorKind, ParamIndex, TaSessionBuilder, TeeParams, Uuid,
    property::{PropertyKey as _, TaAppId},
};
use strongroom_service::platform::{EvidenceError, NONCE_LEN};
use strongroom_token::{DIGEST_LEN, MEMORY_SIGNATURE_MAX, MemoryHash, Statement, challenge_nonce};

/// OP-TEE's attestation PTA (`pta_attestation.h`).
const ATTESTATION: [u8; 16] = *b"\x39\x80\x08\x61\x18\x2a\x47\x20\x9b\x67\x2b\xcd\x62\x2b\xc0\xb5";
/// `PTA_ATTESTATION_HASH_TA_MEMORY`: nonce in, hash and signature out. Its other commands sign anything for
/// anybody.
const HASH_TA_MEMORY: u32 = 2;
/// Sets the identity key apart from keys that the service derives.
pub(crate) const IDENTITY_LABEL: &[u8] = b"strongroom optee service identity 1";

/// A token over `nonce`, signed with the key of this seed.
pub(crate) fn token(seed: &[u8; 32], nonce: &[u8; NONCE_LEN]) -> Result<Vec<u8>, EvidenceError> {
    let key = SigningKey::from_bytes(seed);
    let mut statement = Statement {
        nonce: challenge_nonce(nonce),
        ta_uuid: own_name()?,
        ta_version: 0,
        package_digest: [0; DIGEST_LEN],
        identity_key: key.verifying_key().to_bytes(),
        memory: None,
    };
    statement.memory = memory_hash(&statement.memory_nonce())?;
    let token = statement.to_token(|signed| key.sign(signed).to_bytes());
    token.map_err(|_| EvidenceError::Unsupported)
}

fn own_name() -> Result<[u8; 16], EvidenceError> {
    let name = TaAppId.get().map_err(refused)?;
    crate::machine::bytes(&name).ok_or(EvidenceError::Unsupported)
}

/// None where OP-TEE is built without the PTA.
fn memory_hash(nonce: &[u8; DIGEST_LEN]) -> Result<Option<MemoryHash>, EvidenceError> {
    let mut pta = match TaSessionBuilder::new(Uuid::from_bytes(ATTESTATION)).build() {
        Ok(session) => session,
        Err(error) if error.kind() == ErrorKind::ItemNotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let mut answer = vec![0; DIGEST_LEN.saturating_add(MEMORY_SIGNATURE_MAX)];
    let mut parameters = TeeParams::new()
        .with_memref_in(ParamIndex::Arg0, nonce)
        .with_memref_out(ParamIndex::Arg1, &mut answer);
    pta.invoke_command(HASH_TA_MEMORY, &mut parameters).map_err(refused)?;
    let written = parameters[ParamIndex::Arg1].written_slice().unwrap_or_default();
    let (hash, signature) = written.split_first_chunk().ok_or(EvidenceError::Unsupported)?;
    Ok(Some(MemoryHash { hash: *hash, signature: signature.to_vec() }))
}

fn refused(error: Error) -> EvidenceError {
    EvidenceError::Refused(error.raw_code())
}
