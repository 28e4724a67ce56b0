// SPDX-License-Identifier: MIT
//! Why a question about evidence could not be decided.

use std::io;
use std::path::PathBuf;
use strongroom_session::BadKey;
use strongroom_verifier::{KeyKind, PolicyError, Refusal};

/// Why there is no verdict, or nothing was fetched. One sentence each; [`AttestError::hint`] says
/// more.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The host's system said no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A file is over its limit.
    #[error("{path} has over {limit} bytes, too many for {what}")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Most bytes.
        limit: usize,
    },
    /// A file has no key of an owner or a client in it.
    #[error("{} is {bad}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is in it.
        bad: BadKey,
    },
    /// A policy that is none.
    #[error("{}:{error}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Where, and what is allowed there.
        error: PolicyError,
    },
    /// The policy compares the report data, and there is nothing to compare with.
    #[error("the policy has report_data = \"given\", and no nonce was given")]
    NoNonce,
    /// The policy would not look at the nonce that was given.
    #[error("a nonce was given, but the policy does not compare it")]
    NonceIgnored,
    /// A file holds something else than it should.
    #[error("{path} is no {what}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// No certificate of the key that signed the report.
    #[error("no certificate of the key that signed the report was given, and none is in the cache")]
    NoReportKey,
    /// A token, and nothing that vouches for its key.
    #[error("the token of a trusted application has no certificate, and no enrolment was given")]
    NoEnrolment,
    /// The certificate is for the other kind of key.
    #[error("{path} is given as the certificate of a {given}, and is not one")]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it was given as.
        given: KeyKind,
    },
    /// The report does not say what product line it is from.
    #[error("a report of version 2 does not name its processor")]
    NoProductLine,
    /// The report names another product line than the caller.
    #[error("the report is not from the product line given")]
    OtherProductLine,
    /// A report whose certificate no service has.
    #[error("the report is signed with a {0}, whose certificate no service hands out")]
    NotFetchable(&'static str),
    /// The source does not have it.
    #[error("{0} is not there")]
    NotThere(String),
    /// The service could not be asked.
    #[error("cannot fetch {url}: {reason}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A session that came to nothing.
    #[error("no session with the enclave: {0}")]
    Session(String),
    /// What was fetched makes no chain.
    #[error("what {from} has makes no chain: {refusal}")]
    BadChain {
        /// The source.
        from: String,
        /// The check that failed.
        refusal: Refusal,
    },
}

impl AttestError {
    /// What the user can do about it, where that is not plain.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Policy { .. } => {
                Some("every key is mandatory, and \"skip\" drops a check; see docs/attestation.md")
            }
            Self::NoNonce => Some("give --nonce, or write report_data = \"skip\" into the policy"),
            Self::NonceIgnored => Some("write report_data = \"given\" into the policy"),
            Self::NoReportKey => Some(
                "give --vcek, --vlek or --certificates, or fill the cache with: strongroom fetch-chain",
            ),
            Self::NoEnrolment => {
                Some("give --enrolment with the file that strongroom enroll has made")
            }
            Self::OtherKind { .. } => Some("give a VCEK with --vcek and a VLEK with --vlek"),
            Self::NoProductLine => Some("give --product-line Milan, Genoa or Turin"),
            Self::NotFetchable(_) => {
                Some("the host has a VLEK's certificate: give it to verify, with --vlek")
            }
            Self::NotThere(_) => Some(
                "a folder has the service's paths, for example vcek/v1/Milan/cert_chain below it",
            ),
            Self::Session(_) => {
                Some("is the program waiting? it starts once, and then nobody can attach any more")
            }
            Self::Io { .. }
            | Self::Key { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. }
            | Self::OtherProductLine
            | Self::Fetch { .. }
            | Self::BadChain { .. } => None,
        }
    }

    /// For `map_err`: an I/O error with its file.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
