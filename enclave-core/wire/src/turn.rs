// SPDX-License-Identifier: MIT
//! Messages where enclave and host run by turns: one shared buffer that changes hands.
//!
//! An enclave that is called by its host, as a trusted application is, has no stream. The host puts
//! its messages into the buffer and calls; the enclave takes them, runs, puts its own messages in,
//! and returns. Nobody looks at what the other is still writing: each side copies the other's
//! header once, checks the copy, then copies as many bytes as that says.
//!
//! | offset | size | written by the host | written by the enclave |
//! |---|---|---|---|
//! | 0 | 32 | header | |
//! | 32 | 32 | | header |
//! | 64 | [`AREA`] | messages | |
//! | 64 + [`AREA`] | [`AREA`] | | messages |
//!
//! | offset in a header | size | field |
//! |---|---|---|
//! | 0 | 4 | magic [`MAGIC`] |
//! | 4 | 4 | version [`VERSION`] |
//! | 8 | 8 | number of the turn, from 1 on; the enclave repeats the host's |
//! | 16 | 4 | bytes of messages |
//! | 20 | 4 | how the enclave stands: 0 busy, 1 idle, 2 ended; the host writes 0 |
//! | 24 | 8 | nanoseconds after which an idle enclave wants a turn; all ones for never; else 0 |
//!
//! All numbers are little-endian. Messages are framed as in [`crate::frame`], and whole.

use crate::Malformed;
use crate::frame::{self, HEADER_LEN, MESSAGE_MAX};
use alloc::vec::Vec;

/// First bytes of a header.
pub const MAGIC: [u8; 4] = *b"SRTN";
/// Version of the layout.
pub const VERSION: u32 = 1;
/// Bytes of a header.
pub const HEADER: usize = 32;
/// Bytes for the messages of one side: one of the largest fits, and many small ones.
pub const AREA: usize = 192 * 1024;
/// Where the host's messages lie.
pub const HOST_AREA_AT: usize = 2 * HEADER;
/// Where the enclave's messages lie.
pub const ENCLAVE_AREA_AT: usize = HOST_AREA_AT + AREA;
/// Bytes of the whole buffer.
pub const BUFFER: usize = ENCLAVE_AREA_AT + AREA;

const _: () = assert!(AREA >= HEADER_LEN + MESSAGE_MAX);

/// How the enclave stands at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It wants another turn at once.
    Busy,
    /// It wants one when there are messages, or after so many nanoseconds.
    Idle {
        /// `None` is never.
        wait_ns: Option<u64>,
    },
    /// It wants no more.
    Ended,
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its number.
    pub number: u64,
    /// Bytes of messages.
    pub length: usize,
    /// How the enclave stands; [`State::Busy`] in the host's header.
    pub state: State,
}

impl Turn {
    /// The host's header.
    pub const fn of_host(number: u64, length: usize) -> Self {
        Self { number, length, state: State::Busy }
    }

    /// The bytes of a header. A length over [`AREA`] is never written: it would be refused.
    pub fn encode(&self) -> [u8; HEADER] {
        let (state, wait_ns) = match self.state {
            State::Busy => (0_u32, 0),
            State::Idle { wait_ns } => (1, wait_ns.unwrap_or(u64::MAX)),
            State::Ended => (2, 0),
        };
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let mut bytes = [0; HEADER];
        let fields = MAGIC
            .into_iter()
            .chain(VERSION.to_le_bytes())
            .chain(self.number.to_le_bytes())
            .chain(length.to_le_bytes())
            .chain(state.to_le_bytes())
            .chain(wait_ns.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Reads a header that the other side wrote; the number has to be the expected one.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another magic or version, another number, a length over [`AREA`] and
    /// values that do not exist.
    pub fn decode(bytes: &[u8; HEADER], expected: u64) -> Result<Self, Malformed> {
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        let (number, rest) = rest.split_first_chunk::<8>().ok_or(Malformed::Value)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        let (state, wait_ns) = rest.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        let wait_ns = wait_ns.first_chunk::<8>().ok_or(Malformed::Value)?;
        if *magic != MAGIC || u32::from_le_bytes(*version) != VERSION {
            return Err(Malformed::Version);
        }
        let number = u64::from_le_bytes(*number);
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > AREA {
            return Err(Malformed::TooLong);
        }
        let state = match (u32::from_le_bytes(*state), u64::from_le_bytes(*wait_ns)) {
            (0, 0) => State::Busy,
            (1, u64::MAX) => State::Idle { wait_ns: None },
            (1, wait_ns) => State::Idle { wait_ns: Some(wait_ns) },
            (2, 0) => State::Ended,
            _ => return Err(Malformed::Value),
        };
        if number == expected { Ok(Self { number, length, state }) } else { Err(Malformed::Value) }
    }
}

/// The messages in an area, all of them whole.
///
/// # Errors
///
/// [`Malformed`] when one is cut off, empty or too long: then none of them counts.
pub fn messages(area: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut messages = Vec::new();
    let mut rest = area;
    while let Some((message, behind)) = split(rest)? {
        messages.push(message);
        rest = behind;
    }
    Ok(messages)
}

/// A message, and what is behind it.
pub type Split<'a> = (&'a [u8], &'a [u8]);

/// The first message of an area and what is behind it; none where the area ends.
///
/// # Errors
///
/// [`Malformed`] when it is cut off, empty or too long.
pub fn split(area: &[u8]) -> Result<Option<Split<'_>>, Malformed> {
    if area.is_empty() {
        return Ok(None);
    }
    let (header, behind) = area.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Value)?;
    let length = frame::length(*header)?;
    behind.split_at_checked(length).map(Some).ok_or(Malformed::Value)
}

