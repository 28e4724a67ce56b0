// SPDX-License-Identifier: MIT
//! The contents of a packed trusted application: what the packer puts beside the library OS, and
//! the library OS finds there.
//!
//! A packed TA is one ELF file: the library OS, the segments of the program and its libraries,
//! a table of [`Site`]s with one stub of [`STUB_LENGTH`] bytes each, and a read-only *information
//! block* that describes the rest. The library OS has an [`Anchor`] of its own, which the packer
//! fills in; everything else is found from there. All places are distances from the TA's load
//! address, because that differs from run to run.
//!
//! Information block, little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic [`MAGIC`] |
//! | 8 | 32 | package digest: SHA-256 of the whole file before signing, with these bytes zero |
//! | 40 | 4 | length of the body |
//! | 44 | 4 | zero |
//! | 48 | n | [`Package`], postcard |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod anchor;
mod site;
mod uuid;

pub use anchor::{ANCHOR_LENGTH, ANCHOR_SYMBOL, Anchor, GATES, Gate};
pub use site::{Action, SITE_LENGTH, STUB_LENGTH, Site, find};
pub use uuid::Uuid;

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use strongroom_wire::{Malformed, Untrusted};

/// First bytes of the information block.
pub const MAGIC: [u8; 8] = *b"SRTAPKG1";
/// Where the package digest lies in the information block.
pub const DIGEST_AT: usize = 8;
/// Bytes of a package digest.
pub const DIGEST_LENGTH: usize = 32;
/// Most bytes of an information block.
pub const INFORMATION_MAX: usize = 256 * 1024;
/// Version of the layout and of [`Package`].
pub const VERSION: u32 = 1;
const LENGTH_AT: usize = DIGEST_AT + DIGEST_LENGTH;
const BODY_AT: usize = LENGTH_AT + 8;

/// What is packed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// [`VERSION`].
    pub version: u32,
    /// The TA's own name.
    pub uuid: Uuid,
    /// Version of the TA, as signed.
    pub ta_version: u32,
    /// The boot record: manifest and root digest ([`strongroom_wire::boot`]).
    pub record: Vec<u8>,
    /// Bytes of memory that the program and the page cache share.
    pub memory: u64,
    /// SHA-256 over the writable segments of all objects, zero-filled parts included, in order.
    pub writable_digest: [u8; DIGEST_LENGTH],
    /// The program, its interpreter and its libraries.
    pub objects: Vec<Object>,
}

/// A packed ELF file of the root image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its path in the root image, without symbolic links.
    pub path: String,
    /// Where its virtual address 0 lies.
    pub base: u64,
    /// Bytes from its first page to the end of its last segment.
    pub span: u64,
    /// The largest alignment of its segments.
    pub alignment: u64,
    /// What of it is mapped.
    pub segments: Vec<Segment>,
}

/// Pages with the same permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Where they lie.
    pub start: u64,
    /// Bytes, a multiple of the page size.
    pub length: u64,
    /// Whether they can be written.
    pub writable: bool,
    /// Whether they can be executed.
    pub executable: bool,
}

impl Package {
    /// The information block, with a digest of zeroes.
    ///
    /// # Errors
    ///
    /// [`Malformed::TooLong`] over [`INFORMATION_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let body = postcard::to_allocvec(self).map_err(|_| Malformed::Value)?;
        let length = u32::try_from(body.len()).map_err(|_| Malformed::TooLong)?;
        let mut bytes = Vec::with_capacity(BODY_AT.saturating_add(body.len()));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; DIGEST_LENGTH]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&body);
        if bytes.len() > INFORMATION_MAX { Err(Malformed::TooLong) } else { Ok(bytes) }
    }

    /// Reads an information block: the package digest and what is packed.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another magic or version, and for bytes that do not decode whole.
    pub fn decode(bytes: &[u8]) -> Result<([u8; DIGEST_LENGTH], Self), Malformed> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed::Value)?;
        if *magic != MAGIC {
            return Err(Malformed::Version);
        }
        let (digest, rest) = rest.split_first_chunk::<DIGEST_LENGTH>().ok_or(Malformed::Value)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        let (zero, body) = rest.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Malformed::Value)?;
        if *zero != [0; 4] || length != body.len() {
            return Err(Malformed::Trailing);
        }
        let package: Self = Untrusted::new(body).parse()?;
        if package.version == VERSION { Ok((*digest, package)) } else { Err(Malformed::Version) }
    }

    /// The writable segments of all objects, in the order of the digest.
    pub fn writable(&self) -> impl Iterator<Item = &Segment> {
        self.objects.iter().flat_map(|object| &object.segments).filter(|segment| segment.writable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn package() -> Package {
        let segment = Segment { start: 0x2_0000, length: 4096, writable: true, executable: false };
        let object = Object {
            path: "/bin/hello".into(),
            base: 0x1_0000,
            span: 0x1_1000,
            alignment: 0x1_0000,
            segments: vec![segment],
        };
        Package {
            version: VERSION,
            uuid: Uuid([1; 16]),
            ta_version: 3,
            record: vec![5; 40],
            memory: 1 << 20,
            writable_digest: [7; 32],
            objects: vec![object],
        }
    }

    #[test]
    fn a_package_survives_encoding() {
        let bytes = package().encode().unwrap();
        assert_eq!(Package::decode(&bytes), Ok(([0; 32], package())));
        assert_eq!(package().writable().count(), 1);
    }

    #[test]
    fn damage_is_refused() {
        let good = package().encode().unwrap();
        let mut other = good.clone();
        other[0] ^= 1;
        assert_eq!(Package::decode(&other), Err(Malformed::Version));
        assert_eq!(Package::decode(&good[..good.len() - 1]), Err(Malformed::Trailing));
        for length in 0..BODY_AT {
            assert!(Package::decode(&good[..length]).is_err(), "{length} bytes");
        }
        let mut version = package();
        version.version = 2;
        assert_eq!(Package::decode(&version.encode().unwrap()), Err(Malformed::Version));
        let mut large = package();
        large.record = vec![0; INFORMATION_MAX];
        assert_eq!(large.encode(), Err(Malformed::TooLong));
    }
}
