// SPDX-License-Identifier: MIT
//! Reports and certificates of real processors.
//!
//! They are read where they lie: in the folder that `STRONGROOM_VECTORS` names, in one beside
//! the repository, or else in the test data that the published crate `sev` brings along. The
//! tests say which it was: a run without them proves less.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the folder lies on a developer's machine, seen from this package.
const BESIDE_REPOSITORY: &str = "../../../shared/vectors/snp";

/// A certificate and, mostly, a report signed by its key.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Name of the set.
    pub name: String,
    /// The report as the firmware made it.
    pub report: Option<Vec<u8>>,
    /// The key's certificate, DER.
    pub vek: Vec<u8>,
    /// What the set's author found in it; absent where nobody wrote it down.
    pub expected: Option<Expected>,
    /// Certificates that do not belong to the report: name, DER.
    pub wrong_veks: Vec<(String, Vec<u8>)>,
}

/// The recorded facts about a report.
#[derive(Clone, Debug, Deserialize)]
pub struct Expected {
    /// `accept` or `reject`.
    pub result: String,
    /// Product line.
    pub product: String,
    /// `VCEK` or `VLEK`.
    pub key: String,
    /// Version of the report.
    pub version: u32,
    /// Privilege level.
    pub vmpl: u8,
    /// Launch digest, hexadecimal.
    pub measurement: String,
    /// Report data, hexadecimal.
    pub report_data: String,
    /// Reported TCB, hexadecimal.
    pub reported_tcb: String,
}

/// All sets there are here. Prints where they come from, and how many there are.
///
/// # Errors
/// A set that cannot be read. That there is none is no error: the list is empty.
pub fn load() -> Result<Vec<Vector>> {
    if let Some(folder) = folder() {
        let vectors = from_folder(&folder)?;
        println!("vectors: {} sets in {}", vectors.len(), folder.display());
        return Ok(vectors);
    }
    if let Some(folder) = sev_tests().map(|tests| tests.join("certs_data")) {
        let vectors = from_crate(&folder)?;
        println!("vectors: skipped, no folder; {} sets of the crate sev instead", vectors.len());
        return Ok(vectors);
    }
    println!("vectors: skipped, neither a folder nor the test data of the crate sev is here");
    Ok(Vec::new())
}

/// AMD's certificate `name` ("milan-ark" and so on) in the folder of vectors, if it is here.
#[must_use]
pub fn authority_certificate(name: &str) -> Option<Vec<u8>> {
    fs::read(folder()?.join("ca").join(name).with_extension("der")).ok()
}

fn folder() -> Option<PathBuf> {
    let named = env::var_os("STRONGROOM_VECTORS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(BESIDE_REPOSITORY);
    named.or(Some(beside)).filter(|folder| folder.is_dir())
}

fn from_folder(folder: &Path) -> Result<Vec<Vector>> {
    let mut vectors = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let set = entry?.path();
        if !set.join("vek.der").exists() {
            continue;
        }
        let expected = match fs::read(set.join("expected.json")) {
            Ok(text) => Some(serde_json::from_slice(&text).context("expected.json")?),
            Err(_) => None,
        };
        vectors.push(Vector {
            name: set.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            report: fs::read(set.join("report.bin")).ok(),
            vek: fs::read(set.join("vek.der"))?,
            expected,
            wrong_veks: wrong_veks(&set)?,
        });
    }
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(vectors)
}

fn wrong_veks(set: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(set)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("bad-vek") {
            found.push((name, fs::read(&path)?));
        }
    }
    Ok(found)
}

/// The tests' folder in the sources of `sev` 8, as cargo unpacked them, if they are here.
#[must_use]
pub fn sev_tests() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?;
    let mut sources = registries.flatten().filter_map(|entry| fs::read_dir(entry.path()).ok());
    sources.find_map(|source| {
        source
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("sev-8."))
            .map(|entry| entry.path().join("tests"))
            .find(|folder| folder.is_dir())
    })
}

fn from_crate(folder: &Path) -> Result<Vec<Vector>> {
    let text = fs::read_to_string(folder.join("report_milan.hex"))?;
    let digits: String = text.split_whitespace().collect();
    let set = |name: &str, report, vek: &str| -> Result<Vector> {
        let vek = fs::read(folder.join(vek))?;
        Ok(Vector { name: name.into(), report, vek, expected: None, wrong_veks: Vec::new() })
    };
    Ok(vec![
        set("sev-milan-v2", Some(hex::decode(digits)?), "vcek_milan.der")?,
        set("sev-turin-chain", None, "vcek_turin.der")?,
    ])
}
