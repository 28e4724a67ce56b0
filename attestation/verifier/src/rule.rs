// SPDX-License-Identifier: MIT
//! The values of policies: what a check asks for, or that it is dropped.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use strongroom_evidence::FirmwareVersion;

/// One check of a policy. There is no third state: a key that is missing is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule<T> {
    /// `"skip"`: the check is dropped, and the claims say so.
    Skip,
    /// The check is made.
    Require(T),
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Rule<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        if value.as_str() == Some("skip") {
            return Ok(Self::Skip);
        }
        // The message of `toml` alone: where it is, the outer parser says.
        T::deserialize(value).map(Self::Require).map_err(|error| D::Error::custom(error.message()))
    }
}

/// What a value has to hold to.
pub(crate) trait Demand: fmt::Display {
    /// The kind of value it is compared with.
    type Value;

    /// Whether `value` is good enough.
    fn accepts(&self, value: &Self::Value) -> bool;
}

impl Demand for bool {
    type Value = Self;

    fn accepts(&self, value: &Self) -> bool {
        self == value
    }
}

/// Some values, of which one has to be found. Never empty: nothing would be good enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OneOf<T>(Vec<T>);

impl<T> OneOf<T> {
    /// The values.
    pub(crate) fn values(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = Vec::deserialize(deserializer)?;
        if values.is_empty() {
            return Err(D::Error::custom(
                "an empty list accepts nothing; to drop the check write \"skip\"",
            ));
        }
        Ok(Self(values))
    }
}

impl<T: PartialEq + fmt::Display> Demand for OneOf<T> {
    type Value = T;

    fn accepts(&self, value: &T) -> bool {
        self.0.contains(value)
    }
}

impl<T: fmt::Display> fmt::Display for OneOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { " or " };
            write!(f, "{before}{value}")?;
        }
        Ok(())
    }
}

/// A launch digest, and what is known of the save area that is part of it.
///
/// In text the digest alone, or a table: `{ digest = "…", sev_features = 0x9 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measurement {
    digest: Hex<48>,
    /// `SEV_FEATURES` of the save area, which a report does not name.
    sev_features: Option<u64>,
}

/// Launch digests, of which one has to be found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Measurements(OneOf<Measurement>);

impl Measurements {
    /// What the list says of the save area that is part of `digest`.
    pub(crate) fn sev_features(&self, digest: &Hex<48>) -> Option<u64> {
        self.0.values().iter().find(|known| known.digest == *digest)?.sev_features
    }
}

impl Demand for Measurements {
    type Value = Hex<48>;

    fn accepts(&self, value: &Hex<48>) -> bool {
        self.0.values().iter().any(|known| known.digest == *value)
    }
}

impl fmt::Display for Measurements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Measurement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Described {
            digest: Hex<48>,
            sev_features: u64,
        }
        let value = toml::Value::deserialize(deserializer)?;
        let read = if value.is_str() {
            Hex::deserialize(value).map(|digest| Self { digest, sev_features: None })
        } else {
            let described = Described::deserialize(value);
            described.map(|Described { digest, sev_features }| Self {
                digest,
                sev_features: Some(sev_features),
            })
        };
        read.map_err(|error| D::Error::custom(error.message()))
    }
}

/// A lower limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct AtLeast<T>(pub(crate) T);

impl<T: PartialOrd + fmt::Display> Demand for AtLeast<T> {
    type Value = T;

    fn accepts(&self, value: &T) -> bool {
        *value >= self.0
    }
}

impl<T: fmt::Display> fmt::Display for AtLeast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at least {}", self.0)
    }
}

/// An upper limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct AtMost<T>(pub(crate) T);

impl<T: PartialOrd + fmt::Display> Demand for AtMost<T> {
    type Value = T;

    fn accepts(&self, value: &T) -> bool {
        *value <= self.0
    }
}

impl<T: fmt::Display> fmt::Display for AtMost<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {}", self.0)
    }
}

/// Bits that have to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bits(pub(crate) u64);

impl Demand for Bits {
    type Value = u64;

    fn accepts(&self, value: &u64) -> bool {
        value & self.0 == self.0
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bits {:#x}", self.0)
    }
}

/// `false` and nothing else: there is no sense in asking for the contrary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match bool::deserialize(deserializer)? {
            false => Ok(Self),
            true => Err(D::Error::custom("cannot be demanded: write false or \"skip\"")),
        }
    }
}

impl Demand for Refused {
    type Value = bool;

    fn accepts(&self, value: &bool) -> bool {
        !value
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("false")
    }
}

/// Bytes, in text as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; N];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(format!("expected {} hexadecimal digits", N.saturating_mul(2))),
        }
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A chip, by the 64 bytes of its reports, or the 8 that a Turin has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChipId(pub(crate) Hex<64>);

impl fmt::Display for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for ChipId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = if text.len() == 16 { format!("{text:0<128}") } else { text };
        let chip = digits.parse().map(Self);
        chip.map_err(|_: String| D::Error::custom("expected 128 or 16 hexadecimal digits"))
    }
}

/// A version of the SNP firmware or of its interface, `1.55.29` or `1.55`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Version<const PARTS: usize>(pub [u8; PARTS]);

impl From<FirmwareVersion> for Version<3> {
    fn from(version: FirmwareVersion) -> Self {
        Self([version.major, version.minor, version.build])
    }
}

impl<const PARTS: usize> fmt::Display for Version<PARTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { "." };
            write!(f, "{before}{part}")?;
        }
        Ok(())
    }
}

impl<const PARTS: usize> Serialize for Version<PARTS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const PARTS: usize> Deserialize<'de> for Version<PARTS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts: Result<Vec<u8>, _> = text.split('.').map(u8::from_str).collect();
        let parts = parts.ok().and_then(|parts| parts.try_into().ok());
        let error = || D::Error::custom(format!("expected {PARTS} numbers with dots between"));
        parts.map(Self).ok_or_else(error)
    }
}
