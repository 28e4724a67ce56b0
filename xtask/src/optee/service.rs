// SPDX-License-Identifier: MIT
//! Services as trusted applications of their own, called by programs of the normal world.

mod outside;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use strongroom_optee_qemu::{Command, Input, Machine};

use super::{
    enclave::{self, COMPILER, library_os_cargo, target},
    image::Made,
    parts::{Parts, explained},
    programs,
    run::boot,
};
use crate::{process, progress::Step, toolchain::cargo, workspace::Workspace};

/// Some ten times what it takes on a quiet machine.
const LIMIT: Duration = Duration::from_secs(600);
const APPLICATIONS: &str = "usr/lib/optee_armtz";
const PROGRAMS: &str = "usr/bin";

/// An example: package, trusted application, and its name.
struct Example {
    package: &'static str,
    application: &'static str,
    uuid: &'static str,
}

const EXAMPLES: &[Example] = &[
    Example {
        package: "strongroom-signer",
        application: "strongroom-signer-ta",
        uuid: "5f0c1a3e-8d4b-4c56-9b1f-2a7e6d0c9f31",
    },
    Example {
        package: "strongroom-wallet",
        application: "strongroom-wallet-ta",
        uuid: "0b7c5d26-93e1-4f0a-8c5e-41d2b6f0a9c8",
    },
    Example {
        package: "strongroom-vault",
        application: "strongroom-vault-ta",
        uuid: "d2a94c17-6e05-4b38-a1f7-9c3e58b0d764",
    },
];

/// Clients, by package and program, in the order in which they are run.
const CLIENTS: &[(&str, &str)] = &[
    ("strongroom-signer-client", "strongroom-signer-client"),
    ("strongroom-vault-client", "strongroom-vault-client"),
    ("strongroom-sdk-xtest", "strongroom-crowd"),
];
/// The client in C, which the last one calls.
const IN_C: &str = "strongroom-wallet-c";
const IN_C_SOURCE: &str = "xtest/sdk/wallet.c";

/// Builds the examples and their clients, and has these call them in a machine: what they print, when
/// all of it holds.
pub(crate) fn examples(workspace: &Workspace, made: &Made) -> Result<String> {
    let mut machine = Parts::default().options(workspace, made, LIMIT)?;
    let signed = sign(workspace, made)?;
    for (signed, example) in signed.iter().zip(EXAMPLES) {
        let place = Path::new(APPLICATIONS).join(format!("{}.ta", example.uuid));
        machine.files.push((place, signed.clone()));
    }
    for (package, program) in CLIENTS {
        let built = programs::build(workspace, package, program, &programs::client_flags(made))?;
        machine.files.push((Path::new(PROGRAMS).join(program), built));
    }
    machine.files.push((Path::new(PROGRAMS).join(IN_C), in_c(workspace, made)?));
    let mut booted = boot(&machine).map_err(explained)?;
    let mut said = String::new();
    for (_, program) in CLIENTS {
        said.push_str(&run(&mut booted, program)?);
    }
    booted.power_off().map_err(explained)?;
    let signer = signed.first().context("the signer is the first")?;
    Ok(said + &outside::signer(workspace, made, signer)?)
}

fn run(machine: &mut Machine, program: &str) -> Result<String> {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let command = Command::new([program]);
    let status =
        machine.run(&command, Input::Empty, &mut output, &mut errors).map_err(explained)?;
    let output = String::from_utf8_lossy(&output).into_owned();
    let errors = String::from_utf8_lossy(&errors);
    ensure!(status.code() == 0, "{program} ends with {}:\n{output}{errors}", status.code());
    Ok(output)
}

/// The trusted applications of all examples, in their order.
fn sign(workspace: &Workspace, made: &Made) -> Result<Vec<PathBuf>> {
    let step = Step::start("build the examples for OP-TEE");
    let mut command = library_os_cargo(workspace, made, "build")?;
    command.arg("--release");
    for example in EXAMPLES {
        command.args(["--package", example.package, "--bin", example.application]);
    }
    process::run_quietly(&mut command)?;
    let mut command = cargo(workspace);
    command.args(["build", "--profile", "tool", "--package", "strongroom", "--bin", "strongroom"]);
    process::run_quietly(&mut command)?;
    let services = target(workspace, made).join("services");
    fs::create_dir_all(&services).with_context(|| format!("make {}", services.display()))?;
    let mut signed = Vec::new();
    for Example { application, uuid, .. } in EXAMPLES {
        signed.push(enclave::sign(workspace, made, application, uuid, &services)?);
    }
    step.finish("built and signed");
    Ok(signed)
}

/// A client that knows nothing but `libteec`.
fn in_c(workspace: &Workspace, made: &Made) -> Result<PathBuf> {
    let program = target(workspace, made).join(IN_C);
    let mut command = Process::new(COMPILER);
    command.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    command.arg(workspace.root.join(IN_C_SOURCE)).arg("-I").arg(made.client().join("include"));
    command.arg("-L").arg(made.client().join("lib")).arg("-lteec");
    process::run_quietly(command.arg("-Wl,--allow-shlib-undefined"))?;
    Ok(program)
}
