// SPDX-License-Identifier: MIT
//! The boot record: everything the launch measurement covers besides the kernel image.
//!
//! Layout, little-endian, zero-padded to a multiple of 4096 bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic [`MAGIC`] |
//! | 8 | 4 | version [`VERSION`] |
//! | 12 | 4 | length of the manifest in bytes |
//! | 16 | 32 | root digest of the image ([`crate::image::root_digest`]) |
//! | 48 | 8 | blocks of the image |
//! | 56 | n | manifest, postcard |

use crate::{Malformed, Untrusted};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// First bytes of a boot record.
pub const MAGIC: [u8; 8] = *b"STRNGRM1";
/// Version of the layout and of [`Manifest`].
pub const VERSION: u32 = 4;
/// Most bytes of a boot record, padding included.
pub const RECORD_MAX: usize = 64 * 1024;
/// Bytes in front of the manifest.
const MANIFEST_AT: usize = 56;
const PAGE: usize = 4096;

/// What a workload is and what its host may do for it. All of it is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Path of the program in the root image.
    pub program: String,
    /// Arguments, the zeroth included.
    pub arguments: Vec<String>,
    /// Environment, `NAME=value` each.
    pub environment: Vec<String>,
    /// Directory in which the program starts.
    pub working_directory: String,
    /// `uname -n`.
    pub hostname: String,
    /// Host directories.
    pub directories: Vec<GrantedDirectory>,
    /// Host sockets to connect to.
    pub connects: Vec<GrantedConnect>,
    /// Host ports to listen on.
    pub listens: Vec<GrantedListen>,
    /// Most bytes of memory the program may use; 0 is all there is.
    pub memory_max: u64,
    /// What the program waits for before it starts; none where it starts at once.
    pub session: Option<SessionTerms>,
    /// Whose attested sessions reach the workload's service; none where it offers none.
    pub service: Option<ServiceTerms>,
    /// Programs that the first one starts, by path or by name, once for each that runs at a time: a
    /// machine that cannot make memory executable has them placed beforehand. Others do not look.
    pub spawns: Vec<String>,
}

/// Bytes of an X25519 public key.
pub const OWNER_KEY_LEN: usize = 32;
/// The abstract UNIX socket on which a workload offers its service, without the leading zero byte.
pub const SERVICE_SOCKET: &str = "strongroom/service";

/// Who may start the workload over an attested session, and what that client may bring along.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTerms {
    /// X25519 public keys of the clients that are listened to.
    pub owners: Vec<[u8; OWNER_KEY_LEN]>,
    /// Any client is an owner.
    pub insecure_any_client: bool,
    /// Whether arguments may be added behind those of the manifest.
    pub late_arguments: bool,
    /// Names of variables whose value the client may give.
    pub late_environment: Vec<String>,
    /// Names of secrets, all of which the client has to give.
    pub secrets: Vec<String>,
}

/// Who may call the service that the workload offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTerms {
    /// X25519 public keys of the clients that are let through.
    pub clients: Vec<[u8; OWNER_KEY_LEN]>,
    /// Whoever comes is let through: the service has to decide by itself.
    pub any_client: bool,
    /// The TCP port on which the program listens; without one it is [`SERVICE_SOCKET`].
    pub port: Option<u16>,
}

/// A host directory that the program sees. Its contents are plaintext and untrusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedDirectory {
    /// Where it is mounted, an absolute path.
    pub mount: String,
    /// Whether the program may change it.
    pub writable: bool,
}

/// A host and port to which the host connects for the program. Plaintext and untrusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedConnect {
    /// A name or an address, as the program gives it.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A port on which the host listens for the program. Plaintext and untrusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedListen {
    /// The port that the program binds.
    pub port: u16,
}

/// A parsed boot record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Digest of the root image.
    pub root_digest: [u8; 32],
    /// Blocks of the root image.
    pub image_blocks: u64,
    /// The manifest.
    pub manifest: Manifest,
}

