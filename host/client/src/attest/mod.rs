// SPDX-License-Identifier: MIT
//! Decides whether evidence in files is to be believed, and gets what that takes.
//!
//! - [`Question`]: a policy, a nonce and [`EvidenceFiles`] in; a [`Verdict`] out.
//! - [`Attachment`]: an attested session with an enclave, over which an owner starts its program.
//! - [`fetch_chain`]: the certificates that belong to a report, from a folder or a service, into a
//!   [`ChainCache`].
//!
//! Whether evidence is good is decided by `strongroom-verifier`, which reads no file and no clock;
//! here is what it has to be given.

mod appraisal;
mod chain;
mod error;
mod fetch;
mod files;
mod secrets;
mod session;
mod verdict;

#[cfg(test)]
mod tests;

pub use appraisal::Appraisal;
pub use chain::{ChainCache, ReportKeyName};
pub use error::AttestError;
pub use fetch::{Fetched, Source, fetch_chain};
pub use files::{EndorsementFiles, EvidenceFiles, ReportKeyFile};
pub use secrets::{read_key, read_secret};
pub use session::{
    Attachment, Brings, ServiceConnection, ServiceReader, ServiceWriter, generate_key,
    random_challenge,
};
pub use verdict::{Question, Verdict, parse_nonce};
