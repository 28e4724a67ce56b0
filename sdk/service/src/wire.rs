// SPDX-License-Identifier: MIT
//! How arguments and results become bytes: postcard values one after the other, in a buffer that
//! is there already, within a limit that was checked before.
//!
//! An answer begins with one byte, [`DONE`] or [`REFUSED`]; the result or a [`crate::Refusal`]
//! follows.

use serde::{Deserialize, Serialize, Serializer};

/// First byte of an answer with a result.
pub const DONE: u8 = 0;
/// First byte of an answer with a refusal.
pub const REFUSED: u8 = 1;
/// Most bytes of a refusal, with the byte in front.
pub const REFUSAL_MAX: usize = 16;

/// Commands from here on are of streams, not of methods.
pub const STREAM_WRITE: u32 = 0x8000_0000;
/// Ends a stream and asks for its output.
pub const STREAM_FINISH: u32 = 0x8000_0001;
/// Forgets a stream.
pub const STREAM_DROP: u32 = 0x8000_0002;
/// Bytes of a stream's number in front of a chunk.
pub const STREAM_HEADER: usize = 4;

/// It does not fit, or its type refuses to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritable;

/// It is not such a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Writes values into a buffer.
#[derive(Debug)]
pub struct Encoder<'b> {
    buffer: &'b mut [u8],
    used: usize,
}

impl<'b> Encoder<'b> {
    /// Writes from the start of `buffer`.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    /// Appends a value.
    ///
    /// # Errors
    ///
    /// [`Unwritable`]: what was appended before is still there.
    pub fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        let room = self.buffer.get_mut(self.used..).ok_or(Unwritable)?;
        let written = postcard::to_slice(value, room).map_err(|_| Unwritable)?.len();
        self.used = self.used.saturating_add(written);
        Ok(())
    }

    /// Appends bytes, as one value.
    ///
    /// # Errors
    ///
    /// [`Unwritable`].
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        self.put(&Bytes(bytes))
    }

    /// Appends as many bytes as they are, without a length: room to write them to.
    ///
    /// # Errors
    ///
    /// [`Unwritable`].
    pub fn room(&mut self, length: usize) -> Result<&mut [u8], Unwritable> {
        let end = self.used.checked_add(length).ok_or(Unwritable)?;
        let room = self.buffer.get_mut(self.used..end).ok_or(Unwritable)?;
        self.used = end;
        Ok(room)
    }

    /// Bytes that were written.
    pub const fn used(&self) -> usize {
        self.used
    }
}

/// Bytes that are copied at once and not one by one; encoded as any sequence of bytes.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Reads values out of a buffer. They may borrow from it.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'b> {
    rest: &'b [u8],
}

impl<'b> Decoder<'b> {
    /// Reads from the start of `buffer`.
    pub const fn new(buffer: &'b [u8]) -> Self {
        Self { rest: buffer }
    }

    /// The next value.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn take<T: Deserialize<'b>>(&mut self) -> Result<T, Malformed> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(|_| Malformed)?;
        self.rest = rest;
        Ok(value)
    }

    /// The next bytes, as they are.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: there are not as many.
    pub fn take_raw(&mut self, length: usize) -> Result<&'b [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// That nothing is left.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub const fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut buffer = [0; 16];
        let mut encoder = Encoder::new(&mut buffer);
        encoder.put(&300_u32).unwrap();
        encoder.put_bytes(b"ab").unwrap();
        encoder.put("c").unwrap();
        let used = encoder.used();
        assert_eq!(buffer[..used], *b"\xac\x02\x02ab\x01c");
        let mut decoder = Decoder::new(&buffer[..used]);
        assert_eq!(decoder.take::<u32>(), Ok(300));
        assert_eq!(decoder.take::<&[u8]>(), Ok(&b"ab"[..]));
        assert_eq!(decoder.end(), Err(Malformed));
        assert_eq!(decoder.take::<&str>(), Ok("c"));
        assert_eq!(decoder.end(), Ok(()));
        assert_eq!(decoder.take::<u8>(), Err(Malformed));
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut buffer = [0; 4];
        let mut encoder = Encoder::new(&mut buffer);
        encoder.put_bytes(b"ab").unwrap();
        assert_eq!(encoder.put_bytes(b"c"), Err(Unwritable));
        assert_eq!(encoder.used(), 3);
        encoder.put(&7_u8).unwrap();
        assert_eq!(encoder.used(), 4);
    }
}
