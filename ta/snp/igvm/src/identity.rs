// SPDX-License-Identifier: MIT
//! The identity block: who vouches for an image, and as what (AMD 56860, command
//! `SNP_LAUNCH_FINISH`, structures `ID_BLOCK` and `ID_AUTH_INFO`).

use crate::{Digest, ImageError};
use igvm_defs::{IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY, IGVM_VHS_SNP_ID_BLOCK_SIGNATURE};
use p384::ecdsa::signature::Signer as _;
use p384::ecdsa::{Signature, SigningKey, VerifyingKey};
use p384::pkcs8::DecodePrivateKey as _;
use sha2::{Digest as _, Sha384};

/// ECDSA P-384 with SHA-384.
pub(crate) const ALGORITHM: u32 = 1;
/// P-384.
const CURVE: u32 = 2;
/// Version of the block.
pub(crate) const VERSION: u32 = 1;
/// A number of the curve, in the firmware's structures: little-endian, filled up with zeros.
const NUMBER_LEN: usize = 72;
/// A public key in the firmware's structures.
const PUBLIC_KEY_LEN: usize = 0x404;

/// What an image is, and the keys that say so. The firmware refuses a launch whose digest or
/// policy is not the block's, and puts the digests of the keys into reports.
#[derive(Clone)]
pub struct Identity {
    pub(crate) family_id: [u8; 16],
    pub(crate) image_id: [u8; 16],
    pub(crate) guest_svn: u32,
    id_key: SigningKey,
    author_key: Option<SigningKey>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("family_id", &self.family_id)
            .field("image_id", &self.image_id)
            .field("guest_svn", &self.guest_svn)
            .finish_non_exhaustive()
    }
}

/// A signed block in the shape of IGVM files.
pub(crate) struct Signed {
    pub(crate) id_key_signature: IGVM_VHS_SNP_ID_BLOCK_SIGNATURE,
    pub(crate) id_public_key: IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY,
    pub(crate) author: Option<(IGVM_VHS_SNP_ID_BLOCK_SIGNATURE, IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY)>,
}

impl Identity {
    /// An image of that family and name, at a security version, vouched for by `id_key`, which
    /// `author_key` may vouch for in turn. Keys are PEM (PKCS #8).
    ///
    /// # Errors
    /// [`ImageError::Key`] for a key that is none of P-384.
    pub fn new(
        family_id: [u8; 16],
        image_id: [u8; 16],
        guest_svn: u32,
        id_key: &str,
        author_key: Option<&str>,
    ) -> Result<Self, ImageError> {
        let read = |pem: &str| {
            SigningKey::from_pkcs8_pem(pem).map_err(|error| ImageError::Key(error.to_string()))
        };
        let (id_key, author_key) = (read(id_key)?, author_key.map(read).transpose()?);
        Ok(Self { family_id, image_id, guest_svn, id_key, author_key })
    }

    /// Signs for a launch with that digest and guest policy.
    pub(crate) fn sign(&self, digest: &Digest, policy: u64) -> Signed {
        let mut block = Vec::with_capacity(96);
        block.extend_from_slice(digest);
        block.extend_from_slice(&self.family_id);
        block.extend_from_slice(&self.image_id);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&self.guest_svn.to_le_bytes());
        block.extend_from_slice(&policy.to_le_bytes());
        let id_public = self.id_key.verifying_key();
        Signed {
            id_key_signature: sign(&self.id_key, &block),
            id_public_key: in_file(id_public),
            author: self.author_key.as_ref().map(|author| {
                (sign(author, &in_firmware(id_public)), in_file(author.verifying_key()))
            }),
        }
    }

    /// What reports will say in `ID_KEY_DIGEST`.
    #[must_use]
    pub fn id_key_digest(&self) -> Digest {
        key_digest(self.id_key.verifying_key())
    }

    /// What reports will say in `AUTHOR_KEY_DIGEST`.
    #[must_use]
    pub fn author_key_digest(&self) -> Option<Digest> {
        Some(key_digest(self.author_key.as_ref()?.verifying_key()))
    }
}

/// The digest of a key as reports name it: SHA-384 over the firmware's structure.
#[must_use]
pub fn key_digest(key: &VerifyingKey) -> Digest {
    Sha384::digest(in_firmware(key)).into()
}

fn sign(key: &SigningKey, message: &[u8]) -> IGVM_VHS_SNP_ID_BLOCK_SIGNATURE {
    let signature: Signature = key.sign(message);
    let (r, s) = signature.split_bytes();
    IGVM_VHS_SNP_ID_BLOCK_SIGNATURE { r_comp: little_endian(&r), s_comp: little_endian(&s) }
}

/// A public key as the firmware lays it out (56860, chapter 10): curve, x, y, reserved.
fn in_firmware(key: &VerifyingKey) -> [u8; PUBLIC_KEY_LEN] {
    let IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY { curve, qx, qy, .. } = in_file(key);
    let mut bytes = [0; PUBLIC_KEY_LEN];
    let parts = curve.to_le_bytes().into_iter().chain(qx).chain(qy);
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    bytes
}

fn in_file(key: &VerifyingKey) -> IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY {
    let point = key.to_encoded_point(false);
    let number = |coordinate: Option<&p384::FieldBytes>| {
        coordinate.map_or([0; NUMBER_LEN], |bytes| little_endian(bytes))
    };
    let (qx, qy) = (number(point.x()), number(point.y()));
    IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY { curve: CURVE, reserved: 0, qx, qy }
}

fn little_endian(big_endian: &[u8]) -> [u8; NUMBER_LEN] {
    let mut number = [0; NUMBER_LEN];
    number.iter_mut().zip(big_endian.iter().rev()).for_each(|(to, from)| *to = *from);
    number
}
