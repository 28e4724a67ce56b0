// SPDX-License-Identifier: MIT
//! Signing, as OP-TEE's loader verifies it.
//!
//! Layout of a signed TA (OP-TEE 4.10, `core/include/signed_hdr.h`), little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic, `SHDR_MAGIC` |
//! | 4 | 4 | type: 1, `SHDR_BOOTSTRAP_TA` |
//! | 8 | 4 | bytes of the image |
//! | 12 | 4 | algorithm: `TEE_ALG_RSASSA_PKCS1_V1_5_SHA256` |
//! | 16 | 2 | bytes of the hash, 32 |
//! | 18 | 2 | bytes of the signature |
//! | 20 | 32 | hash over the 20 bytes above, UUID, version and image |
//! | 52 | n | signature of the hash |
//! | 52 + n | 16 | UUID, in the order of RFC 9562 |
//! | 68 + n | 4 | version of the TA |
//! | 72 + n | m | the image, an ELF file |
//!
//! Of the two paddings that OP-TEE accepts the one without a random salt is used: the same input
//! gives the same file.

use crate::Packed;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

const MAGIC: u32 = 0x4f54_5348;
const BOOTSTRAP_TA: u32 = 1;
const RSASSA_PKCS1_V1_5_SHA256: u32 = 0x7000_4830;
/// Bits of the smallest key that OP-TEE accepts.
const KEY_BITS_MIN: usize = 2048;
/// SHA-256 of the moduli of keys whose private part is public: those in the dev kits of Debian's
/// `optee-os-dev` 4.5.0 and 4.10.0.
const DEVELOPMENT_KEYS: [[u8; 32]; 2] = [
    [
        0xbc, 0x5c, 0x24, 0xa3, 0xc7, 0x9f, 0x65, 0xac, 0x78, 0x3b, 0x4d, 0x6d, 0x09, 0x1a, 0xc2,
        0x9b, 0xfa, 0xc5, 0x15, 0x78, 0xa3, 0xa1, 0x3b, 0x67, 0x5c, 0x25, 0x3e, 0xb4, 0xa4, 0x05,
        0x7c, 0xef,
    ],
    [
        0xec, 0x00, 0xa6, 0xa5, 0x7c, 0x4a, 0x34, 0xf1, 0x74, 0xf3, 0x45, 0x34, 0x58, 0xff, 0x54,
        0x8e, 0x3a, 0xf0, 0xb6, 0xa7, 0x2e, 0xf7, 0x72, 0xbd, 0x3e, 0xf0, 0x16, 0x28, 0xb9, 0xda,
        0xfa, 0xd7,
    ],
];
/// Names that dev kits give their keys.
const DEVELOPMENT_NAMES: [&str; 2] = ["default_ta.pem", "default.pem"];

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key file.
    #[error("cannot read the signing key {path}: {source}")]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// What is in the key file.
    #[error("{0} holds no RSA private key in PEM")]
    NotAKey(PathBuf),
    /// A key that OP-TEE refuses.
    #[error("the key has {0} bits, and OP-TEE accepts {KEY_BITS_MIN} and more")]
    TooShort(usize),
    /// The signature scheme failed.
    #[error("signing failed: {0}")]
    Failed(rsa::Error),
}

/// A key to sign with.
#[derive(Clone, Debug)]
pub struct SigningKey {
    key: RsaPrivateKey,
    for_development: bool,
}

