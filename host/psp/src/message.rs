// SPDX-License-Identifier: MIT
//! The firmware's side of a guest's messages (56860, section 8.26).

use crate::{PAGE_LEN, Page, long, put};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const HEADER_LEN: usize = 0x60;
const SEQUENCE: usize = 0x20;
const AUTHENTICATED: usize = 0x30;
const KIND: usize = 0x34;
const LENGTH: usize = 0x36;
const VMPCK: usize = 0x3c;
const TAG_LEN: usize = 16;
/// Algorithm, version and length of the header.
const FORMAT: [u8; 4] = [1, 1, 0x60, 0];
const MESSAGE_VERSION: u8 = 1;

/// A message in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    pub(crate) kind: u8,
    pub(crate) vmpck: u8,
    pub(crate) payload: Vec<u8>,
}

/// The key and the number that the next message has, by the number of the key.
pub(crate) type Keys<'a> = &'a dyn Fn(u8) -> Option<([u8; 32], u64)>;

/// Why a message is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unacceptable {
    /// Its header.
    Header,
    /// Its tag.
    Tag,
}

/// Opens a page.
pub(crate) fn open(page: &Page, keys: Keys<'_>) -> Result<Message, Unacceptable> {
    let format = page.get(AUTHENTICATED..KIND) == Some(&FORMAT);
    let [kind, version, length0, length1, _, _, _, _] = long(page, KIND).to_le_bytes();
    let vmpck = page.get(VMPCK).copied().ok_or(Unacceptable::Header)?;
    let (key, expected) = keys(vmpck).ok_or(Unacceptable::Header)?;
    let sequence = long(page, SEQUENCE);
    if !format || version != MESSAGE_VERSION || sequence != expected {
        return Err(Unacceptable::Header);
    }
    let length = usize::from(u16::from_le_bytes([length0, length1]));
    let body = page.get(HEADER_LEN..).and_then(|body| body.get(..length));
    let authenticated = page.get(AUTHENTICATED..HEADER_LEN).ok_or(Unacceptable::Header)?;
    let mut sealed = body.ok_or(Unacceptable::Header)?.to_vec();
    sealed.extend(page.get(..TAG_LEN).ok_or(Unacceptable::Header)?);
    let cipher = cipher(&key).ok_or(Unacceptable::Tag)?;
    let opened = cipher.open_in_place(nonce(sequence), Aad::from(authenticated), &mut sealed);
    let payload = opened.map_err(|_| Unacceptable::Tag)?.to_vec();
    Ok(Message { sequence, kind, vmpck, payload })
}

/// Seals a message into a page; none for a payload that is too long.
pub(crate) fn seal(key: &[u8; 32], message: &Message) -> Option<Page> {
    let mut page = [0; PAGE_LEN];
    put(&mut page, SEQUENCE, &message.sequence.to_le_bytes());
    put(&mut page, AUTHENTICATED, &FORMAT);
    put(&mut page, KIND, &[message.kind, MESSAGE_VERSION]);
    put(&mut page, LENGTH, &u16::try_from(message.payload.len()).ok()?.to_le_bytes());
    put(&mut page, VMPCK, &[message.vmpck]);
    let authenticated = Aad::from(page.get(AUTHENTICATED..HEADER_LEN)?.to_vec());
    let mut body = message.payload.clone();
    let nonce = nonce(message.sequence);
    let tag = cipher(key)?.seal_in_place_separate_tag(nonce, authenticated, &mut body).ok()?;
    page.get_mut(HEADER_LEN..)?.get_mut(..body.len())?.copy_from_slice(&body);
    put(&mut page, 0, tag.as_ref());
    Some(page)
}

fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?))
}

fn nonce(sequence: u64) -> Nonce {
    let mut nonce = [0; 12];
    put(&mut nonce, 0, &sequence.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}
