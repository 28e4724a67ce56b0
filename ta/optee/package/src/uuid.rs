// SPDX-License-Identifier: MIT
//! Names of trusted applications.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Says which derivation a UUID comes from.
const DOMAIN: &[u8] = b"strongroom-optee-uuid-v1";

/// A UUID in the byte order of RFC 9562, section 4: as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The UUID of the TA that runs this boot record: version 8 (RFC 9562, section 5.8), from a
    /// SHA-256 over a domain label and the record. Who packs the same workload gets the same name.
    pub fn of_record(record: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(record);
        let digest: [u8; 32] = hash.finalize().into();
        let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
        let mut bytes = first;
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
        *version = *version & 0x0f | 0x80;
        *variant = *variant & 0x3f | 0x80;
        Self(bytes)
    }

    /// Time-low, time-mid, time-high and the last eight bytes, as `TEE_UUID` has them
    /// (GlobalPlatform TEE Internal Core API 1.3, 3.2.4).
    pub const fn fields(&self) -> (u32, u16, u16, [u8; 8]) {
        let [a, b, c, d, e, f, g, h, last @ ..] = self.0;
        let low = u32::from_be_bytes([a, b, c, d]);
        (low, u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h]), last)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Text that is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAUuid;

impl FromStr for Uuid {
    type Err = NotAUuid;

    fn from_str(text: &str) -> Result<Self, NotAUuid> {
        let mut bytes = [0; 16];
        let mut digits = text.bytes().enumerate();
        for byte in &mut bytes {
            for _ in 0..2 {
                let (mut at, mut digit) = digits.next().ok_or(NotAUuid)?;
                if matches!(at, 8 | 13 | 18 | 23) {
                    if digit != b'-' {
                        return Err(NotAUuid);
                    }
                    (at, digit) = digits.next().ok_or(NotAUuid)?;
                }
                debug_assert!(at < 36);
                let value = char::from(digit).to_digit(16).ok_or(NotAUuid)?;
                *byte = *byte << 4 | u8::try_from(value).map_err(|_| NotAUuid)?;
            }
        }
        if digits.next().is_none() { Ok(Self(bytes)) } else { Err(NotAUuid) }
    }
}

impl fmt::Display for NotAUuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a UUID is written 01234567-89ab-cdef-0123-456789abcdef")
    }
}

impl core::error::Error for NotAUuid {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn text_and_bytes_agree() {
        let text = "b9e1d9a6-5a3c-4d4e-9c62-0a1b2c3d4e01";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        let last = [0x9c, 0x62, 0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x01];
        assert_eq!(uuid.fields(), (0xb9e1_d9a6, 0x5a3c, 0x4d4e, last));
        for bad in [
            "",
            "b9e1d9a6",
            "b9e1d9a6-5a3c-4d4e-9c62-0a1b2c3d4e0",
            "b9e1d9a65a3c4d4e9c620a1b2c3d4e01",
        ] {
            assert_eq!(bad.parse::<Uuid>(), Err(NotAUuid), "{bad}");
        }
        assert_eq!("b9e1d9a6-5a3c-4d4e-9c62-0a1b2c3d4e0g".parse::<Uuid>(), Err(NotAUuid));
        assert_eq!((text.to_string() + "0").parse::<Uuid>(), Err(NotAUuid));
    }

    /// Stored objects belong to a UUID: this may gain cases, never change one.
    #[test]
    fn derived_names_are_of_version_8_and_stay() {
        let uuid = Uuid::of_record(b"record");
        assert_eq!(uuid.0[6] >> 4, 8);
        assert_eq!(uuid.0[8] >> 6, 2);
        assert_ne!(uuid, Uuid::of_record(b"another"));
        assert_eq!(uuid.to_string(), "e2812cc9-bbfa-8e7f-82f6-554d1f23fbd0");
    }
}
