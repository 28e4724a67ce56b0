// SPDX-License-Identifier: MIT
//! Programs of ours for the normal world, built on this computer.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    process,
    progress::Step,
    toolchain::{ARM_TARGET, Route},
    workspace::Workspace,
};

/// The package and the program of the normal world's first process.
const AGENT: (&str, &str) = ("strongroom-optee-qemu", "strongroom-optee-agent");

/// Builds the agent that machines are started with.
pub(crate) fn agent(workspace: &Workspace) -> Result<PathBuf> {
    let (package, program) = AGENT;
    // Static: it runs before anything is mounted, on any root.
    build(workspace, package, program, "-Ctarget-feature=+crt-static")
}

/// Builds a program for the normal world; shows cargo's output only on failure.
pub(super) fn build(
    workspace: &Workspace,
    package: &str,
    program: &str,
    flags: &str,
) -> Result<PathBuf> {
    let step = Step::start(&format!("build {program}"));
    let mut command = cargo(workspace)?;
    command.args(["--profile", "tool", "--package", package, "--bin", program]);
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
    process::run_quietly(&mut command)?;
    let built = folder(workspace).join(program);
    if !built.exists() {
        bail!("the build did not make {}", built.display());
    }
    step.finish("built");
    Ok(built)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join(Path::new(ARM_TARGET)).join("tool")
}

fn cargo(workspace: &Workspace) -> Result<Command> {
    let Some(route @ Route::Installed) = Route::to(ARM_TARGET) else {
        bail!(
            "programs for OP-TEE's normal world need Rust's standard library for {ARM_TARGET}: \
             rustup target add {ARM_TARGET}"
        );
    };
    let mut command = route.cargo(workspace, "build", ARM_TARGET);
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    Ok(command)
}
