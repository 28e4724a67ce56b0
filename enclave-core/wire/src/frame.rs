// SPDX-License-Identifier: MIT
//! Messages in a byte stream: a little-endian `u32` length, then that many bytes of postcard.

use crate::Malformed;

/// Bytes of the length in front of each message.
pub const HEADER_LEN: usize = 4;
/// Most bytes of bulk data that one message carries.
pub const DATA_MAX: usize = 128 * 1024;
/// Most bytes of one message, header not counted: bulk data and what goes around it.
pub const MESSAGE_MAX: usize = DATA_MAX + 8 * 1024;

/// The header in front of a message of `length` bytes.
///
/// # Errors
///
/// [`Malformed::TooLong`] over [`MESSAGE_MAX`].
pub fn header(length: usize) -> Result<[u8; HEADER_LEN], Malformed> {
    match u32::try_from(length) {
        Ok(short) if length <= MESSAGE_MAX => Ok(short.to_le_bytes()),
        Ok(_) | Err(_) => Err(Malformed::TooLong),
    }
}

/// The length that a header announces.
///
/// # Errors
///
/// [`Malformed::TooLong`] over [`MESSAGE_MAX`], [`Malformed::Value`] for an empty message.
pub fn length(header: [u8; HEADER_LEN]) -> Result<usize, Malformed> {
    match usize::try_from(u32::from_le_bytes(header)) {
        Ok(0) => Err(Malformed::Value),
        Ok(length) if length <= MESSAGE_MAX => Ok(length),
        Ok(_) | Err(_) => Err(Malformed::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_round_trip_up_to_the_limit_and_no_further() {
        for value in [1, 4096, MESSAGE_MAX] {
            assert_eq!(length(header(value).unwrap()), Ok(value));
        }
        assert_eq!(header(MESSAGE_MAX + 1), Err(Malformed::TooLong));
        assert_eq!(length([0; 4]), Err(Malformed::Value));
        assert_eq!(length([0xff; 4]), Err(Malformed::TooLong));
    }
}
