// SPDX-License-Identifier: MIT
//! Where all keys of a service come from: the chip, with the guest's measurement, or with a secret of its
//! owner's that outlives it.
//!
//! Besides the measurement a security processor mixes in nothing that a host cannot have in a guest of its
//! own: it signs identity blocks with any key. So what is to be read by another version depends on
//! a secret that the owner gives to the versions that its policy names.

use hmac::{Hmac, Mac as _};
use sev::firmware::guest::{DerivedKey, Firmware, GuestFieldSelect};
use sha2::Sha256;
use std::sync::OnceLock;
use std::{fs, io};
use strongroom_service::platform::StorageError;
use zeroize::Zeroizing;

/// The owner's secret, where the manifest asks for one of this name: then keys outlive the measurement.
pub const SEALING_SECRET: &str = "/run/secrets/sealing.key";
/// Fewest bytes of it: the chip's part of the key is no secret to who launches a guest on that chip.
pub const SEALING_SECRET_MIN: usize = 32;

/// The privilege level of programs' keys.
const LEVEL: u32 = 1;
/// `GUEST_FIELD_SELECT` (AMD 56860, `MSG_KEY_REQ`).
const POLICY: u64 = 1;
const MEASUREMENT: u64 = 1 << 3;
/// Sets the owner's part apart from all else that the secret may be for.
const OWNER_LABEL: &[u8] = b"strongroom sealing key 1\0";

type Key = Zeroizing<[u8; 32]>;

/// A key of this service on this chip, for this purpose and label.
pub(crate) fn derived(
    purpose: &[u8],
    label: &[u8],
    key: &mut [u8; 32],
) -> Result<(), StorageError> {
    *key = *mixed(root()?, &[purpose, label])?;
    Ok(())
}

/// What all keys come from. The security processor is asked once: it gives the same again.
fn root() -> Result<&'static [u8; 32], StorageError> {
    static ROOT: OnceLock<Key> = OnceLock::new();
    if let Some(root) = ROOT.get() {
        return Ok(root);
    }
    let root = match fs::read(SEALING_SECRET) {
        Ok(secret) => {
            let (secret, chip) = (Zeroizing::new(secret), of_chip(POLICY)?);
            of_owner(&secret, &chip)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => of_chip(POLICY | MEASUREMENT)?,
        Err(_) => return Err(StorageError::Unavailable),
    };
    Ok(ROOT.get_or_init(|| root))
}

fn of_chip(fields: u64) -> Result<Key, StorageError> {
    let request = DerivedKey::new(false, GuestFieldSelect(fields), LEVEL, 0, 0, None);
    let key =
        Firmware::open().ok().and_then(|mut chip| chip.get_derived_key(Some(1), request).ok());
    key.map(Zeroizing::new).ok_or(StorageError::Unavailable)
}

/// Neither the owner elsewhere nor anybody else on this chip has it.
fn of_owner(secret: &[u8], chip: &[u8; 32]) -> Result<Key, StorageError> {
    if secret.len() < SEALING_SECRET_MIN {
        return Err(StorageError::Unavailable);
    }
    mixed(secret, &[OWNER_LABEL, chip])
}

fn mixed(key: &[u8], parts: &[&[u8]]) -> Result<Key, StorageError> {
    let mac = Hmac::<Sha256>::new_from_slice(key);
    let mut mac = mac.map_err(|_| StorageError::Unavailable)?;
    parts.iter().for_each(|part| mac.update(part));
    Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_owner_takes_both_the_secret_and_the_chip() {
        let key = of_owner(&[1; 32], &[2; 32]).unwrap();
        assert_eq!(of_owner(&[1; 32], &[2; 32]), Ok(key.clone()));
        assert_ne!(of_owner(&[1; 33], &[2; 32]).unwrap(), key);
        assert_ne!(of_owner(&[1; 32], &[3; 32]).unwrap(), key);
        assert_eq!(of_owner(&[1; 31], &[2; 32]), Err(StorageError::Unavailable));
        assert_eq!(of_owner(&[], &[2; 32]), Err(StorageError::Unavailable));
    }
}
