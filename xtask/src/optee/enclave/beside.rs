// SPDX-License-Identifier: MIT
//! Applications of ours that lie beside a test suite's: small ones, on every image.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{
    APPLICATIONS,
    built::{self, Built},
    root::compile,
};
use crate::{optee::Made, process, progress::Step, workspace::Workspace};

/// The one that this project's suite talks to, with its root image: the suite knows both names.
const TALK: (&str, &str) = ("e4d1c9b2-6a57-4f0e-8c3b-7d5f2a914b60", "root/talk.image");
/// File, program and arguments.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("xtest/optee/talk/talk.c", &["/talk", "200"]),
    ("xtest/enclave/threads.c", &["/threads"]),
    ("xtest/enclave/fault.c", &["/fault", "abort"]),
];
const MEMORY: &str = "4M";

/// Applications and what they need: where it lies in the machine, and here.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) files: Vec<(PathBuf, PathBuf)>,
    pub(crate) applications: usize,
}

impl Beside {
    /// Builds and packs them for an image.
    pub(crate) fn make(workspace: &Workspace, made: &Made) -> Result<Self> {
        let built = Built::make(workspace, made)?;
        let step = Step::start("applications beside the suite");
        let folder = built.machine.with_file_name("beside");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let root = folder.join("root");
        fs::create_dir_all(root.join("tmp"))?;
        for (source, command) in PROGRAMS {
            let program = command.first().map_or("", |name| name.trim_start_matches('/'));
            compile(&workspace.root.join(source), &root.join(program), &["-static-pie"])?;
        }
        let mut files = Vec::new();
        for (number, (_, command)) in PROGRAMS.iter().enumerate() {
            let uuid = (number == 0).then_some(TALK.0);
            let uuid = pack(&built, made, &folder, uuid, command)?;
            let place = Path::new(APPLICATIONS).join(format!("{uuid}.ta"));
            files.push((place, folder.join(format!("{uuid}.ta"))));
        }
        let applications = files.len();
        files.push((TALK.1.into(), folder.join(format!("{}.image", TALK.0))));
        step.finish("packed");
        Ok(Self { files, applications })
    }
}

/// Packs a program of `root` in that folder, with little memory; its name.
pub(super) fn pack(
    built: &Built,
    made: &Made,
    folder: &Path,
    uuid: Option<&str>,
    program: &[&str],
) -> Result<String> {
    let mut command = Command::new(&built.launcher);
    command.args(["pack-ta", "--squash-owner", "--memory", MEMORY, "--root"]);
    command.arg(folder.join("root")).arg("--key").arg(built::key(made));
    command.arg("--library-os").arg(&built.library_os).arg("--output").arg(folder);
    command.args(uuid.map(|uuid| ["--uuid", uuid]).into_iter().flatten());
    let printed = process::run_quietly(command.arg("--").args(program))?;
    Ok(String::from_utf8_lossy(&printed).trim().to_owned())
}
