// SPDX-License-Identifier: MIT
//! The cases of `xtest/enclave/cases.toml`, and how one is packed and judged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::built::Built;
use crate::{process, workspace::Workspace};

const TABLE: &str = "xtest/enclave/cases.toml";
/// The key that an image's OP-TEE trusts: anybody has it.
const KEY: &str = "keys/default_ta.pem";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

/// One program with its arguments, and what it has to do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    command: Vec<String>,
    #[serde(default)]
    pub(super) input: String,
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
    pub(super) full: bool,
    /// Memory that is asked for.
    #[serde(default = "default_memory")]
    memory: String,
}

fn default_memory() -> String {
    "16M".to_owned()
}

/// Reads the table.
pub(super) fn read(workspace: &Workspace) -> Result<Vec<Case>> {
    let path = workspace.root.join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    Ok(table.case)
}

/// A packed case.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) uuid: String,
    pub(super) application: PathBuf,
    pub(super) image: PathBuf,
}

impl Case {
    /// A program that no table has.
    pub(super) fn of(name: &str, command: &[&str], memory: &str) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let (input, errors) = (String::new(), String::new());
        let name = name.to_owned();
        let memory = memory.to_owned();
        Self { name, command, input, output: None, errors, status: 0, full: false, memory }
    }

    /// Packs it into files below `work`.
    pub(super) fn pack(
        &self,
        built: &Built,
        dev_kit: &Path,
        root: &Path,
        work: &Path,
    ) -> Result<Packed> {
        let mut command = Command::new(&built.launcher);
        command.args(["pack-ta", "--squash-owner", "--memory", &self.memory, "--root"]).arg(root);
        command.arg("--key").arg(dev_kit.join(KEY));
        command.arg("--library-os").arg(&built.library_os);
        command.arg("--output").arg(work).arg("--").args(&self.command);
        let printed = process::run_quietly(&mut command).with_context(|| self.name.clone())?;
        let uuid = String::from_utf8_lossy(&printed).trim().to_owned();
        let file = |ending: &str| work.join(format!("{uuid}.{ending}"));
        // The same root gives the same image: one is enough.
        let image = work.join("image");
        fs::rename(file("image"), &image)?;
        let application = file("ta");
        Ok(Packed { uuid, application, image })
    }

    /// What is wrong with how it ended.
    pub(super) fn judge(&self, status: u8, output: &[u8], errors: &[u8]) -> Option<String> {
        let errors = String::from_utf8_lossy(errors);
        let output = String::from_utf8_lossy(output);
        if status != self.status {
            return Some(format!("status {status}, not {}: {output}{errors}", self.status));
        }
        if self.output.as_ref().is_some_and(|expected| *expected != output) {
            return Some(format!("printed {output:?}"));
        }
        (!errors.contains(&self.errors)).then(|| format!("said {errors:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_judged_by_status_output_and_errors() {
        let table = r#"
            case = [{ name = "a", command = ["a"], output = "x\n", errors = "no", status = 3 }]
        "#;
        let table: Table = toml::from_str(table).unwrap();
        let case = &table.case[0];
        assert_eq!(case.judge(3, b"x\n", b"oh no"), None);
        assert!(case.judge(0, b"x\n", b"oh no").unwrap().starts_with("status 0, not 3"));
        assert!(case.judge(3, b"y\n", b"oh no").unwrap().contains("printed"));
        assert!(case.judge(3, b"x\n", b"fine").unwrap().contains("said"));
    }
}
