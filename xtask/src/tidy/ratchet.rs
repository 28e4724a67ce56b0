// SPDX-License-Identifier: MIT
//! Numbers that only go down: how often each crate says `unsafe`.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use regex::Regex;
use serde::Deserialize;

use super::{Tracked, sources::without_comments_and_strings};

/// The heading of the table that crates with `unsafe` have to be in.
const HEADING: &str = "Crates that may hold `unsafe`";

/// The contents of `xtask/ratchet.toml`.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// `unsafe` by crate folder.
    pub(super) unsafe_counts: BTreeMap<String, usize>,
    /// Long files with the reason.
    pub(super) long_files: BTreeMap<String, String>,
    /// Crates the project has to be built on.
    pub(super) required: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "unsafe")]
    unsafe_counts: BTreeMap<String, usize>,
    long_files: BTreeMap<String, String>,
    required: Required,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Required {
    crates: Vec<String>,
}

impl Limits {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let file: File = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        Ok(Self {
            unsafe_counts: file.unsafe_counts,
            long_files: file.long_files,
            required: file.required.crates,
        })
    }
}

/// Crates that say `unsafe` more or less often than `limits`, or without being allowed to.
pub(super) fn problems(files: &[Tracked], limits: &BTreeMap<String, usize>) -> Vec<String> {
    let counts = count(files);
    let allowed = allowed_section(files);
    let mut problems = Vec::new();
    for (folder, count) in &counts {
        let limit = limits.get(folder).copied().unwrap_or(0);
        if *count > limit {
            problems.push(format!("{folder}: {count} times `unsafe`, {limit} in the ratchet"));
        }
        if !allowed.contains(&format!("`{folder}`")) {
            problems.push(format!(
                "{folder}: has `unsafe`, but ARCHITECTURE.md's \"{HEADING}\" does not list it"
            ));
        }
    }
    for (folder, limit) in limits {
        let count = counts.get(folder).copied().unwrap_or(0);
        if count < *limit {
            problems.push(format!(
                "{folder}: {count} times `unsafe`, {limit} in xtask/ratchet.toml: lower it to {count}"
            ));
        }
    }
    problems
}

/// Occurrences by crate, without the crates that have none.
fn count(files: &[Tracked]) -> BTreeMap<String, usize> {
    let Ok(word) = Regex::new(r"\bunsafe\b") else { return BTreeMap::new() };
    let mut crates: Vec<&str> =
        files.iter().filter_map(|file| file.path.strip_suffix("/Cargo.toml")).collect();
    // The innermost folder counts.
    crates.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
    let mut counts = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let home = crates.iter().find(|folder| {
            file.path.strip_prefix(**folder).is_some_and(|rest| rest.starts_with('/'))
        });
        let found = word.find_iter(&without_comments_and_strings(&file.text)).count();
        if found > 0 {
            let home = home.map_or("(no crate)", |folder| *folder);
            *counts.entry(home.to_owned()).or_default() += found;
        }
    }
    counts
}

/// The part of ARCHITECTURE.md from the heading to the next one.
fn allowed_section(files: &[Tracked]) -> &str {
    let text = files.iter().find(|file| file.path == "ARCHITECTURE.md").map(|file| &file.text);
    let Some((_, section)) = text.and_then(|text| text.split_once(HEADING)) else { return "" };
    section.split_once("\n#").map_or(section, |(section, _)| section)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Tracked {
        Tracked { path: path.to_owned(), text: text.to_owned() }
    }

    fn tree(source: &str) -> Vec<Tracked> {
        vec![
            file("ta/snp/Cargo.toml", ""),
            file("ta/snp/src/main.rs", source),
            file("ARCHITECTURE.md", "## Crates that may hold `unsafe`\n`ta/snp`: boots\n## Next\n"),
        ]
    }

    fn limits(count: usize) -> BTreeMap<String, usize> {
        BTreeMap::from([("ta/snp".to_owned(), count)])
    }

    const TWO: &str =
        "// unsafe\nunsafe fn f() { let s = \"unsafe\"; unsafe { g() } }\n#![deny(unsafe_code)]";

    #[test]
    fn only_the_keyword_counts() {
        assert_eq!(count(&tree(TWO)), limits(2));
        assert_eq!(problems(&tree(TWO), &limits(2)), Vec::<String>::new());
    }

    #[test]
    fn more_fails_and_less_asks_to_lower() {
        assert!(problems(&tree(TWO), &limits(1))[0].contains("2 times"));
        assert!(problems(&tree(TWO), &limits(3))[0].contains("lower it to 2"));
    }

    #[test]
    fn a_crate_outside_the_table_may_not_have_any() {
        let mut files = tree(TWO);
        files[2].text = "## Crates that may hold `unsafe`\n## Next\n`ta/snp`".to_owned();
        assert!(problems(&files, &limits(2))[0].contains("does not list it"));
    }
}
