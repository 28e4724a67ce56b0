// SPDX-License-Identifier: MIT
//! Messages out of a byte stream that the host cuts where it likes.

use alloc::vec::Vec;
use strongroom_wire::frame::{self, HEADER_LEN, MESSAGE_MAX};
use strongroom_wire::{Malformed, Untrusted};

/// Most bytes of one [`Deframer::append`].
pub const CHUNK_MAX: usize = 64 * 1024;

/// Collects bytes and lends out whole messages.
///
/// Bytes are copied in once, to where they stay until their message is complete. After an error
/// the stream has no more meaning.
#[derive(Debug, Default)]
pub struct Deframer {
    /// Bytes `start..end` are waiting.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Deframer {
    /// With nothing received.
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0 }
    }

    /// Makes room for `length` bytes and has `copy` fill it.
    ///
    /// # Errors
    ///
    /// [`Malformed::TooLong`] over [`CHUNK_MAX`], or when a whole message and another chunk are
    /// already waiting to be taken.
    pub fn append(&mut self, length: usize, copy: impl FnOnce(&mut [u8])) -> Result<(), Malformed> {
        if length > CHUNK_MAX || self.waiting() > MESSAGE_MAX.saturating_add(CHUNK_MAX) {
            return Err(Malformed::TooLong);
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let mut end = self.end.saturating_add(length);
        if end > self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end = self.waiting();
            self.start = 0;
            end = self.end.saturating_add(length);
        }
        if end > self.buffer.len() {
            self.buffer.resize(end.next_multiple_of(CHUNK_MAX), 0);
        }
        copy(self.buffer.get_mut(self.end..end).ok_or(Malformed::TooLong)?);
        self.end = end;
        Ok(())
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for a length that no message has.
    pub fn next_message(&mut self) -> Result<Option<Untrusted<'_>>, Malformed> {
        let waiting = self.buffer.get(self.start..self.end).ok_or(Malformed::TooLong)?;
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let length = frame::length(*header)?;
        let Some(message) = rest.get(..length) else { return Ok(None) };
        self.start = self.start.saturating_add(HEADER_LEN).saturating_add(length);
        Ok(Some(Untrusted::new(message)))
    }

    const fn waiting(&self) -> usize {
        self.end.saturating_sub(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(messages: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.extend_from_slice(&frame::header(message.len()).unwrap());
            bytes.extend_from_slice(message);
        }
        bytes
    }

    fn feed(deframer: &mut Deframer, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
        deframer.append(bytes.len(), |room| room.copy_from_slice(bytes))?;
        let mut messages = Vec::new();
        while let Some(message) = deframer.next_message()? {
            messages.push(message.reveal().to_vec());
        }
        Ok(messages)
    }

    #[test]
    fn every_cut_gives_the_same_messages() {
        let large = alloc::vec![9; MESSAGE_MAX];
        let bytes = stream(&[b"a", b"bcd", &large, b"e"]);
        for piece in [1000, 4096, CHUNK_MAX] {
            let mut deframer = Deframer::new();
            let mut messages = Vec::new();
            for chunk in bytes.chunks(piece) {
                messages.extend(feed(&mut deframer, chunk).unwrap());
            }
            assert_eq!(messages, [b"a".to_vec(), b"bcd".to_vec(), large.clone(), b"e".to_vec()]);
            assert!(deframer.buffer.len() <= MESSAGE_MAX + 3 * CHUNK_MAX);
        }
        let mut deframer = Deframer::new();
        let small = stream(&[b"a", b"bcd"]);
        let count: usize =
            small.chunks(1).map(|byte| feed(&mut deframer, byte).unwrap().len()).sum();
        assert_eq!(count, 2);
    }

    #[test]
    fn impossible_lengths_end_the_stream() {
        let mut deframer = Deframer::new();
        assert_eq!(feed(&mut deframer, &[0; 4]), Err(Malformed::Value));
        let mut deframer = Deframer::new();
        assert_eq!(feed(&mut deframer, &[0xff; 9]), Err(Malformed::TooLong));
    }

    #[test]
    fn what_nobody_takes_does_not_pile_up() {
        let mut deframer = Deframer::new();
        let refused = (0..100).any(|_| deframer.append(CHUNK_MAX, |_| ()).is_err());
        assert!(refused);
        assert!(Deframer::new().append(CHUNK_MAX + 1, |_| ()).is_err());
    }
}
