// SPDX-License-Identifier: MIT
//! What vouches for this trusted application.

use super::TrustedApplication;
use alloc::vec::Vec;
use strongroom_attestation_optee::{Failed, token};
use strongroom_optee_package::DIGEST_LENGTH;
use strongroom_south::{AttestingEnvironment, REPORT_DATA_LEN, SecurityError};

/// Sets the identity key apart from other keys of this application.
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
        let Facts { ta_uuid, ta_version, package_digest } = self.facts;
        let facts = strongroom_attestation_optee::Facts {
            nonce: *data,
            ta_uuid,
            ta_version,
            package_digest,
        };
        token(&facts, IDENTITY_LABEL).map_err(|failed| match failed {
            Failed::Refused(code) => SecurityError::Refused(code),
            Failed::Broken => SecurityError::Broken,
        })
    }
}
