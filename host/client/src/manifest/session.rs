// SPDX-License-Identifier: MIT
//! The section `[session]`: who starts the program, and what that client may bring along.

use super::Workload;
use super::parse::{Complaint, RawSession, checked, parsed_list};
use super::values::check_variable;
use std::ops::Range;
use strongroom_session::{PublicKey, SECRET_NAME_MAX, is_secret_name};
use strongroom_wire::boot::SessionTerms;
use toml::Spanned;

/// Most owners, late variables or secrets.
const ENTRIES_MAX: usize = 64;

/// The terms of a session with `workload`.
pub(super) fn terms(
    raw: Spanned<RawSession>,
    workload: &Workload,
) -> Result<SessionTerms, Complaint> {
    let section = raw.span();
    let raw = raw.into_inner();
    let late_environment = names(raw.late_environment, |name| {
        check_variable(name, "")?;
        match workload.environment.contains_key(name) {
            true => Err(format!("`{name}` has a value in the manifest: it cannot be late too")),
            false => Ok(()),
        }
    })?;
    let secrets = names(raw.secrets, |name| match is_secret_name(name) {
        true => Ok(()),
        false => Err(format!(
            "`{name}` is no name of a secret; allowed are 1 to {SECRET_NAME_MAX} letters, digits, \
             hyphens, dots and underscores, and no dot in front"
        )),
    })?;
    let owners = parsed_list(raw.owners, |text| {
        let key: Result<PublicKey, _> = text.parse();
        key.map(|key| key.0).map_err(|bad| format!("`{text}` is {bad}"))
    })?;
    let terms = SessionTerms {
        owners,
        insecure_any_client: raw.insecure_any_client,
        late_arguments: raw.late_arguments,
        late_environment,
        secrets,
    };
    check(&terms).map_err(|message| of_section(message, section))?;
    Ok(terms)
}

/// What no key alone is wrong about.
fn check(terms: &SessionTerms) -> Result<(), String> {
    if terms.owners.is_empty() != terms.insecure_any_client {
        return Err("a session has owners, or insecure-any-client = true, and not both".to_owned());
    }
    let counts = [terms.owners.len(), terms.late_environment.len(), terms.secrets.len()];
    if counts.iter().any(|count| *count > ENTRIES_MAX) {
        return Err(format!("a session has at most {ENTRIES_MAX} owners, variables and secrets"));
    }
    Ok(())
}

const fn of_section(message: String, span: Range<usize>) -> Complaint {
    Complaint { message, span: Some(span) }
}

/// Names that `check` accepts, each once.
fn names(
    values: Vec<Spanned<String>>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, Complaint> {
    let mut names: Vec<String> = Vec::new();
    for value in values {
        let name = checked(value, |name| match names.iter().any(|known| known == name) {
            true => Err(format!("`{name}` is here twice")),
            false => check(name),
        })?;
        names.push(name);
    }
    Ok(names)
}
