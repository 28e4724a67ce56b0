// SPDX-License-Identifier: MIT
//! Projects that `strongroom new` writes: they are tested and run as their readmes say.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::tally::Tally;
use crate::{build::Built, process, workspace::Workspace};

/// Makes the checks and counts them.
pub(super) fn check(workspace: &Workspace, built: &Built, tally: &Tally) {
    tally.check("a new program is tested, packed and run", || {
        play(workspace, built, "greeter", "program", "Hello, Ada.")
    });
    tally.check("a new service is tested, packed and called", || {
        play(workspace, built, "counter", "service", "the count is 3")
    });
}

/// Writes the project of that name, tests it, and runs it until it says `words`.
fn play(
    workspace: &Workspace,
    built: &Built,
    name: &str,
    template: &str,
    words: &str,
) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let mut new = Command::new(built.launcher());
    new.args(["new", name, "--template", template])
        .arg("--sources")
        .arg(&workspace.root)
        .current_dir(folder.path());
    process::run_quietly(&mut new)?;
    let project = folder.path().join(name);
    // Optimised, so that what is built for the test is there for the run.
    let mut test = in_project(workspace, built, &project, "cargo");
    process::run_quietly(test.args(["test", "--release", "--package", name]))?;
    let said = process::run_quietly(&mut in_project(workspace, built, &project, "./run"))?;
    let said = String::from_utf8_lossy(&said);
    ensure!(said.lines().any(|line| line == words), "{said}");
    Ok(())
}

/// A command in the project. What it builds is kept, and its simulated chip is its own.
fn in_project(workspace: &Workspace, built: &Built, project: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(project).env("STRONGROOM", built.launcher());
    command.env("STRONGROOM_PAYLOAD", built.payload());
    command.env("CARGO_TARGET_DIR", workspace.target.join("new"));
    command.env("XDG_DATA_HOME", project.join("data"));
    command
}
