// SPDX-License-Identifier: MIT
//! From a package to a secret in a program: `cargo xtask demo --attested`, and the same as a test.
//!
//! An owner packs a Python program, computes what evidence of it has to say, launches it, and sends
//! a secret once the evidence is good. Then one thing after the other is changed, and each time the
//! secret stays at home.

mod desk;
mod search;

pub(crate) use desk::{Desk, KERNEL_LEVEL, LIMIT, make_key, policy};

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use regex::Regex;
use sha2::{Digest as _, Sha256};

use crate::{
    build::Built,
    process::{self, Finished},
    root::{Root, Set},
    workspace::Workspace,
};

const PROGRAM: &str = include_str!("../../../xtest/attested/program.py");
const SECRET: &[u8] = b"only for the enclave that was measured\n";
/// What the program's own report is asked to repeat.
const NONCE: &str = "c0ffee";
/// A file of the image in which a byte is changed.
const FILE: &str = "etc/debian_version";

/// Plays it; `narrate` hears each step and what came of it.
pub(crate) fn play(
    workspace: &Workspace,
    built: &Built,
    narrate: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut narrate = |line: &str| narrate(&shortened(line));
    let owner = Owner::new(workspace, built)?;
    narrate("the owner makes a key, packs program, files and manifest, and computes the digest");
    let digest = owner.pack("app", &owner.root, PROGRAM)?;
    narrate(&format!("launch digest, from the package alone: {digest}"));
    owner.write_policies(&digest)?;

    narrate("launch, verify, and send the secret to an unmodified Python program");
    let output = owner.launches_and_trusts("app")?;
    narrate(&format!("the program says: {}", output.lines().next().unwrap_or_default()));
    owner.keep_report(&output)?;
    let status = owner.desk.verify(&digest, NONCE, true)?.status;
    ensure!(status == 0, "the program's own report was not accepted: status {status}");
    narrate("a report that the program asked for itself is accepted for its nonce");

    for (what, expected, finished) in owner.tamper(&digest)? {
        let reason = refusal(&finished, expected).with_context(|| what.to_owned())?;
        narrate(&format!("{what}: {reason}"));
    }
    Ok(())
}

/// Whether the secret is anywhere in the memory of those who carry it.
pub(crate) fn search(workspace: &Workspace, built: &Built) -> Result<()> {
    search::search(&Owner::new(workspace, built)?, SECRET)
}

/// Somebody with a package, a policy and a secret.
struct Owner<'a> {
    desk: Desk<'a>,
    payload: &'a Path,
    root: PathBuf,
    key: String,
}

impl<'a> Owner<'a> {
    fn new(workspace: &Workspace, built: &'a Built) -> Result<Self> {
        let desk = Desk::new(built)?;
        let root = Root::of_set(workspace, Set::Debian)?.folder;
        let key = desk.make_key("owner.key")?;
        fs::write(desk.path("secret"), SECRET)?;
        Ok(Self { desk, payload: built.payload(), root, key })
    }

    /// Packs a program with files of that root; the launch digest.
    fn pack(&self, name: &str, root: &Path, program: &str) -> Result<String> {
        let manifest = format!(
            "[workload]\nprogram = \"/usr/bin/python3\"\narguments = [\"-c\", '''{program}''']\n\
             [image]\nroot = '{}'\n\
             [session]\nowners = [\"{}\"]\nlate-environment = [\"NONCE\"]\nsecrets = [\"greeting\"]\n",
            root.display(),
            self.key
        );
        self.desk.pack(name, self.payload, &manifest)?;
        self.desk.measured(name)
    }

    fn write_policies(&self, digest: &str) -> Result<()> {
        let simulated = |policy: String| {
            policy.replacen("[snp]", "insecure_accept_simulated_roots = \"any\"\n[snp]", 1)
        };
        fs::write(self.desk.path("session.toml"), simulated(policy(digest, KERNEL_LEVEL)))?;
        fs::write(self.desk.path("other.toml"), simulated(policy(&flipped(digest), KERNEL_LEVEL)))?;
        Ok(fs::write(self.desk.path("amd.toml"), policy(digest, KERNEL_LEVEL))?)
    }

