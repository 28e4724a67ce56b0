// SPDX-License-Identifier: MIT
//! A refusal in parts, for programs that read it.

use crate::{Link, Refusal};
use serde::Serialize;

/// Which check failed, what it expected and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The check: a key of the policy, or `report.…`, `token.…`, `root.…`, `issuer.…`, `report_key.…`,
    /// `revocation_list.…`, `enrolment.…` for those that no policy drops.
    pub check: String,
    /// What it expected, where that can be said.
    pub expected: Option<String>,
    /// What it found, where that can be said.
    pub found: Option<String>,
    /// All of it as a sentence.
    pub message: String,
}

impl Link {
    /// The first part of the names of its checks.
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuer => "issuer",
            Self::ReportKey => "report_key",
            Self::RevocationList => "revocation_list",
        }
    }
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        let check = check(refusal);
        let (expected, found) = values(refusal);
        Self { check, expected, found, message: refusal.to_string() }
    }
}

fn check(refusal: &Refusal) -> String {
    let of = |link: &Link, what: &str| format!("{}.{what}", link.name());
    match refusal {
        Refusal::Report(_) => "report.format".to_owned(),
        Refusal::ReportTcb { field, .. } => format!("report.{field}_tcb"),
        Refusal::Unreadable { link, .. } => of(link, "format"),
        Refusal::Signature { link } => of(link, "signature"),
        Refusal::Name { link, field, .. } => of(link, field),
        Refusal::Purpose { link, .. } => of(link, "purpose"),
        Refusal::CriticalExtension { link, .. } => of(link, "critical_extension"),
        Refusal::NotYetValid { link, .. } | Refusal::Expired { link, .. } => of(link, "validity"),
        Refusal::Revoked { link, .. } => of(link, "revocation"),
        Refusal::SimulatedRoot { .. } => "root.key".to_owned(),
        Refusal::ChipExtension { name } => format!("report_key.{}", name.replace(' ', "_")),
        Refusal::Product { .. } => "report_key.product".to_owned(),
        Refusal::Unsigned | Refusal::SigningKey { .. } => "report.signing_key".to_owned(),
        Refusal::ReportSignature => "report.signature".to_owned(),
        Refusal::HostRequested => "report.vmpl".to_owned(),
        Refusal::Processor { .. } => "report.processor".to_owned(),
        Refusal::Chip { .. } => "report.chip_id".to_owned(),
        Refusal::ReportedTcb { part, .. } => format!("report.reported_tcb.{part}"),
        Refusal::Token(_) => "token.format".to_owned(),
        Refusal::IdentityKey { .. } => "token.identity_key".to_owned(),
        Refusal::TokenSignature => "token.signature".to_owned(),
        Refusal::TrustedApplication { .. } => "token.ta_uuid".to_owned(),
        Refusal::MemorySignature => "token.memory_signature".to_owned(),
        Refusal::SimulatedDevice { .. } => "enrolment.platform".to_owned(),
        Refusal::Policy { key, .. } => key.clone(),
    }
}

/// What was expected and what was found.
fn values(refusal: &Refusal) -> (Option<String>, Option<String>) {
    let both = |expected: &dyn ToString, found: &dyn ToString| {
        (Some(expected.to_string()), Some(found.to_string()))
    };
    match refusal {
        Refusal::Report(malformed) | Refusal::ReportTcb { malformed, .. } => {
            (None, Some(malformed.to_string()))
        }
        Refusal::Unreadable { reason, .. } => (None, Some(reason.clone())),
        Refusal::Name { expected, found, .. }
        | Refusal::Chip { expected, found }
        | Refusal::Policy { expected, found, .. } => both(expected, found),
        Refusal::Purpose { expected, .. } => (Some((*expected).to_owned()), None),
        Refusal::CriticalExtension { oid, .. } => (None, Some(oid.clone())),
        Refusal::NotYetValid { not_before, now, .. } => both(&format!("from {not_before}"), now),
        Refusal::Expired { not_after, now, .. } => both(&format!("until {not_after}"), now),
        Refusal::Revoked { serial, .. } => (None, Some(serial.clone())),
        Refusal::SimulatedRoot { key_sha256 } => both(&"a key of AMD's", key_sha256),
        Refusal::Product { expected, found } | Refusal::Processor { expected, found } => {
            both(expected, found)
        }
        Refusal::Unsigned => both(&"a signature", &"none"),
        Refusal::SigningKey { expected, found } => both(expected, found),
        Refusal::HostRequested => both(&"the guest", &"the host"),
        Refusal::ReportedTcb { expected, found, .. } => both(expected, found),
        Refusal::Token(bad) => (None, Some(bad.to_string())),
        Refusal::IdentityKey { expected, found } => both(expected, found),
        Refusal::TrustedApplication { expected, found } => both(expected, found),
        Refusal::SimulatedDevice { key_sha256 } => {
            both(&"a device", &format!("a simulation, {key_sha256}"))
        }
        Refusal::Signature { .. }
        | Refusal::ChipExtension { .. }
        | Refusal::ReportSignature
        | Refusal::TokenSignature
        | Refusal::MemorySignature => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Part;

    #[test]
    fn checks_have_names_and_values() {
        let refusal = Refusal::ReportedTcb { part: Part::Snp, expected: 24, found: 23 };
        let reason = Reason::from(&refusal);
        assert_eq!(reason.check, "report.reported_tcb.snp");
        assert_eq!(reason.expected.as_deref(), Some("24"));
        assert_eq!(reason.found.as_deref(), Some("23"));
        assert_eq!(reason.message, refusal.to_string());

        let refusal = Refusal::Expired { link: Link::ReportKey, not_after: 7, now: 8 };
        let reason = Reason::from(&refusal);
        assert_eq!(reason.check, "report_key.validity");
        assert_eq!(reason.expected.as_deref(), Some("until 7"));
    }
}
