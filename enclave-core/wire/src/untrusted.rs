// SPDX-License-Identifier: MIT
//! Bytes that the other side chose.

use serde::Deserialize;

/// Bytes from outside the trust boundary, copied in once. The only way out is to parse them whole.
#[derive(Debug, Clone, Copy)]
pub struct Untrusted<'a>(&'a [u8]);

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end too early, or a value is out of range.
    Value,
    /// Bytes are left over behind the value.
    Trailing,
    /// A length is over its named limit.
    TooLong,
    /// Another version or format.
    Version,
}

impl<'a> Untrusted<'a> {
    /// Marks `bytes` as not yet checked.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Number of bytes.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Turns all of the bytes into a postcard-encoded `T`, or none of them.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when they do not decode, or do not end where the value ends.
    pub fn parse<T: Deserialize<'a>>(self) -> Result<T, Malformed> {
        let (value, rest) = postcard::take_from_bytes(self.0).map_err(|_| Malformed::Value)?;
        if rest.is_empty() { Ok(value) } else { Err(Malformed::Trailing) }
    }

    /// Hands out the bytes for a parser that is fixed-layout.
    pub const fn reveal(self) -> &'a [u8] {
        self.0
    }
}
