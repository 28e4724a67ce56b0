// SPDX-License-Identifier: MIT
//! Messages between guest and security processor (AMD 56860, section 8.26, table of the message
//! header; layout as in Linux, `struct snp_guest_msg_hdr`).
//!
//! A message is a page: 96 bytes of header, then the payload, sealed with AES-256-GCM under the
//! guest's key. The number of the message is the initialisation vector; the header from the
//! algorithm on is authenticated. The host carries the page and can read the header.

use super::{PAGE_LEN, Page, long, put};
use aes_gcm::aead::AeadInPlace as _;
use aes_gcm::{Aes256Gcm, Nonce, Tag};

/// Bytes of the header.
pub const HEADER_LEN: usize = 0x60;
/// Most bytes of a payload.
pub const PAYLOAD_LEN_MAX: usize = PAGE_LEN - HEADER_LEN;

const SEQUENCE: usize = 0x20;
/// Where the authenticated part of the header begins.
const AUTHENTICATED: usize = 0x30;
const KIND: usize = 0x34;
const LENGTH: usize = 0x36;
const VMPCK: usize = 0x3c;
const TAG_LEN: usize = 16;
/// AES-256-GCM; version 1 of the header; its length; then, behind the kind, version 1 of the
/// message.
const ALGORITHM: u8 = 1;
const HEADER_VERSION: u8 = 1;
const MESSAGE_VERSION: u8 = 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `MSG_KEY_REQ`.
    KeyRequest = 3,
    /// `MSG_KEY_RSP`.
    KeyResponse = 4,
    /// `MSG_REPORT_REQ`.
    ReportRequest = 5,
    /// `MSG_REPORT_RSP`.
    ReportResponse = 6,
}

impl Kind {
    #[expect(clippy::as_conversions, reason = "the numbers are the specification's")]
    const fn number(self) -> u8 {
        self as u8
    }
}

/// What is in the clear of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number. Each is used once with a key.
    pub sequence: u64,
    /// What it is.
    pub kind: Kind,
    /// Which key it is sealed with, 0 to 3.
    pub vmpck: u8,
}

/// Why a message cannot be made or believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMessage {
    /// The payload is too long for a page, or for who asked.
    Length,
    /// Another algorithm, or another version of header or message.
    Format,
    /// Another number than the next one.
    Sequence,
    /// Another kind than the answer to what was asked.
    Kind,
    /// The tag is not that of the contents.
    NotAuthentic,
}

/// Seals `payload` into a page.
///
/// # Errors
///
/// [`BadMessage::Length`]; [`BadMessage::NotAuthentic`] if the cipher refuses.
pub fn seal(cipher: &Aes256Gcm, head: Head, payload: &[u8]) -> Result<Page, BadMessage> {
    let length = u16::try_from(payload.len()).map_err(|_| BadMessage::Length)?;
    let mut page = [0; PAGE_LEN];
    let (header, body) = page.split_at_mut(HEADER_LEN);
    let body = body.get_mut(..payload.len()).ok_or(BadMessage::Length)?;
    body.copy_from_slice(payload);
    put(header, SEQUENCE, &head.sequence.to_le_bytes());
    put(header, AUTHENTICATED, &[ALGORITHM, HEADER_VERSION, 0x60, 0]);
    put(header, KIND, &[head.kind.number(), MESSAGE_VERSION]);
    put(header, LENGTH, &length.to_le_bytes());
    put(header, VMPCK, &[head.vmpck]);
    let (tag, authenticated) = header.split_at_mut(AUTHENTICATED);
    let nonce = nonce(head.sequence);
    let sealed = cipher.encrypt_in_place_detached(&nonce, authenticated, body);
    put(tag, 0, &sealed.map_err(|_| BadMessage::NotAuthentic)?);
    Ok(page)
}

