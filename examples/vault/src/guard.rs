// SPDX-License-Identifier: MIT
//! The PIN, its tries, and the code for when there are none left.
//!
//! What the guard keeps is one value. The key of the passwords depends on a name in it, so that a host
//! that deletes the value gets an empty vault, and not the passwords behind a PIN of its own.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use strongroom::{
    Platform,
    platform::StorageError,
    wire::{Decoder, Encoder},
};
use strongroom_keys::SecretKey;

use crate::{PIN_MAX, PIN_MIN, TRIES, VaultError};

const KEPT: &str = "guard";
/// Bytes of it, at most.
const KEPT_MAX: usize = 192;
const PIN: &[u8] = b"PIN ";
const CODE: &[u8] = b"code ";

#[derive(Serialize, Deserialize)]
struct Kept {
    name: [u8; 32],
    /// Nothing, encrypted with what the PIN leads to; and with what the code leads to.
    pin: Vec<u8>,
    code: Vec<u8>,
    tries: u8,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Guard {
    platform: Platform,
    master: SecretKey,
}

impl Guard {
    pub(crate) const fn new(platform: Platform, master: SecretKey) -> Self {
        Self { platform, master }
    }

    /// The key of an empty vault's passwords, and its code.
    pub(crate) fn set_up(&self, pin: &str) -> Result<(SecretKey, [u8; 16]), VaultError> {
        self.platform.exclusively(|| {
            match self.kept() {
                Ok(_) => return Err(VaultError::Exists),
                Err(VaultError::New) => {}
                Err(error) => return Err(error),
            }
            let code = self.platform.random();
            let kept = Kept {
                name: self.platform.random(),
                pin: self.proof(PIN, check_length(pin)?)?,
                code: self.proof(CODE, &code)?,
                tries: TRIES,
            };
            self.keep(&kept)?;
            Ok((self.key(&kept), code))
        })
    }

    /// The key of the passwords, if this is the PIN. The try is written down before the PIN is compared:
    /// taking the power away gives no try back.
    pub(crate) fn unlock(&self, pin: &str) -> Result<SecretKey, VaultError> {
        self.platform.exclusively(|| {
            let pin = check_length(pin)?;
            let mut kept = self.kept()?;
            kept.tries = kept.tries.checked_sub(1).ok_or(VaultError::Locked)?;
            self.keep(&kept)?;
            if !self.proves(PIN, pin, &kept.pin) {
                return Err(VaultError::WrongPin(kept.tries));
            }
            kept.tries = TRIES;
            self.keep(&kept)?;
            Ok(self.key(&kept))
        })
    }

    /// As [`Self::unlock`], with another PIN from now on. Nobody guesses the code: its tries are not
    /// counted.
    pub(crate) fn recover(&self, code: &[u8; 16], pin: &str) -> Result<SecretKey, VaultError> {
        self.platform.exclusively(|| {
            let pin = check_length(pin)?;
            let mut kept = self.kept()?;
            if !self.proves(CODE, code, &kept.code) {
                return Err(VaultError::WrongCode);
            }
            kept.pin = self.proof(PIN, pin)?;
            kept.tries = TRIES;
            self.keep(&kept)?;
            Ok(self.key(&kept))
        })
    }

    pub(crate) fn tries(&self) -> Result<u8, VaultError> {
        Ok(self.kept()?.tries)
    }

    fn key(&self, kept: &Kept) -> SecretKey {
        self.master.derive([b"passwords ".as_slice(), &kept.name].concat())
    }

    fn proof(&self, of: &[u8], secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(self.master.derive([of, secret].concat()).encrypt(of, &[])?)
    }

    fn proves(&self, of: &[u8], secret: &[u8], proof: &[u8]) -> bool {
        self.master.derive([of, secret].concat()).decrypt(of, proof).is_ok()
    }

    fn kept(&self) -> Result<Kept, VaultError> {
        match self.platform.sealed().get(KEPT) {
            Ok(bytes) => Decoder::new(&bytes).take().map_err(|_| StorageError::Damaged.into()),
            Err(StorageError::Absent) => Err(VaultError::New),
            Err(error) => Err(error.into()),
        }
    }

    fn keep(&self, kept: &Kept) -> Result<(), VaultError> {
        let mut room = [0; KEPT_MAX];
        let mut encoder = Encoder::new(&mut room);
        encoder.put(kept).map_err(|_| StorageError::TooLarge)?;
        let used = encoder.used();
        Ok(self.platform.sealed().put(KEPT, room.get(..used).unwrap_or_default())?)
    }
}

fn check_length(pin: &str) -> Result<&[u8], VaultError> {
    let fits = (PIN_MIN..=PIN_MAX).contains(&pin.len());
    if fits { Ok(pin.as_bytes()) } else { Err(VaultError::PinLength) }
}
