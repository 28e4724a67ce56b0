// SPDX-License-Identifier: MIT
//! The sections `[session]`: who starts the program, and what that client may bring along; and
//! `[service]`: who may call the program.

use super::Workload;
use super::parse::{Complaint, RawService, RawSession, checked, parsed_list};
use super::values::check_variable;
use std::num::NonZeroU16;
use std::ops::Range;
use strongroom_session::{PublicKey, SECRET_NAME_MAX, is_secret_name};
use strongroom_wire::boot::{OWNER_KEY_LEN, ServiceTerms, SessionTerms};
use toml::Spanned;

/// Most owners, clients, late variables or secrets.
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
    let terms = SessionTerms {
        owners: keys(raw.owners)?,
        insecure_any_client: raw.insecure_any_client,
        late_arguments: raw.late_arguments,
        late_environment,
        secrets,
    };
    check(&terms).map_err(|message| of_section(message, section))?;
    Ok(terms)
}

/// Who may call the program.
pub(super) fn service(raw: Spanned<RawService>) -> Result<ServiceTerms, Complaint> {
    let section = raw.span();
    let RawService { clients, any_client, port } = raw.into_inner();
    let port = port.map(NonZeroU16::get);
    let terms = ServiceTerms { clients: keys(clients)?, any_client, port };
    if terms.clients.is_empty() != any_client {
        let message = "a service has clients, or any-client = true, and not both".to_owned();
        return Err(of_section(message, section));
    }
    if terms.clients.len() > ENTRIES_MAX {
        return Err(of_section(format!("a service has at most {ENTRIES_MAX} clients"), section));
    }
    Ok(terms)
}

fn keys(texts: Vec<Spanned<String>>) -> Result<Vec<[u8; OWNER_KEY_LEN]>, Complaint> {
    parsed_list(texts, |text| {
        let key: Result<PublicKey, _> = text.parse();
        key.map(|key| key.0).map_err(|bad| format!("`{text}` is {bad}"))
    })
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