    fn launch(&self, name: &str, policy: &str) -> Result<Finished> {
        let mut command = self.desk.run(name);
        command.arg("--attest").arg(self.desk.path(policy));
        self.brings(&mut command);
        command.args(["--late-env", &format!("NONCE={NONCE}")]);
        process::capture(&mut command, b"", LIMIT)
    }

    /// The owner's key and secret, for `run` and `attach`.
    fn brings(&self, command: &mut Command) {
        command.arg("--owner-key").arg(self.desk.path("owner.key"));
        command.arg("--secret").arg(format!("greeting=@{}", self.desk.path("secret").display()));
    }

    /// What the program printed, which has to have the secret.
    fn launches_and_trusts(&self, name: &str) -> Result<String> {
        let finished = self.launch(name, "session.toml")?;
        let error = String::from_utf8_lossy(&finished.stderr);
        ensure!(finished.status == 0, "status {}: {error}", finished.status);
        let output = String::from_utf8_lossy(&finished.stdout).into_owned();
        let digest = hex::encode(Sha256::digest(SECRET));
        ensure!(output.contains(&format!("secret {digest}")), "another secret: {output}");
        Ok(output)
    }

    /// Keeps the report that is in a program's output.
    fn keep_report(&self, output: &str) -> Result<()> {
        let blob = |name: &str| {
            let line = output.lines().find_map(|line| line.strip_prefix(name));
            let line = line.with_context(|| format!("no {name} in the program's output"))?;
            hex::decode(line.trim()).with_context(|| line.to_owned())
        };
        self.desk.keep(&blob("outblob")?, &blob("auxblob")?)
    }

    /// Changes one thing after the other: what, the check that has to notice, and what happened.
    fn tamper(&self, digest: &str) -> Result<[(&'static str, &'static str, Finished); 5]> {
        let changed = self.pack("file", &self.root_with_a_changed_byte()?, PROGRAM)?;
        let program = PROGRAM.replace("/greeting", "/greetinG");
        let argument = self.pack("argument", &self.root, &program)?;
        ensure!(changed != digest && argument != digest, "a change is not in the digest");
        let launch = |name, policy| self.launch(name, policy);
        Ok([
            ("one byte of a file", "snp.measurements", launch("file", "session.toml")?),
            ("one letter of an argument", "snp.measurements", launch("argument", "session.toml")?),
            ("one digit of the policy", "snp.measurements", launch("app", "other.toml")?),
            ("a policy for real chips", "root certificate", launch("app", "amd.toml")?),
            ("another nonce", "snp.report_data", self.desk.verify(digest, "c0ffef", true)?),
        ])
    }

    /// A copy of the root with one byte changed.
    fn root_with_a_changed_byte(&self) -> Result<PathBuf> {
        let copy = self.desk.path("root");
        process::run_quietly(Command::new("cp").arg("-a").arg(&self.root).arg(&copy))?;
        let file = copy.join(FILE);
        let mut contents = fs::read(&file)?;
        let byte = contents.first_mut().with_context(|| format!("{FILE} is empty"))?;
        *byte ^= 1;
        fs::write(&file, contents)?;
        Ok(copy)
    }
}

/// The reason of a refusal, which has to name that check. Nothing may have been printed by a program.
fn refusal(finished: &Finished, check: &str) -> Result<String> {
    let text = String::from_utf8_lossy(&finished.stderr);
    ensure!(finished.status != 0, "it was accepted");
    ensure!(!String::from_utf8_lossy(&finished.stdout).contains("secret"), "the program ran");
    let reason = text.lines().find(|line| line.contains(check));
    let reason = reason.with_context(|| format!("not because of {check}: {text}"))?;
    Ok(reason.trim_start_matches("strongroom: ").to_owned())
}

/// A text in which long hexadecimal numbers are cut.
fn shortened(text: &str) -> String {
    let long = Regex::new(r"\b([0-9a-fA-F]{12})[0-9a-fA-F]{13,}\b");
    long.map_or_else(|_| text.to_owned(), |long| long.replace_all(text, "$1...").into_owned())
}

fn flipped(digest: &str) -> String {
    let (first, rest) = digest.split_at(1);
    format!("{}{rest}", if first == "0" { "1" } else { "0" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_numbers_are_cut() {
        let long = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            shortened(&format!("expected {long}, found {long}")),
            "expected 0123456789ab..., found 0123456789ab..."
        );
        assert_eq!(shortened("a bad cafe: 255"), "a bad cafe: 255");
    }
}
