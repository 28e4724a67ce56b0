// SPDX-License-Identifier: MIT
//! Reports of the simulated machine, from the guest's request to the verifier's verdict.
//!
//! The probe asks in the kernel's place, and an unmodified program asks the kernel; the launcher plays
//! host and security processor; `measure` says from the package alone what the report has to say, and
//! `verify` judges. A second program plays hosts and security processors that lie.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::tally::Tally;
use crate::{
    attested::{Desk, LIMIT},
    build::Built,
    process,
    root::{Root, Set},
    toolchain::{PAYLOAD_TARGET, Route, cargo},
    workspace::Workspace,
};

/// What the report is to repeat, 64 bytes in hexadecimal.
const NONCE: &str = "5eed";
/// Asks for a report over the nonce, and prints it with its certificates.
const SCRIPT: &str = "cd /sys/kernel/config/tsm/report && busybox mkdir r && \
    (busybox printf '\\136\\355'; busybox head -c 62 /dev/zero) > r/inblob && \
    busybox cat r/outblob r/auxblob";
const REPORT_LEN: usize = 1184;

/// Makes the checks and counts them.
pub(super) fn check(workspace: &Workspace, built: &Built, tally: &Tally) {
    let tried = match Tried::make(workspace, built) {
        Ok(tried) => tried,
        Err(error) => return tally.check("reports", || Err(error)),
    };
    tally.check("a report has the measurement that was computed", || tried.is_accepted());
    tally.check("another measurement, nonce or root is refused", || tried.is_refused_otherwise());
    tally.check("the security processor refuses and goes on", || tried.goes_on());
    tally.check("derived keys come again, also after a launch", || tried.derives_keys());
    tally.check("what the processor leaves to the guest is done", || tried.intercepts());
    tally.check("an unmodified program's report is accepted", || tried.serves_programs());
    tally.check("hosts and security processors that lie", || tried.withstands_lies(workspace));
}

/// A run of the probe, and what it printed.
struct Tried<'a> {
    desk: Desk<'a>,
    probe: PathBuf,
    root: PathBuf,
    answers: BTreeMap<String, String>,
}

impl<'a> Tried<'a> {
    fn make(workspace: &Workspace, built: &'a Built) -> Result<Self> {
        let route = Route::to(PAYLOAD_TARGET).context("no compiler for the payload")?;
        let mut command = route.cargo(workspace, "build", PAYLOAD_TARGET);
        command.args(["--profile", "tool", "--package", "strongroom-snp"]);
        process::run_quietly(command.args(["--bin", "strongroom-snp-probe"]))?;
        let probe = workspace.target.join(PAYLOAD_TARGET).join("tool/strongroom-snp-probe");
        let root = Root::of_set(workspace, Set::Small)?.image(workspace)?;
        let mut tried = Self { desk: Desk::new(built)?, probe, root, answers: BTreeMap::new() };
        tried.pack("probe", &tried.probe, &["/evidence", NONCE])?;
        tried.pack("program", built.payload(), &["/bin/busybox", "sh", "-c", SCRIPT])?;
        tried.answers = tried.ask()?;
        let (report, certificates) = (tried.answer("report")?, tried.answer("certificates")?);
        tried.desk.keep(&hex::decode(report)?, &hex::decode(certificates)?)?;
        Ok(tried)
    }

    /// Packs a kernel image with what it is to run.
    fn pack(&self, name: &str, kernel: &Path, command: &[&str]) -> Result<()> {
        let (program, arguments) = command.split_first().context("a program")?;
        let manifest = format!(
            "[workload]\nprogram = '{program}'\narguments = {arguments:?}\n[image]\nroot = '{}'\n",
            self.root.display()
        );
        self.desk.pack(name, kernel, &manifest)
    }

    /// Runs a package; what it printed.
    fn run(&self, name: &str) -> Result<Vec<u8>> {
        let finished = process::capture(&mut self.desk.run(name), b"", LIMIT)?;
        let error = String::from_utf8_lossy(&finished.stderr);
        ensure!(finished.status == 0, "status {}: {error}", finished.status);
        Ok(finished.stdout)
    }