impl Record {
    /// The bytes that are measured and handed over.
    ///
    /// # Errors
    ///
    /// [`Malformed::TooLong`] when they would exceed [`RECORD_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let manifest = postcard::to_allocvec(&self.manifest).map_err(|_| Malformed::Value)?;
        let length = u32::try_from(manifest.len()).map_err(|_| Malformed::TooLong)?;
        let total = manifest.len().saturating_add(MANIFEST_AT).next_multiple_of(PAGE);
        if total > RECORD_MAX {
            return Err(Malformed::TooLong);
        }
        let mut bytes = Vec::with_capacity(total);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.root_digest);
        bytes.extend_from_slice(&self.image_blocks.to_le_bytes());
        bytes.extend_from_slice(&manifest);
        bytes.resize(total, 0);
        Ok(bytes)
    }

    /// Reads a record; padding has to be zero.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another magic or version, wrong lengths, or a manifest that does not
    /// decode.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > RECORD_MAX {
            return Err(Malformed::TooLong);
        }
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed::Value)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        if *magic != MAGIC || u32::from_le_bytes(*version) != VERSION {
            return Err(Malformed::Version);
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        let (root_digest, rest) = rest.split_first_chunk::<32>().ok_or(Malformed::Value)?;
        let (image_blocks, rest) = rest.split_first_chunk::<8>().ok_or(Malformed::Value)?;
        let length =
            usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Malformed::TooLong)?;
        let (manifest, padding) = rest.split_at_checked(length).ok_or(Malformed::TooLong)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Malformed::Trailing);
        }
        Ok(Self {
            root_digest: *root_digest,
            image_blocks: u64::from_le_bytes(*image_blocks),
            manifest: Untrusted::new(manifest).parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn record() -> Record {
        Record {
            root_digest: [7; 32],
            image_blocks: 3,
            manifest: Manifest {
                program: "/bin/true".into(),
                arguments: vec!["true".into()],
                ..Manifest::default()
            },
        }
    }

    #[test]
    fn a_record_survives_encoding_and_fills_whole_pages() {
        let bytes = record().encode().unwrap();
        assert_eq!(bytes.len() % PAGE, 0);
        assert_eq!(Record::decode(&bytes), Ok(record()));
    }

    /// The layout is measured: this may gain cases, never change one.
    #[test]
    fn golden_bytes_hold() {
        let bytes = record().encode().unwrap();
        assert_eq!(&bytes[..16], b"STRNGRM1\x04\0\0\0\x1a\0\0\0");
        assert_eq!(&bytes[48..56], &3u64.to_le_bytes());
        assert_eq!(&bytes[56..82], b"\x09/bin/true\x01\x04true\0\0\0\0\0\0\0\0\0\0");
        let mut record = record();
        record.manifest.spawns = vec!["sh".into(), "/bin/ls".into()];
        let bytes = record.encode().unwrap();
        assert_eq!(&bytes[81..93], b"\x02\x02sh\x07/bin/ls");
        assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn golden_bytes_of_a_session_hold() {
        let mut record = record();
        record.manifest.session = Some(SessionTerms {
            owners: vec![[5; OWNER_KEY_LEN]],
            insecure_any_client: false,
            late_arguments: true,
            late_environment: vec!["A".into()],
            secrets: vec!["key".into(), "b".into()],
        });
        let bytes = record.encode().unwrap();
        let mut expected = vec![1, 1];
        expected.extend([5; 32]);
        expected.extend(b"\0\x01\x01\x01A\x02\x03key\x01b");
        assert_eq!(&bytes[79..79 + expected.len()], expected);
        assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn golden_bytes_of_a_service_hold() {
        let mut record = record();
        record.manifest.service = Some(ServiceTerms {
            clients: vec![[5; OWNER_KEY_LEN]],
            any_client: true,
            port: Some(300),
        });
        let bytes = record.encode().unwrap();
        let mut expected = vec![0, 1, 1];
        expected.extend([5; 32]);
        expected.extend([1, 1, 0xac, 2]);
        assert_eq!(&bytes[79..79 + expected.len()], expected);
        assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn damage_is_refused() {
        let good = record().encode().unwrap();
        let mut padded = good.clone();
        *padded.last_mut().unwrap() = 1;
        assert_eq!(Record::decode(&padded), Err(Malformed::Trailing));
        let mut version = good.clone();
        version[8] = 1;
        assert_eq!(Record::decode(&version), Err(Malformed::Version));
        let mut length = good.clone();
        length[15] = 1;
        assert_eq!(Record::decode(&length), Err(Malformed::TooLong));
        assert_eq!(Record::decode(&good[..40]), Err(Malformed::Value));
    }
}
