// SPDX-License-Identifier: MIT
//! Keeps passwords behind a PIN. After [`TRIES`] wrong ones it is locked, and only the code that its owner
//! got when it was set up opens it again.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod guard;

use alloc::{collections::BTreeMap, string::String, vec, vec::Vec};
use serde::{Deserialize, Serialize};
use strongroom::{
    Caller, OpenError, Platform, Service,
    platform::StorageError,
    wire::{Decoder, Encoder},
};
use strongroom_keys::{KeyError, Keys, SecretKey};
use zeroize::{Zeroize as _, Zeroizing};

use guard::Guard;

/// The trusted application's name.
pub const UUID: &str = "d2a94c17-6e05-4b38-a1f7-9c3e58b0d764";
/// Fewest and most bytes of a PIN.
pub const PIN_MIN: usize = 4;
/// See [`PIN_MIN`].
pub const PIN_MAX: usize = 32;
/// Wrong PINs in a row that lock the vault.
pub const TRIES: u8 = 5;
/// Most bytes of a name.
pub const NAME_MAX: usize = 64;
/// Most bytes of a password.
pub const PASSWORD_MAX: usize = 256;
/// Most passwords.
pub const ENTRIES_MAX: usize = 128;

const MASTER: &str = "master";
const ENTRIES: &str = "entries";
/// Bytes of all entries, at most, with their lengths.
const ENTRIES_ROOM: usize = ENTRIES_MAX * (NAME_MAX + PASSWORD_MAX + 4) + 2;

/// Why the vault does not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VaultError {
    /// There is no vault yet: set one up.
    New,
    /// There is one already.
    Exists,
    /// No PIN has so many bytes.
    PinLength,
    /// It is another one; so many tries are left.
    WrongPin(u8),
    /// Too many were wrong: recover it.
    Locked,
    /// It is another one.
    WrongCode,
    /// This session has not said the PIN.
    NotUnlocked,
    /// There is no such password.
    Absent,
    /// Name, password or their number is too large.
    TooLarge,
    /// Sealed storage or a key in it.
    Key(KeyError),
}

impl core::fmt::Display for VaultError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::New => "there is no vault yet: set one up",
            Self::Exists => "there is a vault already",
            Self::PinLength => "a PIN has 4 to 32 bytes",
            Self::WrongPin(left) => {
                return write!(formatter, "wrong PIN: {left} tries are left");
            }
            Self::Locked => "too many wrong PINs: recover it with its code",
            Self::WrongCode => "it is another code",
            Self::NotUnlocked => "say the PIN first",
            Self::Absent => "there is no such password",
            Self::TooLarge => "name, password or their number is too large",
            Self::Key(error) => return error.fmt(formatter),
        })
    }
}

impl From<StorageError> for VaultError {
    fn from(error: StorageError) -> Self {
        Self::Key(error.into())
    }
}

impl From<KeyError> for VaultError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

/// Keeps passwords.
#[strongroom::service]
pub trait Vault {
    /// Makes an empty vault behind this PIN: the code that opens it when it is locked. The session is
    /// unlocked.
    fn set_up(&mut self, pin: &str) -> Result<[u8; 16], VaultError>;
    /// Unlocks this session.
    fn unlock(&mut self, pin: &str) -> Result<(), VaultError>;
    /// Gives the vault another PIN and all its tries; the session is unlocked. The code stays.
    fn recover(&mut self, code: [u8; 16], pin: &str) -> Result<(), VaultError>;
    /// How many PINs can be tried; 0 when it is locked.
    fn tries(&self) -> Result<u8, VaultError>;
    /// Keeps a password, in place of an old one.
    fn put(&mut self, name: &str, password: &str) -> Result<(), VaultError>;
    /// A password.
    fn get(&self, name: &str) -> Result<String, VaultError>;
    /// Forgets a password.
    fn delete(&mut self, name: &str) -> Result<(), VaultError>;
    /// The names of all, in order.
    #[limit(answer = 16384)]
    fn names(&self) -> Result<Vec<String>, VaultError>;
}