    /// Runs the probe; its answers by their names.
    fn ask(&self) -> Result<BTreeMap<String, String>> {
        let output = self.run("probe")?;
        let output = String::from_utf8_lossy(&output);
        let pairs = output.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(name, answer)| (name.to_owned(), answer.to_owned())).collect())
    }

    fn answer(&self, name: &str) -> Result<&str> {
        self.answers.get(name).map(String::as_str).with_context(|| format!("no {name}"))
    }

    /// The verdict's exit status, and its text.
    fn verify(&self, digest: &str, nonce: &str, simulated: bool) -> Result<(i32, String)> {
        let finished = self.desk.verify(digest, nonce, simulated)?;
        let mut text = String::from_utf8_lossy(&finished.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&finished.stderr));
        Ok((finished.status, text))
    }

    fn is_accepted(&self) -> Result<()> {
        let (status, text) = self.verify(&self.desk.measured("probe")?, NONCE, true)?;
        ensure!(status == 0, "status {status}: {text}");
        ensure!(text.to_lowercase().contains("simulated"), "it does not say what it is: {text}");
        Ok(())
    }

    fn is_refused_otherwise(&self) -> Result<()> {
        let digest = self.desk.measured("probe")?;
        let other = digest.replace(['0', '1'], "2");
        for (digest, nonce, simulated) in
            [(other.as_str(), NONCE, true), (&digest, "5eee", true), (&digest, NONCE, false)]
        {
            let (status, text) = self.verify(digest, nonce, simulated)?;
            ensure!(status == 1, "status {status} for {nonce}, {simulated}: {text}");
        }
        Ok(())
    }

    /// An authentic refusal leaves the channel open: what comes behind it is answered.
    fn goes_on(&self) -> Result<()> {
        let refused = self.answer("no-such-level")?;
        ensure!(refused == "Err(Refused(22))", "{refused}");
        let lower = hex::decode(self.answer("lower")?)?;
        ensure!(lower.get(0x30) == Some(&2), "a report of another level");
        Ok(())
    }

    /// `CPUID` in user mode is answered where the instruction is there, and nowhere else.
    fn intercepts(&self) -> Result<()> {
        for name in ["intercepted-cpuid", "forged-reason", "other-reason"] {
            let answer = self.answer(name)?;
            ensure!(answer == "true", "{name}: {answer}");
        }
        Ok(())
    }

    fn derives_keys(&self) -> Result<()> {
        let key = self.answer("key")?;
        ensure!(hex::decode(key)?.len() == 32 && key == self.answer("key-again")?, "{key}");
        ensure!(key != self.answer("key-measured")?, "the measurement was not mixed in");
        let again = self.ask()?;
        ensure!(again.get("key").map(String::as_str) == Some(key), "another key");
        ensure!(again.get("report") != self.answers.get("report"), "the same guest twice");
        Ok(())
    }

    /// By way of the file system that Linux has for it. The last of the checks that keep evidence.
    fn serves_programs(&self) -> Result<()> {
        let output = self.run("program")?;
        let (report, certificates) =
            output.split_at_checked(REPORT_LEN).context("no report and certificates")?;
        self.desk.keep(report, certificates)?;
        let (status, text) = self.verify(&self.desk.measured("program")?, NONCE, true)?;
        ensure!(status == 0, "status {status}: {text}");
        let (status, text) = self.verify(&self.desk.measured("probe")?, NONCE, true)?;
        ensure!(status == 1, "it speaks for the probe: {text}");
        Ok(())
    }

    fn withstands_lies(&self, workspace: &Workspace) -> Result<()> {
        let mut command = cargo(workspace);
        command.args(["run", "--quiet", "--profile", "tool", "--package", "strongroom-snp-hosts"]);
        command.arg("--").arg(&self.probe);
        process::run_quietly(&mut command).map(|_| ())
    }
}
