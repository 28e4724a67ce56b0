// SPDX-License-Identifier: MIT
//! Why bytes are not a report.

use core::fmt;

/// Bytes that are no attestation report of a known version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A report has [`crate::REPORT_LEN`] bytes.
    Length {
        /// Bytes given.
        found: usize,
    },
    /// The version is none of 2, 3 and 5.
    Version {
        /// The version named.
        found: u32,
    },
    /// The signature algorithm is not 1, ECDSA P-384 with SHA-384.
    SignatureAlgorithm {
        /// The algorithm named.
        found: u32,
    },
    /// The key selector is one of the reserved values 2 to 6.
    SigningKey {
        /// The selector.
        found: u8,
    },
    /// The privilege level is neither 0 to 3 nor the host's mark.
    Vmpl {
        /// The level named.
        found: u32,
    },
    /// Bits or bytes that must be zero are not, or a bit that must be one is zero.
    Reserved {
        /// The field they are in.
        field: &'static str,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => {
                write!(f, "a report has {} bytes, not {found}", crate::REPORT_LEN)
            }
            Self::Version { found } => {
                write!(f, "report version {found}; versions 2, 3 and 5 are known")
            }
            Self::SignatureAlgorithm { found } => {
                write!(f, "signature algorithm {found}; 1 (ECDSA P-384 with SHA-384) is known")
            }
            Self::SigningKey { found } => write!(f, "signing key selector {found} is reserved"),
            Self::Vmpl { found } => write!(f, "privilege level {found:#x} does not exist"),
            Self::Reserved { field } => write!(f, "reserved bits in {field} are set wrongly"),
        }
    }
}

impl core::error::Error for Malformed {}
