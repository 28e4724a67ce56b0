// SPDX-License-Identifier: MIT
//! Programs of ours for the normal world, built on this computer.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{
    cache::{Cache, digest},
    image::Made,
};
use crate::{
    apt::{Architecture, Depth, View, unpack},
    process,
    progress::Step,
    toolchain::{ARM_TARGET, Route, debian_cargo},
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

/// Flags for programs that talk to the TEE. All have the same, as other flags mean other builds of
/// everything that they share.
pub(crate) fn client_flags(made: &Made) -> String {
    let library = made.client().join("lib");
    format!("-Lnative={} -Clink-arg=-Wl,--allow-shlib-undefined -Cstrip=symbols", library.display())
}

/// Builds a program for the normal world; shows cargo's output only on failure.
pub(crate) fn build(
    workspace: &Workspace,
    package: &str,
    program: &str,
    flags: &str,
) -> Result<PathBuf> {
    let step = Step::start(&format!("build {program}"));
    let mut command = cargo(workspace, "build", flags)?;
    command.args(["--profile", "tool", "--package", package, "--bin", program]);
    process::run_quietly(&mut command)?;
    let built = workspace.target.join(ARM_TARGET).join("tool").join(program);
    if !built.exists() {
        bail!("the build did not make {}", built.display());
    }
    step.finish("built");
    Ok(built)
}

/// `cargo SUBCOMMAND` for the normal world, with its standard library.
pub(crate) fn cargo(workspace: &Workspace, subcommand: &str, flags: &str) -> Result<Command> {
    let (mut command, flags) = match Route::to(ARM_TARGET) {
        Some(route @ Route::Installed) => {
            (route.cargo(workspace, subcommand, ARM_TARGET), flags.to_owned())
        }
        Some(Route::ActiveSource | Route::DebianWeb) | None => {
            let library = debian_library(workspace)?;
            let mut command = debian_cargo(workspace);
            command.args([subcommand, "--target", ARM_TARGET]);
            (command, format!("{flags} --sysroot={}", library.display()))
        }
    };
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags.trim());
    Ok(command)
}

/// The standard library that Debian built for arm64 with its own compiler, unpacked and not
/// installed: installing it would make this machine one of two architectures.
fn debian_library(workspace: &Workspace) -> Result<PathBuf> {
    if !Path::new("/usr/bin/rustc").exists() {
        bail!(
            "programs for OP-TEE's normal world need Rust's standard library for {ARM_TARGET}: \
             rustup target add {ARM_TARGET}, or Debian's rustc-web"
        );
    }
    let compiler = process::run_quietly(Command::new("/usr/bin/rustc").arg("--version"))?;
    let name = format!("rust-library-{}", digest(&compiler));
    let folder = Cache::of(workspace)?.folder().join(name);
    let sysroot = folder.join("usr");
    if sysroot.join("lib/rustlib").join(ARM_TARGET).is_dir() {
        return Ok(sysroot);
    }
    let step = Step::start("Rust's standard library for the normal world");
    let suite = codename()?;
    let suites = [suite.as_str(), &format!("{suite}-security")];
    let view = View::open_for(workspace, &suites, Architecture::Arm64)?;
    let packages = view.download("rust-library", &["libstd-rust-web-dev"], Depth::Alone)?;
    unpack(&packages, &folder, &step)?;
    view.forget("rust-library")?;
    step.finish("unpacked");
    Ok(sysroot)
}

/// This machine's suite: its compiler and the library have to come from the same one.
fn codename() -> Result<String> {
    let release = std::fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release names no suite")?.trim_matches('"').to_owned())
}
