// SPDX-License-Identifier: MIT
//! Where packages and evidence lie while they are made and judged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    build::Built,
    process::{self, Finished},
};

/// No command here takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// The privilege level of the kernel's own reports, which those of sessions are.
pub(crate) const KERNEL_LEVEL: u8 = 3;
const POLICY: &str = include_str!("../../../host/cli/templates/policy-snp-sim.toml");

/// The launcher, with a folder and a simulated chip of its own.
pub(crate) struct Desk<'a> {
    built: &'a Built,
    folder: tempfile::TempDir,
}

impl<'a> Desk<'a> {
    /// An empty one.
    pub(crate) fn new(built: &'a Built) -> Result<Self> {
        Ok(Self { built, folder: tempfile::tempdir().context("make a folder")? })
    }

    /// A file on it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The launcher.
    pub(crate) fn strongroom(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.built.launcher());
        command.args(arguments).env("XDG_DATA_HOME", self.path("data"));
        command
    }

    /// A run of the package of that name, in emulation.
    pub(crate) fn run(&self, name: &str) -> Command {
        let mut command = self.strongroom(&["run", "--accel", "tcg"]);
        command.arg(self.room(name));
        command
    }

    /// Packs a kernel image of the simulation with what it is to run.
    pub(crate) fn pack(&self, name: &str, kernel: &Path, manifest: &str) -> Result<()> {
        let file = self.path(&format!("{name}.toml"));
        fs::write(&file, manifest)?;
        let mut pack = self.strongroom(&["pack"]);
        pack.arg(file).arg("-o").arg(self.room(name));
        pack.arg("--kernel").arg(format!("snp-sim={}", kernel.display()));
        process::run_quietly(&mut pack).map(|_| ())
    }

    /// The launch digest, from the package alone.
    pub(crate) fn measured(&self, name: &str) -> Result<String> {
        let mut measure = self.strongroom(&["measure", "--tee", "snp-sim"]);
        let text = process::run_quietly(measure.arg(self.room(name)))?;
        let text = String::from_utf8_lossy(&text);
        let digest = text.split_whitespace().find(|word| word.len() == 96);
        digest.map(str::to_owned).with_context(|| format!("no launch digest: {text}"))
    }

    /// Makes a key in that file; its public half.
    pub(crate) fn make_key(&self, name: &str) -> Result<String> {
        make_key(self.strongroom(&[]), &self.path(name))
    }

    /// Writes the policy of whoever has a session with that package, and with no other.
    pub(crate) fn write_policy(&self, file: &str, package: &str) -> Result<()> {
        let policy = policy(&self.measured(package)?, KERNEL_LEVEL);
        Ok(fs::write(self.path(file), policy)?)
    }

    /// Keeps a program's report, for [`Desk::verify`].
    pub(crate) fn keep(&self, report: &[u8], certificates: &[u8]) -> Result<()> {
        fs::write(self.path("report"), report)?;
        Ok(fs::write(self.path("certificates"), certificates)?)
    }

    /// Has what was kept judged: as the report of a program with that launch digest.
    pub(crate) fn verify(&self, digest: &str, nonce: &str, simulated: bool) -> Result<Finished> {
        let certificates = [("certificates", self.path("certificates"))];
        self.judge(&policy(digest, 0), nonce, &certificates, simulated)
    }

    /// Has the kept report judged by a policy, under certificates by the names of their options.
    pub(crate) fn judge(
        &self,
        policy: &str,
        nonce: &str,
        certificates: &[(&str, PathBuf)],
        simulated: bool,
    ) -> Result<Finished> {
        fs::write(self.path("policy.toml"), policy)?;
        let mut command = self.strongroom(&["verify", "--nonce", nonce, "--policy"]);
        command.arg(self.path("policy.toml")).arg("--report").arg(self.path("report"));
        for (name, file) in certificates {
            command.arg(format!("--{name}")).arg(file);
        }
        if simulated {
            command.arg("--insecure-accept-simulated");
        }
        process::capture(&mut command, b"", LIMIT)
    }

    fn room(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.room"))
    }
}

/// Has a command line make the key of an owner or a client; its public half.
pub(crate) fn make_key(mut strongroom: Command, file: &Path) -> Result<String> {
    let public = process::run_quietly(strongroom.args(["keygen", "--output"]).arg(file))?;
    Ok(String::from_utf8(public)?.trim().to_owned())
}

/// A policy for simulated evidence with that launch digest and privilege level.
pub(crate) fn policy(digest: &str, level: u8) -> String {
    let level = level.to_string();
    let values = [
        ("{{measurement}}", digest),
        ("{{features}}", "1"),
        ("{{level}}", &level),
        ("{{secure_tsc}}", "false"),
        ("{{restricted_injection}}", "false"),
    ];
    values.iter().fold(POLICY.to_owned(), |text, (gap, value)| text.replace(gap, value))
}

#[cfg(test)]
mod tests {
    use super::policy;

    #[test]
    fn a_policy_has_no_gap() {
        let text = policy(&"ab".repeat(48), 1);
        assert!(!text.contains("{{") && text.contains("vmpls = [1]"));
    }
}
