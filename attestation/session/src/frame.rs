// SPDX-License-Identifier: MIT
//! Frames in a stream of bytes: a length of two bytes, little-endian, and that many bytes.

use crate::SessionError;
use alloc::vec::Vec;

/// Most bytes of a frame: Noise allows no longer messages.
pub const FRAME_MAX: usize = 65_535;
/// Most bytes of a frame of the handshake, before anybody has proven anything.
pub const HANDSHAKE_FRAME_MAX: usize = 128;
/// Bytes of the length.
const HEADER_LEN: usize = 2;
/// Most bytes that wait to become frames.
const BUFFER_MAX: usize = 3 * (FRAME_MAX + HEADER_LEN);

/// Takes frames out of a stream.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// Takes in what arrived.
    ///
    /// # Errors
    ///
    /// [`SessionError::TooLong`] for more than a caller has who takes frames out in between.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if self.buffer.len().saturating_add(bytes.len()) > BUFFER_MAX {
            return Err(SessionError::TooLong);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next frame, of at most `max` bytes, once all of it is there.
    ///
    /// # Errors
    ///
    /// [`SessionError::FrameLength`], as soon as the length is there.
    pub fn next(&mut self, max: usize) -> Result<Option<Vec<u8>>, SessionError> {
        let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let found = usize::from(u16::from_le_bytes(*header));
        if found == 0 || found > max {
            return Err(SessionError::FrameLength { found, max });
        }
        let Some(frame) = rest.get(..found) else { return Ok(None) };
        let frame = frame.to_vec();
        self.buffer.drain(..found.saturating_add(HEADER_LEN));
        Ok(Some(frame))
    }

    /// Whether a frame has begun and not ended.
    #[must_use]
    pub fn is_amid_frame(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// The bytes of a frame on the stream.
pub(crate) fn encode(body: &[u8]) -> Result<Vec<u8>, SessionError> {
    let length = u16::try_from(body.len()).map_err(|_| SessionError::TooLong)?;
    let mut bytes = Vec::with_capacity(body.len().saturating_add(HEADER_LEN));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn frames_come_out_however_the_stream_is_cut() {
        let stream = [encode(b"one").unwrap(), encode(&[7; 300]).unwrap()].concat();
        for step in 1..stream.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                frames.push(piece).unwrap();
                while let Some(frame) = frames.next(FRAME_MAX).unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, [b"one".to_vec(), vec![7; 300]]);
            assert!(!frames.is_amid_frame());
        }
    }

    #[test]
    fn a_length_is_refused_before_its_bytes_are_there() {
        let mut frames = Frames::default();
        frames.push(&[129, 0]).unwrap();
        let refused = Err(SessionError::FrameLength { found: 129, max: 128 });
        assert_eq!(frames.next(HANDSHAKE_FRAME_MAX), refused);
        let mut frames = Frames::default();
        frames.push(&[0, 0, 1]).unwrap();
        assert_eq!(frames.next(9), Err(SessionError::FrameLength { found: 0, max: 9 }));
        assert_eq!(Frames::default().push(&vec![0; BUFFER_MAX + 1]), Err(SessionError::TooLong));
    }
}
