// SPDX-License-Identifier: MIT
//! Evidence: what a trusted execution environment says about itself, as types and bytes.
//!
//! [`Report`] is the attestation report of AMD SEV-SNP. The enclave reads it from its firmware,
//! the software firmware of the simulation writes it, and the verifier judges it; all three use
//! this codec. It knows layouts only: whether a report is genuine or good enough is the
//! verifier's business.
//!
//! All layouts are AMD's *SEV Secure Nested Paging Firmware ABI Specification*, document 56860,
//! revision 1.58; items name section or table of that revision.
//!
//! ```
//! use strongroom_evidence::{Malformed, Report};
//!
//! let refused = Report::parse(b"no report").unwrap_err();
//! assert_eq!(refused, Malformed::Length { found: 9 });
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod certificate_table;
mod flags;
mod layout;
mod malformed;
mod report;
mod signature;
mod tcb;

pub use certificate_table::{
    BadTable, CERTIFICATE_TABLE_LEN_MAX, CertificateKind, CertificateTable,
};
pub use flags::{GuestPolicy, KeyInfo, PlatformInfo, SigningKey};
pub use malformed::Malformed;
pub use report::{Cpu, Extension, FirmwareVersion, Report, Vmpl};
pub use signature::Signature;
pub use tcb::{TcbBytes, TcbLayout, TcbVersion};

/// Length of an attestation report in bytes (table 23).
pub const REPORT_LEN: usize = 0x4a0;

/// The signature covers this many bytes from the start of the report (table 23).
pub const SIGNED_LEN: usize = 0x2a0;
