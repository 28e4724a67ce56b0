// SPDX-License-Identifier: MIT
//! From a package to a secret in a program: `cargo xtask demo --attested`, and the same as a test.
//!
//! An owner packs a Python program, computes what evidence of it has to say, launches it, and sends
//! a secret once the evidence is good. Then one thing after the other is changed, and each time the
//! secret stays at home.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::{
    build::Built,
    process::{self, Finished},
    root::{Root, Set},
    workspace::Workspace,
};

const LIMIT: Duration = Duration::from_secs(120);
const POLICY: &str = include_str!("../../xtest/attested/policy.toml");
const PROGRAM: &str = include_str!("../../xtest/attested/program.py");
const SECRET: &[u8] = b"only for the enclave that was measured\n";
/// What the program's own report is asked to repeat.
const NONCE: &str = "c0ffee";
/// A file of the image in which a byte is changed.
const FILE: &str = "etc/debian_version";

/// A policy for simulated evidence with that launch digest and privilege level.
pub(crate) fn policy(digest: &str, level: u8) -> String {
    POLICY.replace("MEASUREMENT", digest).replace("LEVEL", &level.to_string())
}

/// Plays it; `narrate` hears each step and what came of it.
pub(crate) fn play(
    workspace: &Workspace,
    built: &Built,
    narrate: &mut dyn FnMut(&str),
) -> Result<()> {
    let owner = Owner::new(workspace, built)?;
    narrate("the owner makes a key, packs program, files and manifest, and computes the digest");
    let digest = owner.pack("app", &owner.root)?;
    narrate(&format!("launch digest, from the package alone: {}", shortened(&digest)));
    owner.write_policies(&digest)?;

    narrate("launch, verify, and send the secret to an unmodified Python program");
    let output = owner.launches_and_trusts("app")?;
    let shown = output.lines().next().unwrap_or_default();
    narrate(&format!("the program says: {}", shortened(shown)));
    let status = owner.verify_report(&output, NONCE)?.status;
    ensure!(status == 0, "the program's own report was not accepted: status {status}");
    narrate("a report that the program asked for itself is accepted for its nonce");

    for (what, expected, finished) in owner.tamper(&digest, &output)? {
        let reason = refusal(&finished, expected).with_context(|| what.to_owned())?;
        narrate(&format!("{what}: {}", shortened(&reason)));
    }
    Ok(())
}

/// Somebody with a package, a policy and a secret.
struct Owner<'a> {
    built: &'a Built,
    folder: tempfile::TempDir,
    root: PathBuf,
    key: String,
}

