// SPDX-License-Identifier: MIT
//! Decides whether evidence is to be believed.
//!
//! A pure function: evidence, endorsements, a policy and the time go in; [`Claims`] or a
//! [`Refusal`] that names the failed check come out. Nothing here reads a file, a socket or a
//! clock.
//!
//! - [`Endorsements`]: the certificates that evidence is checked with, and AMD's own.
//! - [`CachedChain`]: the same after their signatures were checked, for many reports.
//! - [`Enrolment`]: the keys of a trusted application and its device.
//! - [`Policy`]: what is asked for; `docs/attestation.md` has the reference.
//!
//! A check is dropped only where the policy says `"skip"`. Whether evidence is genuine (its
//! signature, its chain to AMD or the enrolled key, its chip) cannot be dropped at all; a root of
//! somebody else's, or a simulated device, is accepted only in so many words.
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
mod enrolment;
mod genuine;
mod genuine_token;
mod judge;
mod policy;
mod policy_error;
mod product;
mod reason;
mod refusal;
mod rule;

pub use chain::{AmdCertificates, CachedChain, Endorsements, Root, decode_certificates};
pub use claims::{
    Claims, GuestPolicyClaims, Insecure, OpteeClaims, PlatformInfoClaims, SnpClaims, TcbClaims,
    TcbParts,
};
pub use enrolment::{AttestationKey, BadEnrolment, ENROLMENT_VERSION, Enrolment, Platform};
pub use policy::{POLICY_VERSION, Policy};
pub use policy_error::PolicyError;
pub use product::{KeyKind, Part, ProductLine};
pub use reason::Reason;
pub use refusal::{Link, Refusal};
pub use rule::{Hex, Version};

/// Verifies an attestation report of AMD SEV-SNP, as the firmware made it, at the time `now`, in
/// seconds since 1970.
///
/// # Errors
/// The first check that failed.
///
/// # Examples
///
/// ```
/// use strongroom_verifier::{AmdCertificates, Endorsements, Policy, Refusal, SnpClaims};
///
/// fn may_have_secret(
///     report: &[u8],
///     vcek: &[u8],
///     policy: Policy,
///     nonce: [u8; 64],
///     now: u64,
/// ) -> Result<SnpClaims, Refusal> {
///     let amd = AmdCertificates::for_report_key(vcek)?;
///     let endorsements = Endorsements {
///         root: &amd.root,
///         issuer: &amd.issuer,
///         report_key: vcek,
///         revocation_list: None,
///     };
///     let policy = policy.with_report_data(nonce);
///     strongroom_verifier::verify_report(report, &endorsements, &policy, now)
/// }
/// ```
pub fn verify_report(
    report: &[u8],
    endorsements: &Endorsements<'_>,
    policy: &Policy,
    now: u64,
) -> Result<SnpClaims, Refusal> {
    verify_report_with_chain(report, &CachedChain::check(endorsements, now)?, policy, now)
}

/// Verifies a report under a chain that was checked before. How long before, the policy's
/// `max_chain_age_s` limits; validity times are looked at anew.
///
/// # Errors
/// The first check that failed.
///
/// # Examples
///
/// ```
/// use strongroom_verifier::{CachedChain, Policy, Refusal, verify_report_with_chain};
///
/// /// How many of `reports`, all of one chip, are good.
/// fn count(reports: &[&[u8]], chain: &CachedChain, policy: &Policy, now: u64) -> usize {
///     let verdicts =
///         reports.iter().map(|report| verify_report_with_chain(report, chain, policy, now));
///     verdicts.filter(Result::is_ok).count()
/// }
/// ```
pub fn verify_report_with_chain(
    report: &[u8],
    chain: &CachedChain,
    policy: &Policy,
    now: u64,
) -> Result<SnpClaims, Refusal> {
    chain.check_validity(now)?;
    let mut claims = genuine::check(report, chain)?;
    judge::check_report(policy, chain, now, &mut claims)?;
    Ok(claims)
}

/// Verifies a token, the evidence of a trusted application, under the keys that were enrolled for it.
/// Neither has a time in it: only the nonce makes a token fresh.
///
/// # Errors
/// The first check that failed.
///
/// # Examples
///
/// ```
/// use strongroom_verifier::{Enrolment, OpteeClaims, Policy, Refusal};
///
/// fn may_have_secret(
///     token: &[u8],
///     enrolment: &Enrolment,
///     policy: Policy,
///     nonce: [u8; 64],
/// ) -> Result<OpteeClaims, Refusal> {
///     strongroom_verifier::verify_token(token, enrolment, &policy.with_report_data(nonce))
/// }
/// ```
pub fn verify_token(
    token: &[u8],
    enrolment: &Enrolment,
    policy: &Policy,
) -> Result<OpteeClaims, Refusal> {
    let mut claims = genuine_token::check(token, enrolment)?;
    judge::check_token(policy, &mut claims)?;
    Ok(claims)
}
