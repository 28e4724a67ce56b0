// SPDX-License-Identifier: MIT
//! Keys that encrypt, and that others are derived from.

use alloc::vec::Vec;
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;
use strongroom_service::Platform;
use zeroize::Zeroizing;

use crate::{Algorithm, KeyError, SECRET_LEN, SigningKey};

/// Bytes of a nonce: random ones never meet.
const NONCE_LEN: usize = 24;
/// What keys are derived for. No label of an author's leads from one to another.
const ENCRYPTING: &[u8] = b"strongroom key 1: encrypting\0";
const DERIVED: &[u8] = b"strongroom key 1: derived\0";
const SIGNING: &[u8] = b"strongroom key 1: signing\0";

/// A secret of 32 bytes.
pub struct SecretKey {
    secret: Zeroizing<[u8; SECRET_LEN]>,
    platform: Platform,
}

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("SecretKey")
    }
}

impl SecretKey {
    pub(crate) const fn of(secret: Zeroizing<[u8; SECRET_LEN]>, platform: Platform) -> Self {
        Self { secret, platform }
    }

    /// Encrypts and authenticates: a random nonce of 24 bytes, then XChaCha20-Poly1305's ciphertext with
    /// 16 bytes more than `plain`. What is in `context` has to be said again to decrypt it.
    ///
    /// # Errors
    ///
    /// [`KeyError::TooLarge`], from 256 GiB on.
    pub fn encrypt(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let nonce: [u8; NONCE_LEN] = self.platform.random();
        let payload = Payload { msg: plain, aad: context };
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|_| KeyError::TooLarge)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was encrypted with this key and the same context.
    ///
    /// # Errors
    ///
    /// [`KeyError::Refused`].
    pub fn decrypt(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(KeyError::Refused)?;
        let payload = Payload { msg: sealed, aad: context };
        let opened = self.cipher().decrypt(XNonce::from_slice(nonce), payload);
        opened.map_err(|_| KeyError::Refused)
    }

    /// Another secret key, the same for the same label.
    pub fn derive(&self, label: impl AsRef<[u8]>) -> Self {
        Self::of(expand(&self.secret, DERIVED, label.as_ref()), self.platform.clone())
    }

    /// A signing key, the same for the same label.
    pub fn derive_signing(&self, label: impl AsRef<[u8]>, algorithm: Algorithm) -> SigningKey {
        let secret = expand(&self.secret, SIGNING, label.as_ref());
        SigningKey::of_secret(&secret, algorithm)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        let key = expand(&self.secret, ENCRYPTING, &[]);
        XChaCha20Poly1305::new((&*key).into())
    }
}

/// HKDF-SHA-256 without salt, for secrets that are random as they are (RFC 5869, 3.1 and 3.3).
pub(crate) fn expand(
    secret: &[u8; SECRET_LEN],
    purpose: &[u8],
    label: &[u8],
) -> Zeroizing<[u8; SECRET_LEN]> {
    let mut key = Zeroizing::new([0; SECRET_LEN]);
    // 32 bytes are far less than the 8160 that there are.
    let _ = Hkdf::<Sha256>::new(None, secret).expand_multi_info(&[purpose, label], &mut *key);
    key
}
