// SPDX-License-Identifier: MIT
//! Why a session ended.

use core::fmt;

/// What was wrong with a frame, or with what was to be sent. The session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// A frame of no bytes, or of more than are allowed at this point.
    FrameLength {
        /// Bytes that the frame claims.
        found: usize,
        /// Most bytes.
        max: usize,
    },
    /// Not the next message of this handshake: another protocol or version, another session's, or
    /// changed on the way.
    Handshake,
    /// Not the next message of this session's other side: replayed, reordered, reflected, of another
    /// session, or changed on the way.
    NotAuthentic,
    /// The other side's, but no message that this version knows.
    Malformed,
    /// A message that has no place at this point.
    OutOfOrder,
    /// What is to be sent is over its limit.
    TooLong,
    /// The session has failed before.
    Broken,
    /// The bytes ended before the session did.
    Truncated,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameLength { found, max } => {
                write!(f, "a frame of {found} bytes, where 1 to {max} are allowed")
            }
            Self::Handshake => f.write_str(
                "no handshake of this session: another protocol or version, or changed on the way",
            ),
            Self::NotAuthentic => f.write_str(
                "a message that the other side did not send next: replayed, of another session, or changed on the way",
            ),
            Self::Malformed => f.write_str("a message that this version does not know"),
            Self::OutOfOrder => f.write_str("a message that has no place here"),
            Self::TooLong => f.write_str("more than fits into a message"),
            Self::Broken => f.write_str("the session has failed before"),
            Self::Truncated => f.write_str("the connection ended before the session did"),
        }
    }
}

impl core::error::Error for SessionError {}
