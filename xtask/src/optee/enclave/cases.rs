// SPDX-License-Identifier: MIT
//! The cases of `xtest/enclave/cases.toml`, and how one is judged.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{optee::Configuration, workspace::Workspace};

const TABLE: &str = "xtest/enclave/cases.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

/// One program with its arguments, and what it has to do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) command: Vec<String>,
    /// On which images besides `big` it runs.
    #[serde(default)]
    also: Vec<Configuration>,
    /// Memory that is asked for.
    #[serde(default = "default_memory")]
    pub(super) memory: String,
    /// What the host does for it.
    #[serde(default)]
    pub(super) grants: Vec<String>,
    /// Programs that it starts, packed beside it.
    #[serde(default)]
    pub(super) spawns: Vec<String>,
    /// Libraries that it opens at run time.
    #[serde(default)]
    pub(super) libraries: Vec<String>,
    /// Only others need it: it does not run by itself.
    #[serde(default)]
    pub(super) helper: bool,
    /// Names of cases whose applications have to be there too.
    #[serde(default)]
    needs: Vec<String>,
    /// What the normal world runs instead of the program alone, a shell script: `$RUN` runs the
    /// program, `$RUN_name` another one's.
    #[serde(default)]
    pub(super) script: Option<String>,
    #[serde(default)]
    pub(super) input: String,
    /// It is packed in the machine's normal world.
    #[serde(default)]
    pub(super) on_device: bool,
    /// What is changed of the packed files.
    #[serde(default)]
    pub(super) spoil: Option<Spoil>,
    /// It cannot be packed: a part of what the packer says.
    #[serde(default)]
    pub(super) refused: Option<String>,
    /// Standard output, whole.
    #[serde(default)]
    output: Option<String>,
    /// A part of standard error.
    #[serde(default)]
    errors: String,
    #[serde(default)]
    status: u8,
    /// Whether it takes so long that only whole runs have it.
    #[serde(default)]
    full: bool,
}

/// What an adversary does to packed files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Spoil {
    /// A bit of the signed file is flipped.
    Application,
    /// It is signed with a key that OP-TEE does not trust.
    Key,
    /// A bit of that file is flipped in the image that the host serves.
    Image(String),
}

fn default_memory() -> String {
    "16M".to_owned()
}

/// Reads the table: the cases for an image whose names have one of the words in them, or all.
/// Before them come those that they need.
pub(super) fn read(
    workspace: &Workspace,
    configuration: Configuration,
    words: &[String],
    full: bool,
) -> Result<Vec<Case>> {
    let path = workspace.root.join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    let mut cases = table.case;
    cases.retain(|case| full || !case.full || !words.is_empty());
    chosen(cases, configuration, words)
}

fn chosen(all: Vec<Case>, configuration: Configuration, words: &[String]) -> Result<Vec<Case>> {
    let fits = |case: &&Case| {
        let there = configuration == Configuration::Big || case.also.contains(&configuration);
        let named = words.is_empty() || words.iter().any(|word| case.name.contains(word.as_str()));
        there && named && !case.helper
    };
    let run: Vec<&Case> = all.iter().filter(fits).collect();
    if run.is_empty() {
        bail!("no case for this image has such a name");
    }
    let wanted: BTreeSet<&str> = run.iter().map(|case| case.name.as_str()).collect();
    let needed: BTreeSet<&str> = run.iter().flat_map(|case| &case.needs).map(|s| &**s).collect();
    let known = |name: &&&str| all.iter().any(|case| case.name == **name);
    if let Some(unknown) = needed.iter().find(|name| !known(name)) {
        bail!("a case needs `{unknown}`, which there is not");
    }
    let helper = |case: &Case| !wanted.contains(&*case.name) && needed.contains(&*case.name);
    let helpers = all.iter().filter(|case| helper(case));
    let helpers = helpers.map(|case| Case { helper: true, ..case.clone() });
    Ok(helpers.chain(run.iter().map(|case| (*case).clone())).collect())
}

impl Case {
    /// A program that no table has.
    pub(super) fn of(name: &str, command: &[&str], memory: &str) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { name: name.to_owned(), command, memory: memory.to_owned(), ..Self::default() }
    }

    /// What is wrong with how it ended.
    pub(super) fn judge(&self, status: u8, output: &[u8], errors: &[u8]) -> Option<String> {
        let errors = String::from_utf8_lossy(errors);
        let output = String::from_utf8_lossy(output);
        if status != self.status {
            return Some(format!("status {status}, not {}: {output}{errors}", self.status));
        }
        if self.output.as_ref().is_some_and(|expected| *expected != output) {
            return Some(format!("printed {output:?}; {errors:?}"));
        }
        (!errors.contains(&self.errors)).then(|| format!("said {errors:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(text: &str) -> Vec<Case> {
        toml::from_str::<Table>(text).unwrap().case
    }

    #[test]
    fn a_case_is_judged_by_status_output_and_errors() {
        let table = r#"
            case = [{ name = "a", command = ["a"], output = "x\n", errors = "no", status = 3 }]
        "#;
        let case = &cases(table)[0];
        assert_eq!(case.judge(3, b"x\n", b"oh no"), None);
        assert!(case.judge(0, b"x\n", b"oh no").unwrap().starts_with("status 0, not 3"));
        assert!(case.judge(3, b"y\n", b"oh no").unwrap().contains("printed"));
        assert!(case.judge(3, b"x\n", b"fine").unwrap().contains("said"));
    }

    #[test]
    fn cases_are_chosen_by_image_and_name_and_bring_what_they_need() {
        let all = cases(
            r#"
            case = [
                { name = "key", command = ["a"], helper = true },
                { name = "sign", command = ["a"], needs = ["key"] },
                { name = "small", command = ["a"], also = ["stock"] },
                { name = "spoilt", command = ["a"], spoil = { image = "f" } },
            ]
            "#,
        );
        let names = |configuration, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let chosen = chosen(all.clone(), configuration, &words)?;
            Ok::<_, anyhow::Error>(chosen.into_iter().map(|case| case.name).collect::<Vec<_>>())
        };
        assert_eq!(names(Configuration::Stock, &[]).unwrap(), ["small"]);
        assert_eq!(names(Configuration::Big, &["sign"]).unwrap(), ["key", "sign"]);
        assert_eq!(names(Configuration::Big, &[]).unwrap().len(), 4);
        assert!(names(Configuration::Big, &["key"]).is_err(), "it runs for others only");
        assert_eq!(all[3].spoil, Some(Spoil::Image("f".to_owned())));
    }
}
