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
use crate::{
    build::{LAUNCHER, program},
    process,
    progress::Step,
    workspace::Workspace,
};

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
    PROBE,
];

/// It does whatever can go wrong.
const PROBE: Example = Example {
    package: "strongroom-probe",
    application: "strongroom-probe-ta",
    uuid: "212f990e-321f-436b-9d96-6bcc0f9a4ec5",
};
/// The probe's file lies there under this name too, which is not what it was signed as.
const MISPLACED: &str = "6a0e5a0c-27c5-4f0e-8a6f-0d6c3b1e9f72";

/// Its client.
const PROBING: &str = "strongroom-probe-client";

/// Clients, by package and program.
const CLIENTS: &[(&str, &str)] = &[
    ("strongroom-signer-client", "strongroom-signer-client"),
    ("strongroom-vault-client", "strongroom-vault-client"),
    ("strongroom-sdk-xtest", "strongroom-crowd"),
    (PROBING, PROBING),
];
/// There is no such application.
const NOWHERE: &str = "5d3a1c86-9b7e-4e0f-b1a2-7c4d6e8f9a01";
/// MiB that the probe takes through a stream.
const STREAMED: &str = "64";
/// The client in C, which the last one calls.
const IN_C: &str = "strongroom-wallet-c";
const IN_C_SOURCE: &str = "xtest/sdk/wallet.c";

/// Builds the examples and their clients, and has these call them in a machine, and from this computer: what
/// they print, when all of it holds.
pub(crate) fn examples(workspace: &Workspace, made: &Made, full: bool) -> Result<String> {
    let mut machine = Parts::default().options(workspace, made, LIMIT)?;
    let signed = sign(workspace, made)?;
    let probe = signed.iter().find(|one| one.uuid == PROBE.uuid).context("the probe is built")?;
    let misplaced = Signed { uuid: MISPLACED, file: probe.file.clone() };
    for Signed { uuid, file } in signed.iter().chain([&misplaced]) {
        let place = Path::new(APPLICATIONS).join(format!("{uuid}.ta"));
        machine.files.push((place, file.clone()));
    }
    for (package, program) in CLIENTS {
        let built = programs::build(workspace, package, program, &programs::client_flags(made))?;
        machine.files.push((Path::new(PROGRAMS).join(program), built));
    }
    machine.files.push((Path::new(PROGRAMS).join(IN_C), in_c(workspace, made)?));
    let mut booted = boot(&machine).map_err(explained)?;
    let mut said = String::new();
    for words in runs() {
        said.push_str(&run(&mut booted, &words)?);
    }
    booted.power_off().map_err(explained)?;
    let signer = signed.first().context("the signer is the first")?;
    Ok(said + &outside::call(workspace, made, signer, full.then_some(probe))?)
}

/// What is run in the machine, in this order.
fn runs() -> [Vec<String>; 6] {
    let url = |uuid: &str| format!("optee:{uuid}");
    let (probe, misplaced, nowhere) = (url(PROBE.uuid), url(MISPLACED), url(NOWHERE));
    [
        vec!["strongroom-signer-client"],
        vec!["strongroom-vault-client"],
        vec!["strongroom-crowd"],
        vec![PROBING, &misplaced, "misplaced"],
        vec![PROBING, &nowhere, "absent"],
        vec![PROBING, &probe, STREAMED],
    ]
    .map(|words| words.into_iter().map(str::to_owned).collect())
}

fn run(machine: &mut Machine, words: &[String]) -> Result<String> {
    let program = words.join(" ");
    let ran = machine.capture(&Command::new(words), Input::Empty).map_err(explained)?;
    let (status, output) = (ran.status.code(), String::from_utf8_lossy(&ran.output).into_owned());
    let errors = String::from_utf8_lossy(&ran.errors);
    ensure!(status == 0, "{program} ends with {status}:\n{output}{errors}");
    Ok(output)
}

/// A signed trusted application.
struct Signed {
    uuid: &'static str,
    file: PathBuf,
}

/// The trusted applications of all examples, in their order.
fn sign(workspace: &Workspace, made: &Made) -> Result<Vec<Signed>> {
    let step = Step::start("build the examples for OP-TEE");
    let mut command = library_os_cargo(workspace, made, "build")?;
    command.arg("--release");
    for example in EXAMPLES {
        command.args(["--package", example.package, "--bin", example.application]);
    }
    process::run_quietly(&mut command)?;
    program(workspace, LAUNCHER)?;
    let services = target(workspace, made).join("services");
    fs::create_dir_all(&services).with_context(|| format!("make {}", services.display()))?;
    let mut signed = Vec::new();
    for Example { application, uuid, .. } in EXAMPLES {
        let file = enclave::sign(workspace, made, application, uuid, &services)?;
        signed.push(Signed { uuid, file });
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
