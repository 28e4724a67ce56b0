// SPDX-License-Identifier: MIT
//! Case files: which commands run in the payload, and what they should do.
//!
//! `xtest/cases/README.md` documents the format for those who write cases.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;

use crate::root::Set;

/// One file: the cases of one stage.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    /// False while the kernel cannot run these yet: counted as skipped.
    #[serde(default = "yes")]
    enabled: bool,
    /// Environment of every case of the file, under what the case itself sets.
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    case: Vec<Case>,
}

/// One command and its expectations.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Unique over all files.
    pub(crate) name: String,
    /// The root it runs in.
    pub(crate) root: Set,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Bytes for standard input.
    #[serde(default)]
    pub(crate) stdin: String,
    /// The whole environment, together with the file's.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Where the expectation comes from.
    #[serde(default)]
    pub(crate) expected: Expected,
    /// Exit status; with `native` the oracle's run must have it too.
    #[serde(default)]
    pub(crate) status: i32,
    /// Standard output, for `expected = "literal"`.
    pub(crate) stdout: Option<String>,
    /// Lines or words that differ from run to run and are made equal before comparing.
    #[serde(default)]
    pub(crate) normalize: Vec<Normalize>,
    /// Only with `--full`.
    #[serde(default)]
    pub(crate) full: bool,
    /// Why it cannot pass yet.
    pub(crate) skip: Option<String>,
    /// Guest memory, as the launcher takes it.
    pub(crate) memory: Option<String>,
    /// Grants, as the launcher takes them; the native side has them by nature.
    #[serde(default)]
    pub(crate) grants: Vec<String>,
    /// A host program that talks to the guest program while it runs.
    pub(crate) client: Option<Client>,
    /// Seconds before a run counts as hung.
    #[serde(default = "usual_limit_s")]
    timeout_s: u64,
}

/// A program of the same root, run on the host once the guest listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    /// The granted port.
    pub(crate) port: u16,
    /// Program and arguments; runs natively, in the host's network.
    pub(crate) command: Vec<String>,
    /// A regular expression that its standard output has to match.
    pub(crate) matches: String,
}

/// Where an expectation comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expected {
    /// The same command on native Linux, in the same root.
    #[default]
    Native,
    /// The case's own `stdout`.
    Literal,
}

/// How output is made comparable.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Normalize {
    /// A named way.
    Named(Named),
    /// Every match of `pattern` becomes `with`.
    Replace {
        /// A regular expression; `(?m)` and friends as usual.
        pattern: String,
        /// Replacement, `$1` for groups.
        with: String,
    },
}

/// Named ways to make output comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Named {
    /// Every run of digits becomes `N`.
    Digits,
    /// Lines in sorted order.
    Sort,
    /// Of the output of Python's regression tests: how many ran, which failed, and the verdict.
    Unittest,
}

fn yes() -> bool {
    true
}

fn usual_limit_s() -> u64 {
    60
}

impl Case {
    /// How long a run may take.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    /// `output` with everything made equal that may differ.
    pub(crate) fn normalized(&self, output: &[u8]) -> Result<Vec<u8>> {
        if self.normalize.is_empty() {
            return Ok(output.to_vec());
        }
        let mut text = String::from_utf8_lossy(output).into_owned();
        for rule in &self.normalize {
            text = rule.apply(&text)?;
        }
        Ok(text.into_bytes())
    }

    fn check(&self) -> Result<()> {
        if self.command.is_empty() {
            bail!("case {}: `command` is empty", self.name);
        }
        let literal = self.expected == Expected::Literal;
        if literal != self.stdout.is_some() && self.client.is_none() {
            bail!("case {}: `stdout` belongs to `expected = \"literal\"`", self.name);
        }
        self.normalized(b"").map(|_| ()).with_context(|| format!("case {}", self.name))
    }
}

