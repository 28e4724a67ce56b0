// SPDX-License-Identifier: MIT
//! From the text of a manifest file to a [`ManifestFile`], or the place of the first error.

use super::session::{service, terms};
use super::values::{
    check_absolute, check_mount, check_variable, no_zero, parse_connect, parse_listen, parse_memory,
};
use super::{DirectoryGrant, ManifestError, ManifestFile, Workload};
use crate::image::Ownership;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawManifest {
    workload: RawWorkload,
    #[serde(default)]
    image: RawImage,
    #[serde(default)]
    grant: RawGrant,
    session: Option<Spanned<RawSession>>,
    service: Option<Spanned<RawService>>,
    #[serde(default)]
    resources: RawResources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawWorkload {
    program: Spanned<String>,
    #[serde(default)]
    arguments: Vec<Spanned<String>>,
    #[serde(default)]
    environment: BTreeMap<String, Spanned<String>>,
    working_directory: Option<Spanned<String>>,
    hostname: Option<Spanned<String>>,
    #[serde(default)]
    insecure_inherit_environment: Vec<Spanned<String>>,
    #[serde(default)]
    spawns: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawImage {
    root: Option<Spanned<String>>,
    #[serde(default)]
    owner: RawOwner,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawOwner {
    #[default]
    Keep,
    Root,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawGrant {
    #[serde(default)]
    directory: Vec<RawDirectory>,
    #[serde(default)]
    untrusted_plaintext_connect: Vec<Spanned<String>>,
    #[serde(default)]
    untrusted_plaintext_listen: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawDirectory {
    untrusted_plaintext_directory: Spanned<String>,
    mount: Spanned<String>,
    #[serde(default)]
    writable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawSession {
    #[serde(default)]
    pub(super) owners: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) insecure_any_client: bool,
    #[serde(default)]
    pub(super) late_arguments: bool,
    #[serde(default)]
    pub(super) late_environment: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) secrets: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawService {
    #[serde(default)]
    pub(super) clients: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) any_client: bool,
    pub(super) port: Option<std::num::NonZeroU16>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawResources {
    memory: Option<Spanned<String>>,
}

/// A message and the bytes of the text that it is about.
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) span: Option<Range<usize>>,
}

/// Parses the text of the manifest file `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<ManifestFile, ManifestError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let result = toml::from_str::<RawManifest>(text)
        .map_err(|error| Complaint {
            message: error.message().replace('\n', "; "),
            span: error.span(),
        })
        .and_then(|raw| convert(raw, folder));
    result.map_err(|Complaint { message, span }| {
        let (line, column) = span.map_or((0, 0), |span| locate(text, span.start));
        ManifestError { path: path.to_path_buf(), line, column, message }
    })
}

/// Line and column of a byte offset, from 1.
fn locate(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

fn convert(raw: RawManifest, folder: &Path) -> Result<ManifestFile, Complaint> {
    let RawManifest { workload: raw_workload, image, grant, session, service: offered, resources } =
        raw;
    let mut workload = workload(raw_workload)?;
    workload.session = session.map(|session| terms(session, &workload)).transpose()?;
    workload.service = offered.map(service).transpose()?;
    for directory in grant.directory {
        workload.directories.push(DirectoryGrant {
            host: folder.join(checked(directory.untrusted_plaintext_directory, not_empty)?),
            mount: checked(directory.mount, check_mount)?,
            writable: directory.writable,
        });
    }
    workload.connects = parsed_list(grant.untrusted_plaintext_connect, parse_connect)?;
    workload.listens = parsed_list(grant.untrusted_plaintext_listen, parse_listen)?;
    workload.memory_max =
        resources.memory.map(|memory| parsed(memory, parse_memory)).transpose()?.unwrap_or(0);
    let root = image.root.map(|root| checked(root, not_empty)).transpose()?;
    Ok(ManifestFile {
        workload,
        root: root.map(|root| folder.join(root)),
        ownership: match image.owner {
            RawOwner::Keep => Ownership::Keep,
            RawOwner::Root => Ownership::Root,
        },
    })
}

fn workload(raw: RawWorkload) -> Result<Workload, Complaint> {
    let mut workload =
        Workload { program: checked(raw.program, check_program)?, ..Workload::default() };
    for argument in raw.arguments {
        workload.arguments.push(checked(argument, no_zero)?);
    }
    for inherited in raw.insecure_inherit_environment {
        let name = checked(inherited, |name| check_variable(name, ""))?;
        if let Ok(value) = std::env::var(&name) {
            workload.environment.insert(name, value);
        }
    }
    for (name, value) in raw.environment {
        let value = checked(value, |value| check_variable(&name, value))?;
        workload.environment.insert(name, value);
    }
    for program in raw.spawns {
        workload.spawns.push(checked(program, check_program)?);
    }
    if let Some(directory) = raw.working_directory {
        workload.working_directory = checked(directory, check_absolute)?;
    }
    if let Some(hostname) = raw.hostname {
        workload.hostname = checked(hostname, check_hostname)?;
    }
    Ok(workload)
}

/// The value, if `check` accepts it.
pub(super) fn checked(
    value: Spanned<String>,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> Result<String, Complaint> {
    parsed(value, |text| check(text).map(|()| text.to_owned()))
}

/// What `parse` makes of the value.
pub(super) fn parsed<T>(
    value: Spanned<String>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, Complaint> {
    let span = Some(value.span());
    parse(value.get_ref()).map_err(|message| Complaint { message, span })
}

pub(super) fn parsed_list<T>(
    values: Vec<Spanned<String>>,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Complaint> {
    values.into_iter().map(|value| parsed(value, parse)).collect()
}

/// An absolute path, or a name.
fn check_program(program: &str) -> Result<(), String> {
    not_empty(program)?;
    if program.contains('/') { check_absolute(program) } else { Ok(()) }
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() {
        Err("an empty value is not allowed here".to_owned())
    } else {
        no_zero(text)
    }
}

fn check_hostname(name: &str) -> Result<(), String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-.".contains(character);
    if (1..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(format!("`{name}` is no host name; allowed are 1 to 64 letters, digits, hyphens and dots"))
}
