// SPDX-License-Identifier: MIT
//! The keys of a trusted application and its device, recorded once, at a time when whoever recorded
//! them knew what device it was.
//!
//! Neither key has a chain of certificates: an enrolment is all that vouches for them.

use crate::Hex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version of enrolments that this crate reads and writes.
pub const ENROLMENT_VERSION: u32 = 1;
/// Lengths of an RSA modulus in bytes: OP-TEE makes keys of up to 4096 bits, and less than 2048 are
/// not accepted.
const MODULUS_LEN: std::ops::RangeInclusive<usize> = 256..=512;
/// Most bytes of an RSA exponent.
const EXPONENT_LEN_MAX: usize = 8;

/// An application on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    version: u32,
    /// What kind of device it is.
    pub platform: Platform,
    /// UUID of the application.
    pub ta_uuid: Uuid,
    /// The application's key, Ed25519.
    pub identity_key: Hex<32>,
    /// The key of the device's attestation PTA, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation_key: Option<AttestationKey>,
}

/// What kind of device an application was enrolled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// One with a hardware key of its own, as whoever enrolled it says.
    Device,
    /// QEMU, whose hardware key everybody knows: evidence of it proves nothing.
    Simulated,
}

/// An RSA key, big-endian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationKey {
    /// The modulus, 256 to 512 bytes.
    #[serde(with = "hex::serde")]
    pub modulus: Vec<u8>,
    /// The public exponent.
    #[serde(with = "hex::serde")]
    pub exponent: Vec<u8>,
}

/// A text that is no enrolment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadEnrolment(String);

impl Enrolment {
    /// Of an application with this key, on a device with a key for its attestation PTA if it has that.
    ///
    /// # Errors
    /// [`BadEnrolment`] for an RSA key of an impossible length.
    pub fn new(
        platform: Platform,
        ta_uuid: Uuid,
        identity_key: [u8; 32],
        attestation_key: Option<AttestationKey>,
    ) -> Result<Self, BadEnrolment> {
        let identity_key = Hex(identity_key);
        let version = ENROLMENT_VERSION;
        Self { version, platform, ta_uuid, identity_key, attestation_key }.checked()
    }

    /// Reads an enrolment from TOML.
    ///
    /// # Errors
    /// [`BadEnrolment`] says what is missing, unknown or no value of its kind.
    pub fn from_toml(text: &str) -> Result<Self, BadEnrolment> {
        let read = toml::from_str::<Self>(text);
        read.map_err(|error| BadEnrolment(error.message().to_owned()))?.checked()
    }

    /// As TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Strings, a number and a table cannot fail to be written.
        toml::to_string(self).unwrap_or_default()
    }

    fn checked(self) -> Result<Self, BadEnrolment> {
        if self.version != ENROLMENT_VERSION {
            let text = format!("version {}; {ENROLMENT_VERSION} is known", self.version);
            return Err(BadEnrolment(text));
        }
        let Some(key) = &self.attestation_key else { return Ok(self) };
        if !MODULUS_LEN.contains(&key.modulus.len()) {
            let text = format!("an attestation key of {} bytes", key.modulus.len());
            return Err(BadEnrolment(text));
        }
        if !(1..=EXPONENT_LEN_MAX).contains(&key.exponent.len()) {
            return Err(BadEnrolment("an attestation key without a usable exponent".to_owned()));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrolment() -> Enrolment {
        let key = AttestationKey { modulus: vec![0xc5; 384], exponent: vec![1, 0, 1] };
        Enrolment::new(Platform::Device, Uuid::from_bytes([1; 16]), [2; 32], Some(key)).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let text = enrolment().to_toml();
        assert_eq!(Enrolment::from_toml(&text), Ok(enrolment()), "{text}");
        let without = Enrolment { attestation_key: None, ..enrolment() };
        assert_eq!(Enrolment::from_toml(&without.to_toml()), Ok(without));
    }

    #[test]
    fn what_is_none_is_refused() {
        let good = enrolment().to_toml();
        let (whole, short) = ("c5".repeat(384), "c5".repeat(255));
        let cases = [
            ("version = 1", "version = 2", "version 2; 1 is known"),
            ("version = 1\n", "", "missing field `version`"),
            ("platform = \"device\"\n", "", "missing field `platform`"),
            ("\"device\"", "\"hardware\"", "unknown variant `hardware`"),
            ("version = 1", "version = 1\nmore = 1", "unknown field `more`"),
            (&whole, &short, "an attestation key of 255 bytes"),
            ("\"010001\"", "\"\"", "without a usable exponent"),
            ("0202", "02", "64 hexadecimal digits"),
        ];
        for (from, to, message) in cases {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let error = Enrolment::from_toml(&text).expect_err(from).to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
