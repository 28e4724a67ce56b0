// SPDX-License-Identifier: MIT
//! Sessions over a stream of bytes, where there is one: a UNIX socket, or an attested session.
//!
//! | from | bytes | what |
//! |:--|:--|:--|
//! | client | 4 | length of what follows the command, little-endian |
//! | client | 4 | command, little-endian; [`HELLO`] comes first, once |
//! | client | length | a hello, or a request |
//! | service | 4 | length, little-endian |
//! | service | length | the answer |

/// The abstract UNIX socket on which a service of an enclave listens, without its leading zero byte.
/// The kernel leads attested clients there.
pub const SOCKET: &str = "strongroom/service";
/// What the names of attested clients begin with; their public key follows.
pub const CLIENT_NAME_PREFIX: &str = "strongroom/client/x25519:";
/// The command of a hello.
pub const HELLO: u32 = u32::MAX;
/// Bytes in front of a request.
pub const REQUEST_HEADER: usize = 8;
/// Bytes in front of an answer.
pub const ANSWER_HEADER: usize = 4;

/// The bytes in front of a request; none for one that is longer than a length can say.
#[must_use]
pub fn request_header(command: u32, length: usize) -> Option<[u8; REQUEST_HEADER]> {
    let length = u32::try_from(length).ok()?.to_le_bytes();
    let mut header = [0; REQUEST_HEADER];
    let fields = length.into_iter().chain(command.to_le_bytes());
    header.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    Some(header)
}

/// Command and length of a request.
#[must_use]
pub fn read_request_header(header: [u8; REQUEST_HEADER]) -> (u32, usize) {
    let [a, b, c, d, e, f, g, h] = header;
    (u32::from_le_bytes([e, f, g, h]), length(u32::from_le_bytes([a, b, c, d])))
}

/// The bytes in front of an answer; none for one that is longer than a length can say.
#[must_use]
pub fn answer_header(length: usize) -> Option<[u8; ANSWER_HEADER]> {
    u32::try_from(length).ok().map(u32::to_le_bytes)
}

/// The length of an answer.
#[must_use]
pub fn read_answer_header(header: [u8; ANSWER_HEADER]) -> usize {
    length(u32::from_le_bytes(header))
}

fn length(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A contract: this may gain cases, never change one.
    #[test]
    fn golden_bytes() {
        let header = request_header(7, 300).unwrap();
        assert_eq!(header, [0x2c, 1, 0, 0, 7, 0, 0, 0]);
        assert_eq!(read_request_header(header), (7, 300));
        assert_eq!(answer_header(258), Some([2, 1, 0, 0]));
        assert_eq!(read_answer_header([2, 1, 0, 0]), 258);
        assert_eq!(request_header(0, usize::MAX), None);
    }
}
