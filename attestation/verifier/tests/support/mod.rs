// SPDX-License-Identifier: MIT
//! A policy to change one key of, and a simulated machine to change one fact of.

#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy knows functions of tests, but not what they share"
)]
#![allow(unreachable_pub, reason = "a module of several test programs")]

pub use strongroom_attestation_testing::machine::{MILAN, Machine, NOW, TURIN, policy_text};

use strongroom_verifier::{Endorsements, Policy, PolicyError, Refusal, SnpClaims, verify_report};
use toml::{Table, Value};

/// The policy as a table.
pub fn policy_table() -> Table {
    policy_text().parse().unwrap()
}

/// The table that holds `key` ("snp.guest_policy.debug"), and the key's last part.
pub fn table_of<'t, 'k>(table: &'t mut Table, key: &'k str) -> (&'t mut Table, &'k str) {
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let parts = path.split('.').filter(|part| !part.is_empty());
    let inner = parts.fold(table, |table, part| table[part].as_table_mut().unwrap());
    (inner, last)
}

/// The policy with one key set to `value`.
pub fn policy_with(key: &str, value: impl Into<Value>) -> Policy {
    let mut table = policy_table();
    let (inner, last) = table_of(&mut table, key);
    assert!(inner.insert(last.to_owned(), value.into()).is_some(), "{key} is new");
    parse(&table).unwrap().with_report_data([3; 64])
}

/// The policy as it is.
pub fn policy() -> Policy {
    parse(&policy_table()).unwrap().with_report_data([3; 64])
}

/// Reads a table as a policy.
pub fn parse(table: &Table) -> Result<Policy, PolicyError> {
    Policy::from_toml(&toml::to_string(table).unwrap())
}

/// What the verifier says to a machine.
pub trait Verified {
    /// Signs the report and has it verified.
    fn verify(&self, policy: &Policy) -> Result<SnpClaims, Refusal>;

    /// Has `report` verified with the machine's certificates.
    fn verify_bytes(&self, report: &[u8], policy: &Policy) -> Result<SnpClaims, Refusal>;

    /// The machine's certificates.
    fn endorsements<'a>(&'a self, report_key: &'a [u8]) -> Endorsements<'a>;
}

impl Verified for Machine {
    fn verify(&self, policy: &Policy) -> Result<SnpClaims, Refusal> {
        self.verify_bytes(&self.chip.sign(&self.report), policy)
    }

    fn verify_bytes(&self, report: &[u8], policy: &Policy) -> Result<SnpClaims, Refusal> {
        let report_key = self.report_key();
        let endorsements = self.endorsements(&report_key);
        verify_report(report, &endorsements, policy, NOW)
    }

    fn endorsements<'a>(&'a self, report_key: &'a [u8]) -> Endorsements<'a> {
        Endorsements {
            root: &self.authority.root_certificate,
            issuer: self.issuer(),
            report_key,
            revocation_list: self.revocation_list.as_deref(),
        }
    }
}

/// The key of the policy whose check refuses.
pub fn refused_key<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    let refusal = outcome.unwrap_err();
    let Refusal::Policy { key, expected, found } = refusal else { panic!("{refusal}") };
    assert_ne!(expected, found);
    key
}
