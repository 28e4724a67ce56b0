// SPDX-License-Identifier: MIT
//! What vouches for this trusted application: a key of its own, and the device's attestation PTA.
//!
//! The identity key is derived from the key that OP-TEE derives for this UUID on this device, so it is
//! there again after a restart and in another version, and nobody but an application with this UUID
//! has it. The attestation PTA is asked for a hash of this application's memory alone: its other
//! commands sign anything for anybody.

use super::TrustedApplication;
use alloc::vec;
use alloc::vec::Vec;
use ed25519_dalek::{Signer as _, SigningKey};
use optee_utee::{ErrorKind, ParamIndex, TaSessionBuilder, TeeParams, Uuid};
use strongroom_optee_package::DIGEST_LENGTH;
use strongroom_south::{AttestingEnvironment, REPORT_DATA_LEN, SecurityError};
use strongroom_token::{DIGEST_LEN, MEMORY_SIGNATURE_MAX, MemoryHash, Statement};
use zeroize::Zeroizing;

/// OP-TEE's system PTA (`pta_system.h`).
const SYSTEM: [u8; 16] = *b"\x3a\x2f\x89\x78\x5d\xc0\x11\xe8\x9c\x2d\xfa\x7a\xe0\x1b\xbe\xbc";
/// `PTA_SYSTEM_DERIVE_TA_UNIQUE_KEY`: extra data in, a key out.
const DERIVE_TA_UNIQUE_KEY: u32 = 1;
/// OP-TEE's attestation PTA (`pta_attestation.h`).
const ATTESTATION: [u8; 16] = *b"\x39\x80\x08\x61\x18\x2a\x47\x20\x9b\x67\x2b\xcd\x62\x2b\xc0\xb5";
/// `PTA_ATTESTATION_HASH_TA_MEMORY`: nonce in, hash and signature out.
const HASH_TA_MEMORY: u32 = 2;
/// Extra data that sets the identity key apart from other keys of this application.
const IDENTITY_LABEL: &[u8] = b"strongroom optee identity 1";

/// What of this application is stated, and does not change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) ta_uuid: [u8; 16],
    pub(super) ta_version: u32,
    pub(super) package_digest: [u8; DIGEST_LENGTH],
}

impl AttestingEnvironment for TrustedApplication {
    fn token(&self, data: &[u8; REPORT_DATA_LEN]) -> Result<Vec<u8>, SecurityError> {
        let key = identity_key()?;
        let Facts { ta_uuid, ta_version, package_digest } = self.facts;
        let mut statement = Statement {
            nonce: *data,
            ta_uuid,
            ta_version,
            package_digest,
            identity_key: key.verifying_key().to_bytes(),
            memory: None,
        };
        statement.memory = memory_hash(&statement.memory_nonce())?;
        let token = statement.to_token(|signed| key.sign(signed).to_bytes());
        token.map_err(|_| SecurityError::Broken)
    }
}

fn refused(error: optee_utee::Error) -> SecurityError {
    SecurityError::Refused(error.raw_code())
}

fn identity_key() -> Result<SigningKey, SecurityError> {
    let mut seed = Zeroizing::new([0; 32]);
    let mut system = TaSessionBuilder::new(Uuid::from_bytes(SYSTEM)).build().map_err(refused)?;
    let mut parameters = TeeParams::new()
        .with_memref_in(ParamIndex::Arg0, IDENTITY_LABEL)
        .with_memref_out(ParamIndex::Arg1, seed.as_mut_slice());
    system.invoke_command(DERIVE_TA_UNIQUE_KEY, &mut parameters).map_err(refused)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// None where OP-TEE is built without the PTA.
fn memory_hash(nonce: &[u8; DIGEST_LEN]) -> Result<Option<MemoryHash>, SecurityError> {
    let mut pta = match TaSessionBuilder::new(Uuid::from_bytes(ATTESTATION)).build() {
        Ok(session) => session,
        Err(error) if error.kind() == ErrorKind::ItemNotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let mut answer = vec![0; DIGEST_LEN + MEMORY_SIGNATURE_MAX];
    let mut parameters = TeeParams::new()
        .with_memref_in(ParamIndex::Arg0, nonce)
        .with_memref_out(ParamIndex::Arg1, &mut answer);
    pta.invoke_command(HASH_TA_MEMORY, &mut parameters).map_err(refused)?;
    let written = parameters[ParamIndex::Arg1].written_slice().unwrap_or_default();
    let (hash, signature) = written.split_first_chunk().ok_or(SecurityError::Broken)?;
    Ok(Some(MemoryHash { hash: *hash, signature: signature.to_vec() }))
}
