// SPDX-License-Identifier: MIT
//! What vouches for a service.
//!
//! The layout is that of programs in the library OS (`strongroom_token`), so that the same verifier reads
//! it. A service has no package, whose digest is zeros, and knows no version of itself: what its policy
//! names is the hash of its memory.

use alloc::vec::Vec;
use optee_utee::property::{PropertyKey as _, TaAppId};
use strongroom_attestation_optee::{Facts, Failed};
use strongroom_service::platform::{EvidenceError, NONCE_LEN};
use strongroom_token::{DIGEST_LEN, challenge_nonce};

/// Sets the identity key apart from keys that the service derives.
const IDENTITY_LABEL: &[u8] = b"strongroom optee service identity 1";

/// A token over `nonce`.
pub(crate) fn token(nonce: &[u8; NONCE_LEN]) -> Result<Vec<u8>, EvidenceError> {
    let facts = Facts {
        nonce: challenge_nonce(nonce),
        ta_uuid: own_name()?,
        ta_version: 0,
        package_digest: [0; DIGEST_LEN],
    };
    strongroom_attestation_optee::token(&facts, IDENTITY_LABEL).map_err(|failed| match failed {
        Failed::Refused(code) => EvidenceError::Refused(code),
        Failed::Broken => EvidenceError::Unsupported,
    })
}

fn own_name() -> Result<[u8; 16], EvidenceError> {
    let name = TaAppId.get().map_err(|error| EvidenceError::Refused(error.raw_code()))?;
    crate::machine::bytes(&name).ok_or(EvidenceError::Unsupported)
}
