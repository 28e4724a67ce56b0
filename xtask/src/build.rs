// SPDX-License-Identifier: MIT
//! Builds the two halves: the guest payload and the launcher.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{
    process,
    progress::Step,
    toolchain::{PAYLOAD_TARGET, Route, cargo},
    workspace::Workspace,
};

/// What it takes to run a program in the payload.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    launcher: PathBuf,
    payload: PathBuf,
    release_payload: PathBuf,
}

/// The command line: package and program.
pub(crate) const LAUNCHER: &str = "strongroom";
/// The names of the payloads, for the simulation and for SNP machines.
const PAYLOADS: [&str; 2] = ["strongroom-snp", "strongroom-snp-release"];

/// What builds the payloads.
fn payloads(workspace: &Workspace, route: Route) -> Command {
    let mut command = route.cargo(workspace, "build", PAYLOAD_TARGET);
    command.args(["--release", "--package", "strongroom-snp"]);
    command.args(PAYLOADS.iter().flat_map(|name| ["--bin", name]));
    command
}

/// Prints what the payloads are by each compiler that is here: what one builds is the same wherever it
/// does, and what another builds is not.
pub(crate) fn print_digests(workspace: &Workspace) -> Result<()> {
    for route in Route::all_to(PAYLOAD_TARGET) {
        let folder = workspace.target.join("digests").join(format!("{route:?}"));
        let step = Step::start("build payload");
        let mut command = payloads(workspace, route);
        process::run_quietly(command.arg("--target-dir").arg(&folder))?;
        step.finish("built");
        println!("{}", route.compiler().context("the compiler does not say what it is")?);
        for name in PAYLOADS {
            let file = folder.join(PAYLOAD_TARGET).join("release").join(name);
            let digest = Sha256::digest(fs::read(&file)?);
            println!("  sha256:{} {name}", hex::encode(digest));
        }
    }
    if !Route::all_to(PAYLOAD_TARGET).contains(&Route::DebianWeb) {
        eprintln!(
            "Debian's compiler is not here, nor are its digests: \
             apt install cargo-web rustc-web rust-web-src and the lld-N that goes with it"
        );
    }
    Ok(())
}

/// Builds a program for this computer, which is named as its package is; shows cargo's output only on
/// failure.
pub(crate) fn program(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let mut command = cargo(workspace);
    command.args(["build", "--profile", "tool", "--package", name, "--bin", name]);
    process::run_quietly(&mut command)?;
    Ok(workspace.target.join("tool").join(name))
}

impl Built {
    /// Builds payload and launcher; shows cargo's output only on failure.
    pub(crate) fn make(workspace: &Workspace) -> Result<Self> {
        let route = Route::to(PAYLOAD_TARGET).context("no compiler for the payload")?;
        let step = Step::start("build payload");
        process::run_quietly(&mut payloads(workspace, route))?;
        step.finish("built");
        let step = Step::start("build launcher");
        let launcher = program(workspace, LAUNCHER)?;
        step.finish("built");
        let payload = workspace.payload();
        let release_payload = payload.with_file_name("strongroom-snp-release");
        let built = Self { launcher, payload, release_payload };
        for file in [&built.launcher, &built.payload, &built.release_payload] {
            if !file.exists() {
                bail!("the build did not make {}", file.display());
            }
        }
        Ok(built)
    }

    /// The launcher's executable.
    pub(crate) fn launcher(&self) -> &Path {
        &self.launcher
    }

    /// The payload's executable for SNP machines; no other runs it.
    pub(crate) fn release_payload(&self) -> &Path {
        &self.release_payload
    }

    /// The payload's executable for the simulation.
    pub(crate) fn payload(&self) -> &Path {
        &self.payload
    }

    /// `strongroom run` on `image`, up to where options and `-- PROGRAM` follow.
    pub(crate) fn run(&self, image: &Path) -> Command {
        let mut command = Command::new(&self.launcher);
        command.env("STRONGROOM_PAYLOAD", &self.payload);
        command.args(["run", "--root"]).arg(image);
        command
    }

    /// The same as text to paste into a shell.
    pub(crate) fn shown(&self, command: &Command) -> String {
        let payload = process::quoted(&self.payload.to_string_lossy());
        format!("STRONGROOM_PAYLOAD={payload} {}", process::shown(command))
    }
}