impl<'a> Owner<'a> {
    fn new(workspace: &Workspace, built: &'a Built) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let root = Root::of_set(workspace, Set::Debian)?.folder;
        let mut owner = Self { built, folder, root, key: String::new() };
        let mut keygen = owner.strongroom(&["keygen", "-o"]);
        let printed = process::run_quietly(keygen.arg(owner.path("owner.key")))?;
        owner.key = String::from_utf8_lossy(&printed).trim().to_owned();
        fs::write(owner.path("secret"), SECRET)?;
        Ok(owner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The launcher, with a simulated chip of this owner's machine.
    fn strongroom(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.built.launcher());
        command.args(arguments).env("XDG_DATA_HOME", self.path("data"));
        command
    }

    /// Packs the program with files of that root; the launch digest.
    fn pack(&self, name: &str, root: &Path) -> Result<String> {
        self.pack_with(name, root, PROGRAM)
    }

    fn pack_with(&self, name: &str, root: &Path, program: &str) -> Result<String> {
        let manifest = format!(
            "[workload]\nprogram = \"/usr/bin/python3\"\narguments = [\"-c\", '''{program}''']\n\
             [image]\nroot = '{}'\n\
             [session]\nowners = [\"{}\"]\nlate-environment = [\"NONCE\"]\nsecrets = [\"greeting\"]\n",
            root.display(),
            self.key
        );
        let file = self.path(&format!("{name}.toml"));
        fs::write(&file, manifest)?;
        let room = self.path(&format!("{name}.room"));
        let mut pack = self.strongroom(&["pack"]);
        pack.arg(file).arg("-o").arg(&room);
        pack.arg("--kernel").arg(format!("snp-sim={}", self.built.payload().display()));
        process::run_quietly(&mut pack)?;
        let mut measure = self.strongroom(&["measure", "--tee", "snp-sim"]);
        let text = process::run_quietly(measure.arg(room))?;
        let text = String::from_utf8_lossy(&text);
        let digest = text.split_whitespace().find(|word| word.len() == 96);
        digest.map(str::to_owned).with_context(|| format!("no launch digest: {text}"))
    }

    fn write_policies(&self, digest: &str) -> Result<()> {
        fs::write(self.path("session.toml"), self.simulated(&policy(digest, 1)))?;
        let other = flipped(digest);
        fs::write(self.path("other.toml"), self.simulated(&policy(&other, 1)))?;
        fs::write(self.path("amd.toml"), policy(digest, 1))?;
        Ok(fs::write(self.path("report.toml"), policy(digest, 0))?)
    }

    /// The policy, with roots accepted that are not AMD's.
    fn simulated(&self, policy: &str) -> String {
        policy.replacen("[snp]", "insecure_accept_simulated_roots = \"any\"\n[snp]", 1)
    }

    fn launch(&self, name: &str, policy: &str) -> Result<Finished> {
        let mut command = self.strongroom(&["run", "--accel", "tcg"]);
        command.arg(self.path(&format!("{name}.room")));
        command.arg("--attest").arg(self.path(policy));
        command.arg("--owner-key").arg(self.path("owner.key"));
        command.arg("--secret").arg(format!("greeting=@{}", self.path("secret").display()));
        command.args(["--late-env", &format!("NONCE={NONCE}")]);
        process::capture(&mut command, b"", LIMIT)
    }

    /// What the program printed, which has to have the secret.
    fn launches_and_trusts(&self, name: &str) -> Result<String> {
        let finished = self.launch(name, "session.toml")?;
        let error = String::from_utf8_lossy(&finished.stderr);
        ensure!(finished.status == 0, "status {}: {error}", finished.status);
        let output = String::from_utf8_lossy(&finished.stdout).into_owned();
        let digest: String = Sha256::digest(SECRET).iter().map(|b| format!("{b:02x}")).collect();
        ensure!(output.contains(&format!("secret {digest}")), "another secret: {output}");
        Ok(output)
    }

    /// Judges the report in a program's output.
    fn verify_report(&self, output: &str, nonce: &str) -> Result<Finished> {
        for blob in ["outblob", "auxblob"] {
            let line = output.lines().find_map(|line| line.strip_prefix(blob));
            let digits = line.with_context(|| format!("no {blob} in the program's output"))?.trim();
            fs::write(self.path(blob), bytes(digits)?)?;
        }
        let mut command = self.strongroom(&["verify", "--insecure-accept-simulated"]);
        command.args(["--nonce", nonce, "--policy"]).arg(self.path("report.toml"));
        command.arg("--report").arg(self.path("outblob"));
        command.arg("--certificates").arg(self.path("auxblob"));
        process::capture(&mut command, b"", LIMIT)
    }

    /// Changes one thing after the other: what, the check that has to notice, and what happened.
    fn tamper(
        &self,
        digest: &str,
        output: &str,
    ) -> Result<Vec<(&'static str, &'static str, Finished)>> {
        let changed = self.pack("file", &self.root_with_a_changed_byte()?)?;
        let program = PROGRAM.replace("/greeting", "/greetinG");
        let argument = self.pack_with("argument", &self.root, &program)?;
        ensure!(changed != digest && argument != digest, "a change is not in the digest");
        Ok(vec![
            ("one byte of a file", "snp.measurements", self.launch("file", "session.toml")?),
            (
                "one letter of an argument",
                "snp.measurements",
                self.launch("argument", "session.toml")?,
            ),
            ("one digit of the policy", "snp.measurements", self.launch("app", "other.toml")?),
            ("a policy for real chips", "root certificate", self.launch("app", "amd.toml")?),
            ("another nonce", "snp.report_data", self.verify_report(output, "c0ffef")?),
        ])
    }

    /// The root, whose files are shared with it but for one.
    fn root_with_a_changed_byte(&self) -> Result<PathBuf> {
        let copy = self.path("root");
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
    const LONG: usize = 24;
    const KEPT: usize = 12;
    let word = |word: &str| match word.split_at_checked(KEPT) {
        Some((head, _)) if word.len() > LONG && word.chars().all(|c| c.is_ascii_hexdigit()) => {
            format!("{head}...")
        }
        Some(_) | None => word.to_owned(),
    };
    let separated = text.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    let piece = |piece: &str| match piece.char_indices().next_back() {
        Some((at, last)) if !last.is_ascii_hexdigit() => {
            let (number, _) = piece.split_at(at);
            format!("{}{last}", word(number))
        }
        Some(_) | None => word(piece),
    };
    separated.map(piece).collect()
}

fn flipped(digest: &str) -> String {
    let (first, rest) = digest.split_at(1);
    format!("{}{rest}", if first == "0" { "1" } else { "0" })
}

/// The bytes of hexadecimal digits.
pub(crate) fn bytes(digits: &str) -> Result<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(std::str::from_utf8);
    pairs.map(|pair| u8::from_str_radix(pair?, 16).with_context(|| digits.to_owned())).collect()
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

    #[test]
    fn a_policy_has_no_gap() {
        let text = policy(&"ab".repeat(48), 1);
        assert!(!text.contains("MEASUREMENT\"") && text.contains("vmpls = [1]"));
    }
}
