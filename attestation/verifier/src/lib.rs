// SPDX-License-Identifier: MIT
//! Decides whether evidence is to be believed.
//!
//! A pure function: evidence, endorsements, a policy and the time go in; [`Claims`] or a
//! [`Refusal`] that names the failed check come out. Nothing here reads a file, a socket or a
//! clock.
//!
//! - [`Endorsements`]: the certificates that evidence is checked with, and AMD's own.
//! - [`CachedChain`]: the same after their signatures were checked, for many reports.
//! - [`Policy`]: what is asked for; `docs/attestation.md` has the reference.
//!
//! A check is dropped only where the policy says `"skip"`. Whether the report is genuine (its
//! signature, its chain to AMD, its chip) cannot be dropped at all; a root of somebody else's is
//! accepted only in so many words.
//!
//! ```
//! use strongroom_verifier::{Policy, PolicyError};
//!
//! let empty: Result<Policy, PolicyError> = Policy::from_toml("");
//! assert_eq!(empty.unwrap_err().to_string(), "missing field `version`");
//! ```
#![forbid(unsafe_code)]

mod amd_certificates;
mod certificate;
mod chain;
mod claims;
mod genuine;
mod judge;
mod policy;
mod policy_error;
mod product;
mod reason;
mod refusal;
mod rule;

pub use chain::{AmdCertificates, CachedChain, Endorsements, Root, decode_certificates};
pub use claims::{Claims, GuestPolicyClaims, Insecure, PlatformInfoClaims, TcbClaims, TcbParts};
pub use policy::{POLICY_VERSION, Policy};
pub use policy_error::PolicyError;
pub use product::{KeyKind, Part, ProductLine};
pub use reason::Reason;
pub use refusal::{Link, Refusal};
pub use rule::{Hex, Version};

/// What an enclave, or somebody who claims to be one, sent.
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'a> {
    /// An attestation report of AMD SEV-SNP, as the firmware made it.
    SnpReport(&'a [u8]),
}

/// Verifies `evidence` at the time `now`, in seconds since 1970.
///
/// # Errors
/// The first check that failed.
///
/// # Examples
///
/// ```
/// use strongroom_verifier::{AmdCertificates, Claims, Endorsements, Evidence, Policy, Refusal};
///
/// fn may_have_secret(
///     report: &[u8],
///     vcek: &[u8],
///     policy: Policy,
///     nonce: [u8; 64],
///     now: u64,
/// ) -> Result<Claims, Refusal> {
///     let amd = AmdCertificates::for_report_key(vcek)?;
///     let endorsements = Endorsements {
///         root: &amd.root,
///         issuer: &amd.issuer,
///         report_key: vcek,
///         revocation_list: None,
///     };
///     let policy = policy.with_report_data(nonce);
///     strongroom_verifier::verify(&Evidence::SnpReport(report), &endorsements, &policy, now)
/// }
/// ```
pub fn verify(
    evidence: &Evidence<'_>,
    endorsements: &Endorsements<'_>,
    policy: &Policy,
    now: u64,
) -> Result<Claims, Refusal> {
    verify_with_chain(evidence, &CachedChain::check(endorsements, now)?, policy, now)
}

/// Verifies `evidence` under a chain that was checked before. How long before, the policy's
/// `max_chain_age_s` limits; validity times are looked at anew.
///
/// # Errors
/// The first check that failed.
///
/// # Examples
///
/// ```
/// use strongroom_verifier::{CachedChain, Evidence, Policy, Refusal, verify_with_chain};
///
/// /// How many of `reports`, all of one chip, are good.
/// fn count(reports: &[&[u8]], chain: &CachedChain, policy: &Policy, now: u64) -> usize {
///     let verdicts = reports.iter().map(|report| {
///         verify_with_chain(&Evidence::SnpReport(report), chain, policy, now)
///     });
///     verdicts.filter(Result::is_ok).count()
/// }
/// ```
pub fn verify_with_chain(
    evidence: &Evidence<'_>,
    chain: &CachedChain,
    policy: &Policy,
    now: u64,
) -> Result<Claims, Refusal> {
    chain.check_validity(now)?;
    let Evidence::SnpReport(report) = evidence;
    let mut claims = genuine::check(report, chain)?;
    judge::check(policy, chain, now, &mut claims)?;
    Ok(claims)
}
