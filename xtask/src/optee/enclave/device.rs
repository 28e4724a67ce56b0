// SPDX-License-Identifier: MIT
//! Programs that are packed where the TEE is: the command line in the machine's normal world makes the
//! trusted application, signs it, installs it, and runs it, as on a device.

use std::{path::Path, time::Instant};

use anyhow::Result;
use strongroom_optee_qemu::{Command, Input, Machine, Options};

use super::{APPLICATIONS, RUNNER, Ran, built, cases::Case, packed::Packer};
use crate::optee::{image::Made, parts::explained};

/// Where the parts lie in the machine.
const FOLDER: &str = "root/device";
/// Where programs lie in a root.
const PROGRAMS: &str = "usr/bin";

/// Puts what is packed into a machine that the command line is in already.
pub(super) fn install(machine: &mut Options, packer: &Packer, made: &Made, case: &Case) {
    let folder = Path::new(FOLDER);
    let program = Path::new(PROGRAMS).join(case.command.first().map_or("", String::as_str));
    machine.files.extend([
        (folder.join("strongroom-optee"), packer.built.library_os.clone()),
        (folder.join("key.pem"), built::key(made)),
        (folder.join("root").join(&program), packer.root.join(&program)),
    ]);
}

/// Packs and runs it there. Nothing of it may be left.
pub(super) fn run(machine: &mut Machine, case: &Case) -> Result<Ran> {
    let started = Instant::now();
    let (memory, program) = (&case.memory, case.command.join(" "));
    let script = format!(
        "before=$(ls /{APPLICATIONS})
        /{RUNNER} run --tee optee --key /{FOLDER}/key.pem --library-os /{FOLDER}/strongroom-optee \\
            --applications /{APPLICATIONS} --memory {memory} --root /{FOLDER}/root -- {program} || exit
        [ \"$before\" = \"$(ls /{APPLICATIONS})\" ] || echo something is left"
    );
    let command = Command::new(["sh", "-c", &script]);
    let ran = machine.capture(&command, Input::Empty).map_err(explained)?;
    let problem = case.judge(ran.status.code(), &ran.output, &ran.errors);
    Ok(Ran { name: case.name.clone(), problem, took: started.elapsed() })
}
