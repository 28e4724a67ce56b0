// SPDX-License-Identifier: MIT
//! Our own parts of a machine with OP-TEE: the library OS, and the command line for both sides.
//!
//! With an image's files they make a folder that `strongroom run --tee optee-qemu` boots from; the
//! files' names are those of `strongroom_optee_run::Folder`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    optee::{image::Made, programs},
    process,
    progress::Step,
    toolchain::{ARM_TARGET, cargo},
    workspace::Workspace,
};

const LIBRARY_OS: &str = "strongroom-optee";
const LAUNCHER: &str = "strongroom";
const AGENT: &str = "strongroom-optee-agent";
/// The key that an image's OP-TEE trusts: anybody has it.
const KEY: &str = "default_ta.pem";
/// What is taken from an image as it is.
const IMAGE_FILES: &[&str] = &["flash.bin", "Image", "root.cpio", "versions.txt"];
/// The compiler that reads the linker script of OP-TEE's dev kit.
const COMPILER: &str = "aarch64-linux-gnu-gcc";

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) library_os: PathBuf,
    /// The command line, for the machine's normal world.
    pub(crate) runner: PathBuf,
    /// The command line, for this computer.
    pub(crate) launcher: PathBuf,
    /// The folder of the whole machine.
    pub(crate) machine: PathBuf,
}

impl Built {
    /// Builds them for an image: its dev kit is linked into the library OS.
    pub(crate) fn make(workspace: &Workspace, made: &Made) -> Result<Self> {
        let library_os = library_os(workspace, made)?;
        let flags = programs::client_flags(made);
        let runner = programs::build(workspace, LAUNCHER, LAUNCHER, &flags)?;
        let step = Step::start("build launcher");
        let mut command = cargo(workspace);
        command.args(["build", "--profile", "tool", "--package", LAUNCHER, "--bin"]);
        process::run_quietly(command.arg(LAUNCHER))?;
        step.finish("built");
        let machine = target(workspace, made).join("machine");
        let built = Self { library_os, runner, launcher: workspace.launcher(), machine };
        built.gather(made, &programs::agent(workspace)?)?;
        Ok(built)
    }

    /// Makes the folder anew, of links.
    fn gather(&self, made: &Made, agent: &Path) -> Result<()> {
        if self.machine.exists() {
            fs::remove_dir_all(&self.machine)?;
        }
        fs::create_dir_all(&self.machine)?;
        let own = [(LIBRARY_OS, &self.library_os), (LAUNCHER, &self.runner)];
        let own = own.into_iter().map(|(name, file)| (name, file.clone()));
        let image = IMAGE_FILES.iter().map(|name| (*name, made.folder.join(name)));
        let rest = [(AGENT, agent.to_path_buf()), (KEY, key(made))];
        for (name, file) in own.chain(image).chain(rest) {
            let link = self.machine.join(name);
            symlink(&file, &link).with_context(|| format!("link {}", link.display()))?;
        }
        Ok(())
    }
}

/// The key that an image's OP-TEE trusts.
pub(crate) fn key(made: &Made) -> PathBuf {
    made.dev_kit().join("keys").join(KEY)
}

fn library_os(workspace: &Workspace, made: &Made) -> Result<PathBuf> {
    let step = Step::start("build library OS for OP-TEE");
    let mut command = programs::cargo(workspace, "build", "")?;
    command.args(["--release", "--package", LIBRARY_OS, "--bin", LIBRARY_OS]);
    command.arg("--target-dir").arg(target(workspace, made));
    command.env("TA_DEV_KIT_DIR", made.dev_kit()).env("CC", COMPILER);
    process::run_quietly(&mut command)?;
    let built = target(workspace, made).join(ARM_TARGET).join("release").join(LIBRARY_OS);
    if !built.exists() {
        bail!("the build did not make {}", built.display());
    }
    step.finish("built");
    Ok(built)
}

/// The two configurations have dev kits of their own, and cargo does not notice another one.
fn target(workspace: &Workspace, made: &Made) -> PathBuf {
    workspace.target.join(format!("optee-{}", made.configuration.name()))
}
