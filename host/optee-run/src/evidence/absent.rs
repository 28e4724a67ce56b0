// SPDX-License-Identifier: MIT
//! In the place of [`evidence`](crate::evidence) where no client library for a TEE is linked.

use crate::RunError;
use strongroom_optee_package::Uuid;
use strongroom_token::NONCE_LEN;
use strongroom_verifier::AttestationKey;

/// Asks nobody.
///
/// # Errors
///
/// [`RunError::NotHere`].
pub const fn answer(_: Uuid, _: &[u8; NONCE_LEN]) -> Result<Vec<u8>, RunError> {
    Err(RunError::NotHere)
}

/// Asks nobody.
///
/// # Errors
///
/// [`RunError::NotHere`].
pub const fn attestation_key() -> Result<Option<AttestationKey>, RunError> {
    Err(RunError::NotHere)
}
