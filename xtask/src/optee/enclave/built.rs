// SPDX-License-Identifier: MIT
//! What packing and running take: library OS, its client, and the packer's command line.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{
    optee::{image::Made, programs},
    process,
    progress::Step,
    toolchain::{ARM_TARGET, cargo},
    workspace::Workspace,
};

const LIBRARY_OS: &str = "strongroom-optee";
const RUNNER: &str = "strongroom-optee-run";
/// The compiler that reads the linker script of OP-TEE's dev kit.
const COMPILER: &str = "aarch64-linux-gnu-gcc";

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) library_os: PathBuf,
    pub(crate) runner: PathBuf,
    pub(crate) launcher: PathBuf,
}

impl Built {
    /// Builds them for an image: its dev kit is linked into the library OS.
    pub(crate) fn make(workspace: &Workspace, made: &Made) -> Result<Self> {
        let library_os = library_os(workspace, made)?;
        let flags = format!(
            "-Lnative={} -Clink-arg=-Wl,--allow-shlib-undefined",
            made.client().join("lib").display()
        );
        let runner = programs::build(workspace, RUNNER, RUNNER, &flags)?;
        let step = Step::start("build launcher");
        let mut command = cargo(workspace);
        command.args(["build", "--profile", "tool", "--package", "strongroom", "--bin"]);
        process::run_quietly(command.arg("strongroom"))?;
        step.finish("built");
        Ok(Self { library_os, runner, launcher: workspace.launcher() })
    }
}

fn library_os(workspace: &Workspace, made: &Made) -> Result<PathBuf> {
    let step = Step::start("build library OS for OP-TEE");
    // The two configurations have dev kits of their own, and cargo does not notice another one.
    let target = workspace.target.join(format!("optee-{}", made.configuration.name()));
    let mut command = programs::cargo(workspace, "build", "")?;
    command.args(["--release", "--package", LIBRARY_OS, "--bin", LIBRARY_OS]);
    command.arg("--target-dir").arg(&target);
    command.env("TA_DEV_KIT_DIR", made.dev_kit()).env("CC", COMPILER);
    process::run_quietly(&mut command)?;
    let built = target.join(ARM_TARGET).join("release").join(LIBRARY_OS);
    if !built.exists() {
        bail!("the build did not make {}", built.display());
    }
    step.finish("built");
    Ok(built)
}
