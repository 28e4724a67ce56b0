// SPDX-License-Identifier: MIT
//! Projects that `strongroom new` writes: they are tested and run as their readmes say.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::tally::Tally;
use crate::{
    build::Built,
    optee::{self, Made},
    process,
    workspace::Workspace,
};

/// Makes the checks and counts them.
pub(super) fn check(workspace: &Workspace, built: &Built, tally: &Tally) {
    tally.check("a new program is tested, packed and run", || {
        let greeter = Project::new(workspace, built, "greeter", "program")?;
        says(&mut greeter.command("./run"), "Hello, Ada.")
    });
    let mut counter = None;
    tally.check("a new service is tested, packed and called", || {
        let project = Project::new(workspace, built, "counter", "service")?;
        let ran = says(&mut project.command("./run"), "the count is 3");
        counter = Some(project);
        ran
    });
    if let Some(counter) = counter {
        tally.check("a new service is a trusted application too", || {
            let machine = optee::Built::make(workspace, &Made::best(workspace)?)?.machine;
            let mut run = counter.command("./run");
            says(run.arg("optee").env("STRONGROOM_OPTEE_MACHINE", machine), "the count is 3")
        });
    }
}

/// A project that was written and tested.
struct Project<'a> {
    workspace: &'a Workspace,
    built: &'a Built,
    folder: tempfile::TempDir,
    name: &'static str,
}

impl<'a> Project<'a> {
    fn new(
        workspace: &'a Workspace,
        built: &'a Built,
        name: &'static str,
        template: &str,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let mut new = Command::new(built.launcher());
        new.args(["new", name, "--template", template])
            .arg("--sources")
            .arg(&workspace.root)
            .current_dir(folder.path());
        process::run_quietly(&mut new)?;
        let project = Self { workspace, built, folder, name };
        // Optimised, so that what is built for the test is there for the run.
        let mut test = project.command("cargo");
        process::run_quietly(test.args(["test", "--release", "--package", name]))?;
        Ok(project)
    }

    /// A command in the project. What it builds is kept, and its simulated chip is its own.
    fn command(&self, program: &str) -> Command {
        let project = self.folder.path().join(self.name);
        let mut command = Command::new(program);
        command.env("XDG_DATA_HOME", project.join("data")).current_dir(project);
        command.env("STRONGROOM", self.built.launcher());
        command.env("STRONGROOM_PAYLOAD", self.built.payload());
        command.env("CARGO_TARGET_DIR", self.workspace.target.join("new"));
        command
    }
}

/// Runs a command, which says `words` in a line.
fn says(command: &mut Command, words: &str) -> Result<()> {
    let said = process::run_quietly(command)?;
    let said = String::from_utf8_lossy(&said);
    ensure!(said.lines().any(|line| line == words), "{said}");
    Ok(())
}
