// SPDX-License-Identifier: MIT
//! What an SNP guest says to its processor, its security processor and its host: formats and books.
//!
//! - [`msr_protocol`]: requests that fit into the GHCB's register, before there is a GHCB.
//! - [`ghcb`]: exits by way of the GHCB page, which the host writes too.
//! - [`state_change`]: lists of pages that become private or shared.
//! - [`pages`]: which pages are validated or shared, so that none is validated twice.
//! - [`secrets`], [`cpuid`]: the two pages that the security processor fills in at launch.
//! - [`message`], [`channel`]: sealed messages to the security processor, and their numbers.
//! - [`question`]: what is asked in them; [`certificates`]: what the host adds.
//!
//! Nothing here touches hardware. `machine::sev` does, on hardware and in the simulation alike.

pub mod certificates;
pub mod channel;
pub mod cpuid;
pub mod ghcb;
pub mod message;
pub mod msr_protocol;
pub mod pages;
pub mod question;
pub mod secrets;
pub mod state_change;

/// Bytes of a page.
pub const PAGE_LEN: usize = 4096;

/// A page's contents.
pub type Page = [u8; PAGE_LEN];

/// A little-endian field of 4 bytes; 0 behind the end of `bytes`.
fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u32::from_le_bytes(*field))
}

/// A little-endian field of 8 bytes; 0 behind the end of `bytes`.
fn long(bytes: &[u8], offset: usize) -> u64 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u64::from_le_bytes(*field))
}

/// Copies `field` to `offset` of `bytes`, as far as there is room.
fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    let room = bytes.get_mut(offset..).unwrap_or_default();
    room.iter_mut().zip(field).for_each(|(to, from)| *to = *from);
}
