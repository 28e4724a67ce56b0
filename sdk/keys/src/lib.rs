// SPDX-License-Identifier: MIT
//! Keys of services, the same on every machine: made inside, kept in sealed storage, and never given
//! out. Nothing here returns the secret half of a key, and dropping one overwrites it.
//!
//! ```
//! use strongroom_keys::{Algorithm, Keys};
//! # let machine = strongroom_testing::Fake::new();
//! # let platform = machine.platform();
//! // `platform` is what `Service::open` gets.
//! let keys = Keys::of(&platform);
//! let key = keys.signing("receipts", Algorithm::P256)?;
//! let signature = key.sign(b"one coffee");
//! assert!(key.public().verify(b"one coffee", &signature));
//!
//! let master = keys.secret("master")?;
//! let sealed = master.derive("backups").encrypt(b"for monday", b"hush")?;
//! assert_eq!(master.derive("backups").decrypt(b"for monday", &sealed)?, b"hush");
//! # Ok::<(), strongroom_keys::KeyError>(())
//! ```
//!
//! What a host can do that keeps the storage: delete a key, and put back one that was deleted or made
//! before another of the same name.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod secret;
mod signing;

pub use secret::SecretKey;
pub use signing::{Algorithm, PublicKey, Signature, SigningKey};

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};
use strongroom_service::{
    Platform,
    platform::{NAME_MAX, StorageError},
};
use zeroize::Zeroizing;

/// Bytes of a secret.
pub(crate) const SECRET_LEN: usize = 32;
/// What names in sealed storage begin with.
const PREFIX: &str = "key/";
/// Most bytes of a key's name.
pub const KEY_NAME_MAX: usize = NAME_MAX - PREFIX.len();
/// What a secret key is, where signing keys have their algorithm.
const SECRET: u8 = 0;

/// Why there is no key, or nothing came of using it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyError {
    /// Sealed storage says so.
    Storage(StorageError),
    /// The key of this name is one for something else.
    Kind,
    /// It was not encrypted with this key for this purpose, or was changed.
    Refused,
    /// More than can be encrypted at once.
    TooLarge,
}

impl core::fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(formatter),
            Self::Kind => formatter.write_str("the key of this name is one for something else"),
            Self::Refused => formatter.write_str("it was not encrypted with this key, or changed"),
            Self::TooLarge => formatter.write_str("it is too large to be encrypted at once"),
        }
    }
}

impl core::error::Error for KeyError {}

impl From<StorageError> for KeyError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// The keys of a service.
#[derive(Clone, Debug)]
pub struct Keys {
    platform: Platform,
}

impl Keys {
    /// The keys of the service that has this platform.
    pub fn of(platform: &Platform) -> Self {
        Self { platform: platform.clone() }
    }

    /// The signing key of this name: made by the first who asks. One that is damaged is not replaced. Not
    /// to be called within [`Platform::exclusively`], which it uses.
    ///
    /// # Errors
    ///
    /// [`KeyError::Kind`] when it is of another algorithm, [`StorageError::TooLarge`] for a name of
    /// over [`KEY_NAME_MAX`] bytes, and what sealed storage says.
    pub fn signing(&self, name: &str, algorithm: Algorithm) -> Result<SigningKey, KeyError> {
        let secret = self.kept(name, algorithm.number())?;
        Ok(SigningKey::of_secret(&secret, algorithm))
    }

    /// The secret key of this name, to encrypt with and to derive others from; as [`Self::signing`].
    ///
    /// # Errors
    ///
    /// As for [`Self::signing`].
    pub fn secret(&self, name: &str) -> Result<SecretKey, KeyError> {
        Ok(SecretKey::of(self.kept(name, SECRET)?, self.platform.clone()))
    }

    /// A secret key of this service on this machine, that is kept nowhere: the same for the same label,
    /// for as long as the machine's own key is (see [`Platform::derive`]).
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`] where the machine has no such key.
    pub fn of_machine(&self, label: impl AsRef<[u8]>) -> Result<SecretKey, KeyError> {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        self.platform.derive(&[b"key\0", label.as_ref()].concat(), &mut secret)?;
        Ok(SecretKey::of(secret, self.platform.clone()))
    }

    /// A signing key that ends with the instance.
    pub fn temporary(&self, algorithm: Algorithm) -> SigningKey {
        SigningKey::of_secret(&self.random(), algorithm)
    }

    /// Names of the keys that are kept, in order.
    ///
    /// # Errors
    ///
    /// What sealed storage says.
    pub fn names(&self) -> Result<Vec<String>, KeyError> {
        let names = self.platform.sealed().list()?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(PREFIX)).map(String::from).collect())
    }

    /// Forgets a key for good, as far as the host does: it can put it back.
    ///
    /// # Errors
    ///
    /// [`StorageError::Absent`], and what sealed storage says.
    pub fn delete(&self, name: &str) -> Result<(), KeyError> {
        Ok(self.platform.sealed().delete(&stored_as(name)?)?)
    }

    fn random(&self) -> Zeroizing<[u8; SECRET_LEN]> {
        Zeroizing::new(self.platform.random())
    }

    /// What is kept under a name, after what it is for.
    fn kept(&self, name: &str, kind: u8) -> Result<Zeroizing<[u8; SECRET_LEN]>, KeyError> {
        // Two sessions that find none do not make two.
        self.platform.exclusively(|| self.kept_alone(name, kind))
    }

    fn kept_alone(&self, name: &str, kind: u8) -> Result<Zeroizing<[u8; SECRET_LEN]>, KeyError> {
        let (sealed, name) = (self.platform.sealed(), stored_as(name)?);
        match sealed.get(&name) {
            Ok(kept) => {
                let kept = Zeroizing::new(kept);
                let damaged = KeyError::Storage(StorageError::Damaged);
                let (found, secret) = kept.split_first().ok_or(damaged)?;
                let secret = secret.try_into().map_err(|_| damaged)?;
                if *found == kind { Ok(Zeroizing::new(secret)) } else { Err(KeyError::Kind) }
            }
            Err(StorageError::Absent) => {
                let secret = self.random();
                let kept = Zeroizing::new([&[kind], secret.as_slice()].concat());
                sealed.put(&name, &kept)?;
                Ok(secret)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn stored_as(name: &str) -> Result<String, StorageError> {
    if name.is_empty() || name.len() > KEY_NAME_MAX {
        return Err(StorageError::TooLarge);
    }
    Ok([PREFIX, name].concat())
}
