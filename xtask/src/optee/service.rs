// SPDX-License-Identifier: MIT
//! Services as trusted applications of their own, called by programs of the normal world.

use std::{fs, path::Path, process::Command as Process, time::Duration};

use anyhow::{Context, Result, ensure};
use strongroom_optee_qemu::{Command, Input};

use super::{
    enclave::{key, library_os_cargo, target},
    image::Made,
    parts::{Parts, explained},
    programs,
    run::boot,
};
use crate::{
    process,
    progress::Step,
    toolchain::{APPLICATION_TARGET, cargo},
    workspace::Workspace,
};

/// Some ten times what it takes on a quiet machine.
const LIMIT: Duration = Duration::from_secs(600);
const APPLICATIONS: &str = "usr/lib/optee_armtz";

/// The example: package, trusted application, its name, and its client.
const PACKAGE: &str = "strongroom-signer";
const APPLICATION: &str = "strongroom-signer-ta";
const UUID: &str = "5f0c1a3e-8d4b-4c56-9b1f-2a7e6d0c9f31";
const CLIENT: &str = "strongroom-signer-client";

/// Builds the signer and its client, and has the client call it in a machine: what it prints, when
/// all of it holds.
pub(crate) fn signer(workspace: &Workspace, made: &Made) -> Result<String> {
    let signed = sign(workspace, made)?;
    let client = programs::build(workspace, CLIENT, CLIENT, &programs::client_flags(made))?;
    let mut machine = Parts::default().options(workspace, made, LIMIT)?;
    machine.files.push((Path::new(APPLICATIONS).join(format!("{UUID}.ta")), signed));
    machine.files.push((Path::new("usr/bin").join(CLIENT), client));
    let mut booted = boot(&machine).map_err(explained)?;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let command = Command::new([CLIENT]);
    let status = booted.run(&command, Input::Empty, &mut output, &mut errors).map_err(explained)?;
    booted.power_off().map_err(explained)?;
    let output = String::from_utf8_lossy(&output).into_owned();
    let errors = String::from_utf8_lossy(&errors);
    ensure!(status.code() == 0, "the client ends with {}:\n{output}{errors}", status.code());
    Ok(output)
}

fn sign(workspace: &Workspace, made: &Made) -> Result<std::path::PathBuf> {
    let step = Step::start("build the signer for OP-TEE");
    let mut command = library_os_cargo(workspace, made, "build")?;
    command.args(["--release", "--package", PACKAGE, "--bin", APPLICATION]);
    process::run_quietly(&mut command)?;
    let folder = target(workspace, made);
    let built = folder.join(APPLICATION_TARGET).join("release").join(APPLICATION);
    let mut command = cargo(workspace);
    command.args(["build", "--profile", "tool", "--package", "strongroom", "--bin", "strongroom"]);
    process::run_quietly(&mut command)?;
    let services = folder.join("services");
    fs::create_dir_all(&services).with_context(|| format!("make {}", services.display()))?;
    let mut command = Process::new(workspace.launcher());
    command.arg("sign-ta").arg(&built).args(["--uuid", UUID, "--key"]).arg(key(made));
    process::run_quietly(command.arg("--output").arg(&services))?;
    step.finish("built and signed");
    Ok(services.join(format!("{UUID}.ta")))
}