/// Opens a page that is to hold a message with that head, and returns its payload in place.
///
/// # Errors
///
/// [`BadMessage`]; what is in the page then means nothing.
pub fn open<'a>(
    cipher: &Aes256Gcm,
    head: Head,
    page: &'a mut Page,
) -> Result<&'a [u8], BadMessage> {
    let (header, body) = page.split_at_mut(HEADER_LEN);
    let [algorithm, header_version, size0, size1, kind, message_version, length0, length1] =
        long(header, AUTHENTICATED).to_le_bytes();
    if (algorithm, header_version, message_version) != (ALGORITHM, HEADER_VERSION, MESSAGE_VERSION)
        || [size0, size1] != [0x60, 0]
    {
        return Err(BadMessage::Format);
    }
    if long(header, SEQUENCE) != head.sequence {
        return Err(BadMessage::Sequence);
    }
    if kind != head.kind.number() {
        return Err(BadMessage::Kind);
    }
    let length = usize::from(u16::from_le_bytes([length0, length1]));
    let body = body.get_mut(..length).ok_or(BadMessage::Length)?;
    let (tag, authenticated) = header.split_at_mut(AUTHENTICATED);
    let tag = tag.first_chunk::<TAG_LEN>().ok_or(BadMessage::Format)?;
    cipher
        .decrypt_in_place_detached(&nonce(head.sequence), authenticated, body, Tag::from_slice(tag))
        .map_err(|_| BadMessage::NotAuthentic)?;
    Ok(body)
}

/// The number of the message, and zeros.
fn nonce(sequence: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    put(&mut nonce, 0, &sequence.to_le_bytes());
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes_gcm::KeyInit as _;

    const HEAD: Head = Head { sequence: 1, kind: Kind::ReportRequest, vmpck: 0 };

    fn cipher() -> Aes256Gcm {
        Aes256Gcm::new(&[7; 32].into())
    }

    #[test]
    fn a_message_has_its_published_form() {
        let page = seal(&cipher(), HEAD, &[9; 96]).unwrap();
        let mut header = [0; 96];
        header[..16].copy_from_slice(&page[..16]);
        header[0x20] = 1;
        header[0x30..0x38].copy_from_slice(&[1, 1, 0x60, 0, 5, 1, 96, 0]);
        assert_eq!(page[..96], header);
        assert!(page[192..].iter().all(|byte| *byte == 0));
        assert_ne!(page[96..192], [9; 96], "it is encrypted");
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else() {
        let sealed = seal(&cipher(), HEAD, &[9; 96]).unwrap();
        assert_eq!(open(&cipher(), HEAD, &mut sealed.clone()), Ok(&[9; 96][..]));
        let refused = |head: Head, at: usize, bit: u8| {
            let mut page = sealed;
            page[at] ^= bit;
            open(&cipher(), head, &mut page).map(<[u8]>::to_vec)
        };
        let other = Head { sequence: 2, ..HEAD };
        assert_eq!(refused(other, 4095, 1), Err(BadMessage::Sequence));
        let other = Head { kind: Kind::ReportResponse, ..HEAD };
        assert_eq!(refused(other, 4095, 1), Err(BadMessage::Kind));
        for (at, error) in [
            (0, BadMessage::NotAuthentic),
            (15, BadMessage::NotAuthentic),
            (0x20, BadMessage::Sequence),
            (0x27, BadMessage::Sequence),
            (0x30, BadMessage::Format),
            (0x31, BadMessage::Format),
            (0x32, BadMessage::Format),
            (0x34, BadMessage::Kind),
            (0x35, BadMessage::Format),
            (0x36, BadMessage::NotAuthentic),
            (0x3c, BadMessage::NotAuthentic),
            (0x5f, BadMessage::NotAuthentic),
            (0x60, BadMessage::NotAuthentic),
            (191, BadMessage::NotAuthentic),
        ] {
            assert_eq!(refused(HEAD, at, 1), Err(error), "byte {at:#x}");
        }
        assert_eq!(refused(HEAD, 0x37, 0xff), Err(BadMessage::Length));
        let wrong_key = Aes256Gcm::new(&[8; 32].into());
        let opened = open(&wrong_key, HEAD, &mut sealed.clone()).map(<[u8]>::to_vec);
        assert_eq!(opened, Err(BadMessage::NotAuthentic));
    }

    #[test]
    fn payloads_have_to_fit() {
        assert!(seal(&cipher(), HEAD, &[0; PAYLOAD_LEN_MAX]).is_ok());
        let long = [0; PAYLOAD_LEN_MAX + 1];
        assert_eq!(seal(&cipher(), HEAD, &long), Err(BadMessage::Length));
    }
}
