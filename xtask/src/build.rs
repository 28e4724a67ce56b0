// SPDX-License-Identifier: MIT
//! Builds the two halves: the guest payload and the launcher.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

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
}

impl Built {
    /// Builds payload and launcher; shows cargo's output only on failure.
    pub(crate) fn make(workspace: &Workspace) -> Result<Self> {
        let route = Route::to(PAYLOAD_TARGET).context("no compiler for the payload")?;
        let step = Step::start("build payload");
        let mut command = route.cargo(workspace, "build", PAYLOAD_TARGET);
        command.args(["--release", "--package", "strongroom-snp", "--bin", "strongroom-snp"]);
        process::run_quietly(&mut command)?;
        step.finish("built");
        let step = Step::start("build launcher");
        let mut command = cargo(workspace);
        command.args(["build", "--profile", "tool", "--package", "strongroom", "--bin"]);
        process::run_quietly(command.arg("strongroom"))?;
        step.finish("built");
        let built = Self { launcher: workspace.launcher(), payload: workspace.payload() };
        for file in [&built.launcher, &built.payload] {
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

    /// The payload's executable.
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
