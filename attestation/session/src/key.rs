// SPDX-License-Identifier: MIT
//! Keys of owners: X25519 (RFC 7748), as text.

use crate::channel::public_key;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use zeroize::Zeroizing;

/// Bytes of a key of either kind.
pub const KEY_LEN: usize = 32;
/// What the text of a public key begins with.
const PUBLIC_PREFIX: &str = "x25519:";
/// What the text of a secret key begins with.
const SECRET_PREFIX: &str = "strongroom-owner-secret-x25519:";

/// A public key. As text: `x25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; KEY_LEN]);

/// A secret key.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; KEY_LEN]>);

/// A text that is no key of the kind it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// No public key.
    Public,
    /// No secret key.
    Secret,
}

impl SecretKey {
    /// The key of 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(public_key(&self.0))
    }

    /// What is kept in a file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(hex::encode(*self.0));
        Zeroizing::new([SECRET_PREFIX, &digits, "\n"].concat())
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl FromStr for SecretKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bytes = digits(text.trim_end(), SECRET_PREFIX).ok_or(BadKey::Secret)?;
        Ok(Self::from_bytes(bytes))
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        digits(text, PUBLIC_PREFIX).map(Self).ok_or(BadKey::Public)
    }
}

fn digits(text: &str, prefix: &str) -> Option<[u8; KEY_LEN]> {
    let mut bytes = [0; KEY_LEN];
    hex::decode_to_slice(text.strip_prefix(prefix)?, &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => {
                write!(f, "no public key; allowed is {PUBLIC_PREFIX} and 64 hexadecimal digits")
            }
            Self::Secret => f.write_str("no owner key; strongroom keygen makes one"),
        }
    }
}

impl core::error::Error for BadKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString as _;

    /// RFC 7748, section 6.1: Alice's keys.
    #[test]
    fn the_public_half_is_that_of_the_standard() {
        let secret = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
        let key: SecretKey = format!("{SECRET_PREFIX}{secret}\n").parse().unwrap();
        let public = "x25519:8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
        assert_eq!(key.public().to_string(), public);
        assert_eq!(public.parse(), Ok(key.public()));
        assert_eq!(key.to_text().parse::<SecretKey>().unwrap().public(), key.public());
        assert!(!format!("{key:?}").contains("7707"));
    }

    #[test]
    fn other_texts_are_no_keys() {
        let good = PublicKey([9; KEY_LEN]).to_string();
        for bad in ["", "x25519:", &good[1..], &good[..good.len() - 2], &format!("{good}00")] {
            assert_eq!(bad.parse::<PublicKey>(), Err(BadKey::Public), "{bad}");
        }
        assert_eq!(good.parse::<SecretKey>().unwrap_err(), BadKey::Secret);
    }
}