type Entries = BTreeMap<String, String>;

/// The service.
#[derive(Debug)]
pub struct MyVault {
    platform: Platform,
    guard: Guard,
    /// What the entries are encrypted with, once this session has said the PIN.
    unlocked: Option<SecretKey>,
}

impl Service for MyVault {
    fn open(platform: &Platform, _caller: &Caller) -> Result<Self, OpenError> {
        let master = Keys::of(platform).secret(MASTER).map_err(|_| OpenError::Storage)?;
        let guard = Guard::new(platform.clone(), master);
        Ok(Self { platform: platform.clone(), guard, unlocked: None })
    }
}

impl MyVault {
    fn entries(&self) -> Result<Entries, VaultError> {
        let key = self.unlocked.as_ref().ok_or(VaultError::NotUnlocked)?;
        let sealed = match self.platform.sealed().get(ENTRIES) {
            Ok(sealed) => sealed,
            Err(StorageError::Absent) => return Ok(Entries::new()),
            Err(error) => return Err(error.into()),
        };
        let plain = Zeroizing::new(key.decrypt(ENTRIES.as_bytes(), &sealed)?);
        Decoder::new(&plain).take().map_err(|_| StorageError::Damaged.into())
    }

    /// Changes the entries, while nobody else does.
    fn change(
        &self,
        change: impl FnOnce(&mut Entries) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        self.platform.exclusively(|| {
            let mut entries = self.entries()?;
            let changed = change(&mut entries).and_then(|()| self.keep(&entries));
            entries.values_mut().for_each(|password| password.zeroize());
            changed
        })
    }

    fn keep(&self, entries: &Entries) -> Result<(), VaultError> {
        let key = self.unlocked.as_ref().ok_or(VaultError::NotUnlocked)?;
        let mut plain = Zeroizing::new(vec![0; ENTRIES_ROOM]);
        let mut encoder = Encoder::new(&mut plain);
        encoder.put(entries).map_err(|_| VaultError::TooLarge)?;
        let used = encoder.used();
        let sealed = key.encrypt(ENTRIES.as_bytes(), plain.get(..used).unwrap_or_default())?;
        Ok(self.platform.sealed().put(ENTRIES, &sealed)?)
    }
}

impl Vault for MyVault {
    fn set_up(&mut self, pin: &str) -> Result<[u8; 16], VaultError> {
        let (key, code) = self.guard.set_up(pin)?;
        self.unlocked = Some(key);
        Ok(code)
    }

    fn unlock(&mut self, pin: &str) -> Result<(), VaultError> {
        self.unlocked = None;
        self.unlocked = Some(self.guard.unlock(pin)?);
        Ok(())
    }

    fn recover(&mut self, code: [u8; 16], pin: &str) -> Result<(), VaultError> {
        self.unlocked = Some(self.guard.recover(&code, pin)?);
        Ok(())
    }

    fn tries(&self) -> Result<u8, VaultError> {
        self.guard.tries()
    }

    fn put(&mut self, name: &str, password: &str) -> Result<(), VaultError> {
        if name.is_empty() || name.len() > NAME_MAX || password.len() > PASSWORD_MAX {
            return Err(VaultError::TooLarge);
        }
        self.change(|entries| {
            entries.insert(name.into(), password.into());
            if entries.len() > ENTRIES_MAX { Err(VaultError::TooLarge) } else { Ok(()) }
        })
    }

    fn get(&self, name: &str) -> Result<String, VaultError> {
        self.entries()?.remove(name).ok_or(VaultError::Absent)
    }

    fn delete(&mut self, name: &str) -> Result<(), VaultError> {
        self.change(|entries| {
            let mut password = entries.remove(name).ok_or(VaultError::Absent)?;
            password.zeroize();
            Ok(())
        })
    }

    fn names(&self) -> Result<Vec<String>, VaultError> {
        Ok(self.entries()?.into_keys().collect())
    }
}
