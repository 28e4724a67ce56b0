// SPDX-License-Identifier: MIT
//! What is asked of an enclave's evidence.

use super::AttestError;
use std::path::{Path, PathBuf};
use strongroom_verifier::Policy;

/// Most bytes of a policy file.
const POLICY_MAX: usize = 1 << 20;
/// What is asked by who does not ask what runs.
const ANY_ENCLAVE: &str = include_str!("any-enclave.toml");

/// What an enclave has to be for a client to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appraisal {
    /// What the policy in this file says; its `report_data` has to be `"given"`.
    Policy(PathBuf),
    /// Anything whose evidence is genuine and covers the session's keys: any program, also one of the
    /// host's own, and a guest that the host may debug.
    InsecureAnyEnclave,
}

impl Appraisal {
    /// The policy.
    pub(super) fn read(&self, accept_simulated: bool) -> Result<Policy, AttestError> {
        match self {
            Self::Policy(path) => read_policy(path, accept_simulated),
            Self::InsecureAnyEnclave => {
                parse(ANY_ENCLAVE, Path::new("any enclave"), accept_simulated)
            }
        }
    }
}

/// The policy in a file.
pub(super) fn read_policy(path: &Path, accept_simulated: bool) -> Result<Policy, AttestError> {
    let bytes = super::chain::read(path, "a policy", POLICY_MAX)?;
    let text = String::from_utf8(bytes).map_err(|error| AttestError::Unreadable {
        path: path.to_path_buf(),
        what: "policy",
        reason: error.to_string(),
    })?;
    parse(&text, path, accept_simulated)
}

fn parse(text: &str, path: &Path, accept_simulated: bool) -> Result<Policy, AttestError> {
    let policy = Policy::from_toml(text)
        .map_err(|error| AttestError::Policy { path: path.to_path_buf(), error })?;
    Ok(match accept_simulated {
        true => policy.insecure_accept_any_simulated_root(),
        false => policy,
    })
}