impl SigningKey {
    /// Reads a private key in PEM, PKCS #8 or PKCS #1.
    ///
    /// # Errors
    ///
    /// [`SignError`] when there is none, or one that OP-TEE refuses.
    pub fn read(path: &Path) -> Result<Self, SignError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SignError::Read { path: path.to_owned(), source })?;
        let key = RsaPrivateKey::from_pkcs8_pem(&text)
            .ok()
            .or_else(|| RsaPrivateKey::from_pkcs1_pem(&text).ok())
            .ok_or_else(|| SignError::NotAKey(path.to_owned()))?;
        let named = path.file_name().and_then(|name| name.to_str());
        let mut key = Self::new(key)?;
        key.for_development |= named.is_some_and(|name| DEVELOPMENT_NAMES.contains(&name));
        Ok(key)
    }

    /// Takes a key.
    ///
    /// # Errors
    ///
    /// [`SignError::TooShort`].
    pub fn new(key: RsaPrivateKey) -> Result<Self, SignError> {
        let bits = key.n().bits();
        if bits < KEY_BITS_MIN {
            return Err(SignError::TooShort(bits));
        }
        let modulus: [u8; 32] = Sha256::digest(key.n().to_bytes_be()).into();
        let for_development = DEVELOPMENT_KEYS.contains(&modulus);
        Ok(Self { key, for_development })
    }

    /// Whether anybody can sign with this key, because a dev kit of OP-TEE holds it.
    pub const fn is_for_development(&self) -> bool {
        self.for_development
    }
}

/// The bytes of the TA's file, `UUID.ta`.
///
/// # Errors
///
/// [`SignError::Failed`].
pub fn sign(packed: &Packed, key: &SigningKey) -> Result<Vec<u8>, SignError> {
    let signature_length = key.key.size();
    let mut header = Vec::new();
    for word in [MAGIC, BOOTSTRAP_TA, packed.elf.len() as u32, RSASSA_PKCS1_V1_5_SHA256] {
        header.extend(word.to_le_bytes());
    }
    header.extend((32_u16).to_le_bytes());
    header.extend((signature_length as u16).to_le_bytes());
    let mut name = packed.uuid.0.to_vec();
    name.extend(packed.ta_version.to_le_bytes());
    let mut hash = Sha256::new();
    for part in [&header, &name, &packed.elf] {
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let scheme = Pkcs1v15Sign::new::<Sha256>();
    let signature = key.key.sign(scheme, &hash).map_err(SignError::Failed)?;
    Ok([&header[..], &hash, &signature, &name, &packed.elf].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_optee_package::Uuid;

    fn key() -> RsaPrivateKey {
        RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap()
    }

    fn packed() -> Packed {
        let elf = b"not really an ELF file".to_vec();
        Packed { elf, uuid: Uuid([7; 16]), ta_version: 5, digest: [0; 32], replaced: Vec::new() }
    }

    #[test]
    fn the_hash_covers_all_but_itself_and_its_signature_verifies() {
        let key = key();
        let signed = sign(&packed(), &SigningKey::new(key.clone()).unwrap()).unwrap();
        assert_eq!(&signed[..4], b"HSTO");
        assert_eq!(signed.len(), 72 + 256 + packed().elf.len());
        let mut hash = Sha256::new();
        hash.update(&signed[..20]);
        hash.update(&signed[52 + 256..]);
        let hash: [u8; 32] = hash.finalize().into();
        assert_eq!(signed[20..52], hash);
        let scheme = Pkcs1v15Sign::new::<Sha256>();
        key.to_public_key().verify(scheme, &hash, &signed[52..52 + 256]).unwrap();
        assert_eq!(signed[52 + 256..52 + 256 + 20], [&[7; 16][..], &[5, 0, 0, 0]].concat());
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let key = SigningKey::new(key()).unwrap();
        assert_eq!(sign(&packed(), &key).unwrap(), sign(&packed(), &key).unwrap());
    }

    #[test]
    fn keys_that_op_tee_refuses_are_refused() {
        let short = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
        assert!(matches!(SigningKey::new(short), Err(SignError::TooShort(1024))));
        assert!(matches!(SigningKey::read("/nonexistent".as_ref()), Err(SignError::Read { .. })));
        assert!(matches!(SigningKey::read("/dev/null".as_ref()), Err(SignError::NotAKey(_))));
        assert!(!SigningKey::new(key()).unwrap().is_for_development());
    }
}