/// Messages on their way into an area.
#[derive(Debug, Default)]
pub struct Outgoing(Vec<u8>);

impl Outgoing {
    /// With room for all that an area takes.
    pub fn whole() -> Self {
        Self(Vec::with_capacity(AREA))
    }

    /// Takes everything out, and keeps the room.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether any message fits.
    pub fn has_room(&self) -> bool {
        self.0.len() <= AREA - HEADER_LEN - MESSAGE_MAX
    }

    /// Whether a message of `length` bytes fits.
    pub fn fits(&self, length: usize) -> bool {
        self.0.len().saturating_add(HEADER_LEN).saturating_add(length) <= AREA
    }

    /// Adds a message that fits; says whether it did.
    pub fn push(&mut self, message: &[u8]) -> bool {
        let Ok(header) = frame::header(message.len()) else { return false };
        if message.is_empty() || !self.fits(message.len()) {
            return false;
        }
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(message);
        true
    }

    /// What goes into the area.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn headers_survive_encoding() {
        for state in [
            State::Busy,
            State::Idle { wait_ns: None },
            State::Idle { wait_ns: Some(0) },
            State::Idle { wait_ns: Some(5_000_000) },
            State::Ended,
        ] {
            let turn = Turn { number: 7, length: AREA, state };
            assert_eq!(Turn::decode(&turn.encode(), 7), Ok(turn));
        }
    }

    /// The layout is a contract: this may gain cases, never change one.
    #[test]
    fn golden_bytes_hold() {
        let turn = Turn { number: 2, length: 0x1_0203, state: State::Idle { wait_ns: Some(9) } };
        let bytes = b"SRTN\x01\0\0\0\x02\0\0\0\0\0\0\0\x03\x02\x01\0\x01\0\0\0\x09\0\0\0\0\0\0\0";
        assert_eq!(&turn.encode(), bytes);
    }

    #[test]
    fn every_field_is_checked() {
        let good = Turn::of_host(3, 10).encode();
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            Turn::decode(&bytes, 3)
        };
        assert_eq!(with(0, b'x'), Err(Malformed::Version));
        assert_eq!(with(4, 2), Err(Malformed::Version));
        assert_eq!(with(8, 4), Err(Malformed::Value));
        assert_eq!(with(15, 1), Err(Malformed::Value));
        assert_eq!(with(18, 4), Err(Malformed::TooLong));
        assert_eq!(with(19, 0xff), Err(Malformed::TooLong));
        assert_eq!(with(20, 3), Err(Malformed::Value));
        assert_eq!(with(24, 1), Err(Malformed::Value), "a busy side does not wait");
        assert_eq!(Turn::decode(&good, 4), Err(Malformed::Value));
        assert!(Turn::decode(&Turn::of_host(3, AREA + 1).encode(), 3).is_err());
    }

    #[test]
    fn messages_are_whole_or_refused_together() {
        let mut outgoing = Outgoing::default();
        assert!(outgoing.push(b"a") && outgoing.push(b"bcd"));
        assert_eq!(messages(outgoing.bytes()), Ok(vec![&b"a"[..], b"bcd"]));
        let whole = outgoing.bytes();
        for length in 1..whole.len() {
            // Cut behind the first message, that alone is whole.
            assert_eq!(messages(&whole[..length]).is_ok(), length == 5, "{length}");
        }
        assert_eq!(messages(&[0; 4]), Err(Malformed::Value));
        assert_eq!(messages(&[0xff; 8]), Err(Malformed::TooLong));
        assert_eq!(messages(&[]), Ok(vec![]));
    }

    #[test]
    fn an_area_takes_what_fits() {
        let mut outgoing = Outgoing::default();
        assert!(!outgoing.push(&[]), "empty messages do not exist");
        assert!(!outgoing.push(&vec![0; MESSAGE_MAX + 1]));
        assert!(outgoing.has_room() && outgoing.push(&vec![0; MESSAGE_MAX]));
        assert!(!outgoing.has_room() && !outgoing.push(&vec![0; MESSAGE_MAX]));
        let left = AREA - outgoing.bytes().len() - HEADER_LEN;
        assert!(!outgoing.fits(left + 1) && outgoing.push(&vec![0; left]));
        assert_eq!(outgoing.bytes().len(), AREA);
    }
}
