// SPDX-License-Identifier: MIT
//! The machine's root of trust: what signs for this enclave, and keeps keys for it.

use alloc::vec::Vec;

/// Bytes of the data that a report vouches for.
pub const REPORT_DATA_LEN: usize = 64;
/// Bytes of a derived key.
pub const DERIVED_KEY_LEN: usize = 32;

/// A security processor that knows what was launched: of AMD SEV-SNP (AMD 56860, *SEV Secure Nested
/// Paging Firmware ABI Specification*, chapter 7, guest messages).
///
/// A request is answered before the call returns: the processor that asks does nothing else. What a
/// program may ask for is the kernel's business; a machine passes on what it is given.
pub trait SecurityProcessor: Send + Sync {
    /// A report with the requested data in it, signed.
    ///
    /// # Errors
    ///
    /// [`SecurityError`], and nothing of a report.
    fn report(&self, request: &ReportRequest) -> Result<Report, SecurityError>;

    /// A key that depends on the chip and on what the request mixes in.
    ///
    /// # Errors
    ///
    /// [`SecurityError`], and no key.
    fn derive_key(&self, request: &KeyRequest) -> Result<[u8; DERIVED_KEY_LEN], SecurityError>;
}

/// What vouches for this enclave where no report of a processor does: it collects claims about the
/// enclave and signs them (RFC 9334, section 3.1). A trusted application of OP-TEE has one, of which
/// its program is a part.
pub trait AttestingEnvironment: Send + Sync {
    /// Evidence with this data in it: a token, in the form that its verifier knows.
    ///
    /// # Errors
    ///
    /// [`SecurityError`], and nothing of a token.
    fn token(&self, data: &[u8; REPORT_DATA_LEN]) -> Result<Vec<u8>, SecurityError>;
}

/// What a report is to say (56860, `MSG_REPORT_REQ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportRequest {
    /// The data that the report repeats.
    pub data: [u8; REPORT_DATA_LEN],
    /// The virtual machine privilege level that the report names.
    pub vmpl: u32,
    /// Which key signs (`KEY_SEL`): 0 for the processor's choice, 1 for the VCEK, 2 for the VLEK.
    pub key_selection: u32,
    /// Whether the certificates that the host has for the report are wanted too.
    pub certificates: bool,
}

/// What the security processor answered to a [`ReportRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The signed report.
    pub bytes: Vec<u8>,
    /// The table of certificates that the host gave, unverified; empty when there is none, or when
    /// none was asked for.
    pub certificates: Vec<u8>,
}

/// What a derived key depends on (56860, `MSG_KEY_REQ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    /// Which root key, and which signing key (`ROOT_KEY_SELECT` and `KEY_SEL`).
    pub root_key: u32,
    /// Which fields of the launch are mixed in (`GUEST_FIELD_SELECT`).
    pub fields: u64,
    /// The privilege level that is mixed in.
    pub vmpl: u32,
    /// The guest's security version, at most that of its launch.
    pub guest_svn: u32,
    /// The version of the platform, at most the committed one.
    pub tcb_version: u64,
}

/// Why the security processor gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityError {
    /// It refused the request, with a status of its own (56860, `STATUS` of the response).
    Refused(u32),
    /// The host asks to come again later, or did not deliver the message.
    Busy,
    /// Its answer was not authentic, or not the answer to the request. The channel is closed for
    /// good: to send another message would use a key with a number twice.
    Broken,
}
