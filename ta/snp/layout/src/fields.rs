// SPDX-License-Identifier: MIT
//! Little-endian fields in pages whose layout is somebody else's.

/// A field of 4 bytes; 0 behind the end of `bytes`.
#[must_use]
pub fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u32::from_le_bytes(*field))
}

/// A field of 8 bytes; 0 behind the end of `bytes`.
#[must_use]
pub fn long(bytes: &[u8], offset: usize) -> u64 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u64::from_le_bytes(*field))
}

/// Copies `field` to `offset` of `bytes`, as far as there is room.
pub fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    let room = bytes.get_mut(offset..).unwrap_or_default();
    room.iter_mut().zip(field).for_each(|(to, from)| *to = *from);
}