impl Normalize {
    fn apply(&self, text: &str) -> Result<String> {
        Ok(match self {
            Self::Named(Named::Digits) => Regex::new("[0-9]+")?.replace_all(text, "N").into_owned(),
            Self::Named(Named::Sort) => {
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                lines.iter().map(|line| format!("{line}\n")).collect()
            }
            Self::Named(Named::Unittest) => unittest_verdict(text)?,
            Self::Replace { pattern, with } => {
                Regex::new(pattern)?.replace_all(text, with.as_str()).into_owned()
            }
        })
    }
}

fn unittest_verdict(text: &str) -> Result<String> {
    let verdict = Regex::new(r"(?m)^(?:FAIL|ERROR): .*$|^Ran \d+ tests?|^Tests result: .*$")?;
    Ok(verdict.find_iter(text).map(|found| format!("{}\n", found.as_str())).collect())
}

/// Reads every case file of `folder`, in the order of the file names.
///
/// Cases of a file that is switched off come with a `skip`, unless `all_stages` is set.
pub(crate) fn read_cases(folder: &Path, all_stages: bool) -> Result<Vec<Case>> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let stage = parse(&text, all_stages).with_context(|| format!("in {}", file.display()))?;
        cases.extend(stage);
    }
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[one, other]| one == other) {
        bail!("two cases are named {name}");
    }
    Ok(cases)
}

fn parse(text: &str, all_stages: bool) -> Result<Vec<Case>> {
    let stage: Stage = toml::from_str(text)?;
    let mut cases = stage.case;
    for case in &mut cases {
        case.check()?;
        for (name, value) in &stage.env {
            case.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if !stage.enabled && !all_stages && case.skip.is_none() {
            case.skip = Some("its stage has not landed".to_owned());
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[case]]\nname = \"a\"\nroot = \"small\"\ncommand = [\"true\"]\n";

    #[test]
    fn a_minimal_case_has_usual_values() {
        let cases = parse(&format!("env = {{ A = \"1\" }}\n{ONE}env = {{ B = \"2\" }}\n"), false);
        let case = cases.unwrap().remove(0);
        assert_eq!(case.expected, Expected::Native);
        assert_eq!(case.limit(), Duration::from_secs(60));
        assert_eq!(case.env.len(), 2);
        assert!(case.skip.is_none());
    }

    #[test]
    fn a_stage_that_is_off_skips_its_cases_unless_all_are_asked_for() {
        let text = format!("enabled = false\n{ONE}");
        assert!(parse(&text, false).unwrap()[0].skip.is_some());
        assert!(parse(&text, true).unwrap()[0].skip.is_none());
    }

    #[test]
    fn mistakes_are_refused() {
        assert!(parse(&format!("{ONE}typo = 1\n"), false).is_err());
        assert!(parse(&format!("{ONE}expected = \"literal\"\n"), false).is_err());
        assert!(parse(&format!("{ONE}stdout = \"x\"\n"), false).is_err());
        let bad = format!("{ONE}normalize = [{{ pattern = \"(\", with = \"\" }}]\n");
        assert!(parse(&bad, false).is_err());
    }

    #[test]
    fn output_is_made_comparable() {
        let text = format!(
            "{ONE}normalize = [\"digits\", {{ pattern = \"x+\", with = \"y\" }}, \"sort\"]\n"
        );
        let case = parse(&text, false).unwrap().remove(0);
        assert_eq!(case.normalized(b"b 12 xx\na 3").unwrap(), b"a N\nb N y\n");
        let case = parse(&format!("{ONE}normalize = [\"unittest\"]\n"), false).unwrap().remove(0);
        let output =
            b"test_a ... ok\nFAIL: test_b (x)\nRan 2 tests in 0.1s\nTests result: FAILURE\n";
        let verdict = b"FAIL: test_b (x)\nRan 2 tests\nTests result: FAILURE\n";
        assert_eq!(case.normalized(output).unwrap(), verdict);
    }
}
