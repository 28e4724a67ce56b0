// SPDX-License-Identifier: MIT
//! The measured image, as far as a machine without SEV-SNP goes.
//!
//! A package is packed and made into an IGVM file; the file's pages are placed by the launcher and
//! entered in the state that the file's save area has. What is protected by nothing runs
//! from them, what insists on protection does not.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::tally::Tally;
use crate::{
    build::Built,
    process::{self, Finished},
    root::{Root, Set},
    workspace::Workspace,
};

const LIMIT: Duration = Duration::from_secs(120);
/// QEMU's exit status when a payload stops with `Code::NotProtected`.
const NOT_PROTECTED: &str = "exit status: 79";

/// Makes the checks and counts them.
pub(super) fn check(workspace: &Workspace, built: &Built, tally: &Tally) {
    let launched = match Launched::make(workspace, built) {
        Ok(launched) => launched,
        Err(error) => return tally.check("launch images", || Err(error)),
    };
    tally.check("an IGVM file's pages run what was measured", || launched.runs());
    tally.check("a release image runs protected or not at all", || launched.release_refuses());
    tally.check("a release image holds nothing of the simulation", || {
        launched.holds_no_simulation()
    });
    tally.check("packages made twice are the same and measured alike", || launched.is_stable());
}

/// Packages and images in a folder of their own.
struct Launched<'a> {
    built: &'a Built,
    folder: tempfile::TempDir,
}

impl<'a> Launched<'a> {
    fn make(workspace: &Workspace, built: &'a Built) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let root = Root::of_set(workspace, Set::Small)?.image(workspace)?;
        for word in ["measured", "other"] {
            let manifest = format!(
                "[workload]\nprogram = '/bin/busybox'\narguments = ['echo', '{word}']\n\
                 [image]\nroot = '{}'\n",
                root.display()
            );
            fs::write(folder.path().join(format!("{word}.toml")), manifest)?;
        }
        let launched = Self { built, folder };
        for word in ["measured", "other"] {
            launched.pack(word, &format!("{word}.room"))?;
        }
        for target in ["snp-sim", "snp"] {
            let igvm = launched.path(target).with_extension("igvm");
            let mut command = launched.strongroom(&["igvm", "--tee", target]);
            command.arg(launched.path("measured.room")).arg("-o").arg(&igvm);
            process::run_quietly(&mut command)?;
        }
        Ok(launched)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn strongroom(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.built.launcher());
        command.args(arguments);
        command
    }

    fn pack(&self, manifest: &str, package: &str) -> Result<()> {
        let mut command = self.strongroom(&["pack"]);
        command.arg(self.path(manifest).with_extension("toml")).arg("-o").arg(self.path(package));
        for (target, kernel) in
            [("snp-sim", self.built.payload()), ("snp", self.built.release_payload())]
        {
            command.arg("--kernel").arg(format!("{target}={}", kernel.display()));
        }
        process::run_quietly(&mut command)?;
        Ok(())
    }

    /// `strongroom run` of a package, with another image in place of its own.
    fn run(&self, package: &str, image: &str) -> Result<Finished> {
        let mut command = self.strongroom(&["run", "--accel", "tcg"]);
        command.arg(self.path(package)).arg("--payload").arg(self.path(image));
        process::capture(&mut command, b"", LIMIT)
    }

    /// The boot record of the launcher, which names another argument, is no match for the one in
    /// the image.
    fn runs(&self) -> Result<()> {
        for package in ["measured.room", "other.room"] {
            let finished = self.run(package, "snp-sim.igvm")?;
            let error = String::from_utf8_lossy(&finished.stderr);
            ensure!(finished.status == 0, "status {}: {error}", finished.status);
            let output = String::from_utf8_lossy(&finished.stdout);
            ensure!(output == "measured\n", "{package}: the program said {output:?}");
        }
        Ok(())
    }

    fn release_refuses(&self) -> Result<()> {
        let finished = self.run("measured.room", "snp.igvm")?;
        let error = String::from_utf8_lossy(&finished.stderr);
        ensure!(finished.stdout.is_empty(), "something ran");
        ensure!(error.contains(NOT_PROTECTED), "{error}");
        Ok(())
    }

    /// The way in that does without a measured launch, by its symbol and by its note; and what stands
    /// in for instructions of SNP, by its symbol.
    fn holds_no_simulation(&self) -> Result<()> {
        const SIMULATION_ONLY: [&[u8]; 3] =
            [b"boot_start32\0", b"\x12\0\0\0Xen\0", b"machine10simulation19illegal_instruction"];
        let (simulated, release) =
            (fs::read(self.built.payload())?, fs::read(self.built.release_payload())?);
        for bytes in SIMULATION_ONLY {
            let name = bytes.escape_ascii();
            ensure!(contains(&simulated, bytes), "the simulation's image has no {name} either");
            ensure!(!contains(&release, bytes), "{name} is in the release image");
        }
        let (simulated, release) = (self.digest("snp-sim")?, self.digest("snp")?);
        ensure!(simulated != release, "both images are measured as {release}");
        Ok(())
    }

    fn is_stable(&self) -> Result<()> {
        let before = fs::read(self.path("measured.room"))?;
        let digest = self.digest("snp")?;
        self.pack("measured", "again.room")?;
        ensure!(fs::read(self.path("again.room"))? == before, "another package");
        ensure!(digest == self.digest("snp")?, "another digest");
        Ok(())
    }

    /// The launch digest as `strongroom measure` has it.
    fn digest(&self, target: &str) -> Result<String> {
        let mut command = self.strongroom(&["measure", "--tee", target]);
        let output = process::run_quietly(command.arg(self.path("measured.room")))?;
        let text = String::from_utf8_lossy(&output);
        let digest = text.split_whitespace().find(|word| word.len() == 96);
        digest.map(str::to_owned).with_context(|| format!("no launch digest: {text}"))
    }
}

fn contains(file: &[u8], bytes: &[u8]) -> bool {
    file.windows(bytes.len()).any(|window| window == bytes)
}
