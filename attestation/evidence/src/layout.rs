// SPDX-License-Identifier: MIT
//! The bytes of a report, field by field.
//!
//! One structure serves all versions: version 3 named three of the reserved bytes of version 2
//! and version 5 sixteen more. [`crate::Report`] holds each version to its own reserved bytes.

use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Table 23, `ATTESTATION_REPORT`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ReportLayout {
    pub(crate) version: U32,
    pub(crate) guest_svn: U32,
    pub(crate) policy: U64,
    pub(crate) family_id: [u8; 16],
    pub(crate) image_id: [u8; 16],
    pub(crate) vmpl: U32,
    pub(crate) signature_algorithm: U32,
    pub(crate) current_tcb: [u8; 8],
    pub(crate) platform_info: U64,
    pub(crate) key_info: U32,
    pub(crate) reserved_4c: [u8; 4],
    pub(crate) report_data: [u8; 64],
    pub(crate) measurement: [u8; 48],
    pub(crate) host_data: [u8; 32],
    pub(crate) id_key_digest: [u8; 48],
    pub(crate) author_key_digest: [u8; 48],
    pub(crate) report_id: [u8; 32],
    pub(crate) report_id_ma: [u8; 32],
    pub(crate) reported_tcb: [u8; 8],
    /// Family, model and stepping; from version 3.
    pub(crate) cpu: [u8; 3],
    pub(crate) reserved_18b: [u8; 21],
    pub(crate) chip_id: [u8; 64],
    pub(crate) committed_tcb: [u8; 8],
    /// Build, minor, major.
    pub(crate) current_version: [u8; 3],
    pub(crate) reserved_1eb: u8,
    pub(crate) committed_version: [u8; 3],
    pub(crate) reserved_1ef: u8,
    pub(crate) launch_tcb: [u8; 8],
    /// From version 5.
    pub(crate) launch_mitigations: U64,
    /// From version 5.
    pub(crate) current_mitigations: U64,
    pub(crate) reserved_208: [u8; 152],
    pub(crate) signature: SignatureLayout,
}

/// Chapter 10, the signature format of ECDSA P-384 with SHA-384.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct SignatureLayout {
    /// Little-endian.
    pub(crate) r: [u8; 48],
    pub(crate) r_zero: [u8; 24],
    /// Little-endian.
    pub(crate) s: [u8; 48],
    pub(crate) s_zero: [u8; 24],
    pub(crate) reserved: [u8; 368],
}

const _: () = assert!(size_of::<ReportLayout>() == crate::REPORT_LEN);
const _: () = assert!(size_of::<SignatureLayout>() == 512);
const _: () = assert!(offset_of!(ReportLayout, signature) == crate::SIGNED_LEN);
const _: () = assert!(offset_of!(ReportLayout, report_data) == 0x50);
const _: () = assert!(offset_of!(ReportLayout, reported_tcb) == 0x180);
const _: () = assert!(offset_of!(ReportLayout, chip_id) == 0x1a0);
const _: () = assert!(offset_of!(ReportLayout, launch_tcb) == 0x1f0);
const _: () = assert!(offset_of!(ReportLayout, reserved_208) == 0x208);
