// SPDX-License-Identifier: MIT
//! Why evidence was not believed.

use crate::{Hex, KeyKind, Part, ProductLine};
use std::fmt;
use strongroom_evidence::Malformed;
use strongroom_token::BadToken;
use thiserror::Error;
use uuid::Uuid;

/// A certificate or list among the endorsements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// AMD's root key (ARK).
    Root,
    /// The key between the root and the chip's (ASK or ASVK).
    Issuer,
    /// The key that signs reports (VCEK or VLEK).
    ReportKey,
    /// The list of revoked certificates.
    RevocationList,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root certificate",
            Self::Issuer => "issuer certificate",
            Self::ReportKey => "certificate of the report key",
            Self::RevocationList => "revocation list",
        })
    }
}

/// The first check that failed, with what it expected and what it found.
///
/// All values come from evidence, endorsements and policy, which are public.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The report cannot be read.
    #[error("report: {0}")]
    Report(#[from] Malformed),
    /// A version of the trusted computing base in the report cannot be read.
    #[error("report: {field} TCB: {malformed}")]
    ReportTcb {
        /// Which of the four.
        field: &'static str,
        /// What is wrong with it.
        malformed: Malformed,
    },
    /// An endorsement cannot be read.
    #[error("{link}: cannot be read: {reason}")]
    Unreadable {
        /// Which.
        link: Link,
        /// What the parser says.
        reason: String,
    },
    /// An endorsement's signature does not verify under the key above it.
    #[error("{link}: signature does not verify")]
    Signature {
        /// Which.
        link: Link,
    },
    /// An endorsement bears the wrong name, or names the wrong issuer.
    #[error("{link}: {field}: expected {expected}, found {found}")]
    Name {
        /// Which.
        link: Link,
        /// `subject` or `issuer`.
        field: &'static str,
        /// The name it should have.
        expected: String,
        /// The name it has.
        found: String,
    },
    /// A certificate is not for what it is used for: key type, usage, or basic constraints.
    #[error("{link}: expected {expected}")]
    Purpose {
        /// Which.
        link: Link,
        /// What it should be for.
        expected: &'static str,
    },
    /// A critical extension that this verifier does not know.
    #[error("{link}: critical extension {oid} is not known")]
    CriticalExtension {
        /// Which.
        link: Link,
        /// The extension's object identifier.
        oid: String,
    },
    /// Used before its time. Seconds since 1970.
    #[error("{link}: valid from {not_before}, and it is {now}")]
    NotYetValid {
        /// Which.
        link: Link,
        /// First second of validity.
        not_before: u64,
        /// The time given.
        now: u64,
    },
    /// Used after its time. Seconds since 1970.
    #[error("{link}: valid until {not_after}, and it is {now}")]
    Expired {
        /// Which.
        link: Link,
        /// Last second of validity.
        not_after: u64,
        /// The time given.
        now: u64,
    },
    /// The root revoked a certificate.
    #[error("{link}: serial number {serial} is revoked")]
    Revoked {
        /// Which.
        link: Link,
        /// Its serial number, hexadecimal.
        serial: String,
    },
    /// The root's key is not AMD's, and the policy does not accept it in so many words.
    #[error(
        "root certificate: key {key_sha256} is not AMD's; only insecure_accept_simulated_roots \
         would accept it"
    )]
    SimulatedRoot {
        /// SHA-256 of the key, hexadecimal.
        key_sha256: String,
    },
    /// One of AMD's extensions of the report key's certificate is missing or unreadable.
    #[error("certificate of the report key: extension {name} is missing or unreadable")]
    ChipExtension {
        /// Which.
        name: &'static str,
    },
    /// The report key's certificate is for another product than the chain.
    #[error("certificate of the report key: product: expected {expected}, found {found}")]
    Product {
        /// The chain's product line.
        expected: ProductLine,
        /// The product that the certificate names.
        found: String,
    },
    /// Nobody signed the report.
    #[error("report: not signed")]
    Unsigned,
    /// The report names another kind of key than the certificate is for.
    #[error("report: signing key: expected {expected}, found {found}")]
    SigningKey {
        /// The certificate's kind.
        expected: KeyKind,
        /// The report's.
        found: KeyKind,
    },
    /// The report's signature does not verify.
    #[error("report: signature does not verify")]
    ReportSignature,
    /// The host asked for the report, and so chose its report data.
    #[error("report: requested by the host, not by the guest")]
    HostRequested,
    /// The report names a processor of another product line than the chain.
    #[error("report: processor: expected {expected}, found {found}")]
    Processor {
        /// The chain's product line.
        expected: ProductLine,
        /// Family and model, or the line they belong to.
        found: String,
    },
    /// The report is not from the chip that the certificate is for.
    #[error("report: chip: expected {expected}, found {found}")]
    Chip {
        /// The certificate's, hexadecimal.
        expected: String,
        /// The report's, hexadecimal.
        found: String,
    },
    /// The report names another version of a part than the certificate is for.
    #[error("report: reported TCB: {part}: expected {expected}, found {found}")]
    ReportedTcb {
        /// Which part.
        part: Part,
        /// The certificate's.
        expected: u8,
        /// The report's.
        found: u8,
    },
    /// The token cannot be read.
    #[error("token: {0}")]
    Token(#[from] BadToken),
    /// The token names another identity key than was enrolled.
    #[error("token: identity key: expected {expected}, found {found}")]
    IdentityKey {
        /// The enrolled one.
        expected: Hex<32>,
        /// The token's.
        found: Hex<32>,
    },
    /// The identity key's signature does not verify.
    #[error("token: signature does not verify")]
    TokenSignature,
    /// The token is of another trusted application than was enrolled.
    #[error("token: trusted application: expected {expected}, found {found}")]
    TrustedApplication {
        /// The enrolled one.
        expected: Uuid,
        /// The token's.
        found: Uuid,
    },
    /// The device's signature of the application's memory does not verify.
    #[error("token: memory hash: signature does not verify")]
    MemorySignature,
    /// The device was enrolled as simulated, and the policy does not accept it in so many words.
    #[error(
        "enrolment: the device of identity key {key_sha256} is simulated; only \
         insecure_accept_simulated_roots would accept it"
    )]
    SimulatedDevice {
        /// SHA-256 of the identity key, hexadecimal.
        key_sha256: String,
    },
    /// All is genuine, but not what the policy asks for.
    #[error("policy: {key}: expected {expected}, found {found}")]
    Policy {
        /// The policy's key, with its tables.
        key: String,
        /// What the policy asks for.
        expected: String,
        /// What there is.
        found: String,
    },
}

impl Refusal {
    /// Whether something was no report, certificate or list at all, so that nothing was judged.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { .. }
                | Self::Report(Malformed::Length { .. })
                | Self::Token(BadToken::TooLong | BadToken::Envelope)
        )
    }
}
