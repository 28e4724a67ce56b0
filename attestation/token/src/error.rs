// SPDX-License-Identifier: MIT
//! Why bytes are not a token.

use core::fmt;

/// Bytes that are no token of this profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    /// Longer than any token.
    TooLong,
    /// No tagged `COSE_Sign1`, or no CBOR at all.
    Envelope,
    /// The payload is no map of claims.
    Payload,
    /// A claim is missing, or has no value of its kind.
    Claim(&'static str),
    /// The same could be said in these bytes and in others: only one encoding is read.
    Encoding,
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a token has at most {} bytes", crate::TOKEN_LEN_MAX),
            Self::Envelope => f.write_str("no tagged COSE_Sign1"),
            Self::Payload => f.write_str("its payload is no map of claims"),
            Self::Claim(name) => write!(f, "its claim `{name}` is missing, or no such value"),
            Self::Encoding => f.write_str("not in the one encoding that the profile has"),
        }
    }
}

impl core::error::Error for BadToken {}
