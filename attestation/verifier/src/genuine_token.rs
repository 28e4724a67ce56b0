// SPDX-License-Identifier: MIT
//! Whether a token is genuine: signed by the application and, where it says so, by the device that
//! were enrolled. No policy drops any of this.

use crate::{AttestationKey, Enrolment, Hex, OpteeClaims, Refusal};
use ring::signature::{
    ED25519, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use strongroom_token::{MemoryHash, Statement, Token};
use uuid::Uuid;

/// Checks `bytes` against `enrolment` and returns what they claim.
pub(crate) fn check(bytes: &[u8], enrolment: &Enrolment) -> Result<OpteeClaims, Refusal> {
    let token = Token::parse(bytes)?;
    let statement = &token.statement;
    let found = Hex(statement.identity_key);
    if found != enrolment.identity_key {
        return Err(Refusal::IdentityKey { expected: enrolment.identity_key, found });
    }
    UnparsedPublicKey::new(&ED25519, &statement.identity_key)
        .verify(&token.signed, &token.signature)
        .map_err(|_| Refusal::TokenSignature)?;
    let found = Uuid::from_bytes(statement.ta_uuid);
    if found != enrolment.ta_uuid {
        return Err(Refusal::TrustedApplication { expected: enrolment.ta_uuid, found });
    }
    let memory_hash = match (&statement.memory, &enrolment.attestation_key) {
        (Some(memory), Some(key)) => {
            check_memory(statement, memory, key)?;
            Some(memory.hash)
        }
        (Some(_) | None, _) => None,
    };
    Ok(OpteeClaims::of(statement, memory_hash, enrolment))
}

/// The PTA signs nonce and hash, one behind the other.
fn check_memory(
    statement: &Statement,
    memory: &MemoryHash,
    key: &AttestationKey,
) -> Result<(), Refusal> {
    let signed = [statement.memory_nonce(), memory.hash].concat();
    RsaPublicKeyComponents { n: key.modulus.as_slice(), e: key.exponent.as_slice() }
        .verify(&RSA_PSS_2048_8192_SHA256, &signed, &memory.signature)
        .map_err(|_| Refusal::MemorySignature)
}
