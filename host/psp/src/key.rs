// SPDX-License-Identifier: MIT
//! Keys that depend on the chip and on what a guest mixes in.
//!
//! AMD does not publish how its firmware derives them; here it is HKDF (RFC 5869) with SHA-384
//! over a secret of the installation.

use crate::{Installation, Launch};
use ring::hkdf;

/// Bytes of a derived key.
pub(crate) const KEY_LEN: usize = 32;

/// `GUEST_FIELD_SELECT` (56860, `MSG_KEY_REQ`).
const POLICY: u64 = 1;
const IMAGE_ID: u64 = 1 << 1;
const FAMILY_ID: u64 = 1 << 2;
const MEASUREMENT: u64 = 1 << 3;
const GUEST_SVN: u64 = 1 << 4;
const TCB_VERSION: u64 = 1 << 5;
/// All fields that there are.
pub(crate) const FIELDS: u64 =
    POLICY | IMAGE_ID | FAMILY_ID | MEASUREMENT | GUEST_SVN | TCB_VERSION;

/// What goes into a key besides guest and chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mixture {
    pub(crate) fields: u64,
    pub(crate) vmpl: u32,
    pub(crate) guest_svn: u32,
    pub(crate) tcb_version: u64,
}

/// The key for a mixture. Each part has its place and length, selected or not.
pub(crate) fn derive(
    installation: &Installation,
    launch: &Launch,
    mixture: Mixture,
) -> Option<[u8; KEY_LEN]> {
    let chosen = |field: u64, bytes: &[u8]| {
        if mixture.fields & field == 0 { vec![0; bytes.len()] } else { bytes.to_vec() }
    };
    // Family and image identity come from an identity block, which is not simulated: zeros.
    let parts = [
        &mixture.fields.to_le_bytes()[..],
        &mixture.vmpl.to_le_bytes(),
        &chosen(POLICY, &launch.policy.bits().to_le_bytes()),
        &chosen(IMAGE_ID, &[0; 16]),
        &chosen(FAMILY_ID, &[0; 16]),
        &chosen(MEASUREMENT, &launch.measurement),
        &chosen(GUEST_SVN, &mixture.guest_svn.to_le_bytes()),
        &chosen(TCB_VERSION, &mixture.tcb_version.to_le_bytes()),
    ];
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA384, b"Strongroom simulated SNP derived key 1");
    let secret = salt.extract(&installation.secret);
    let mut key = [0; KEY_LEN];
    secret.expand(&parts, Length).and_then(|okm| okm.fill(&mut key)).ok()?;
    Some(key)
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        KEY_LEN
    }
}
