// SPDX-License-Identifier: MIT
//! `cargo xtask optee xtest`: test suites in the normal world, counted case by case.

mod collect;
mod junit;
mod parse;
mod quick;
mod table;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use strongroom_optee_qemu::{Command, Input, Size, Status};

use self::{collect::Collector, parse::Report};
use super::{
    Configuration,
    enclave::Beside,
    image::{Made, warn_without_big},
    parts::{Parts, explained},
    programs,
    run::boot,
};
use crate::{
    progress::Step,
    setup::{self, Wants},
    workspace::Workspace,
};

/// A terminal makes xtest write line by line, so that times of cases can be taken.
const TERMINAL: Size = Size { rows: 24, columns: 200 };

/// What a run may take, unless told otherwise: some ten times what it takes on a quiet machine.
const QUICK_LIMIT: Duration = Duration::from_secs(1200);
const FULL_LIMIT: Duration = Duration::from_secs(5400);

/// This project's suite: the package and its program.
pub(crate) const OWN_PROGRAM: &str = "strongroom-xtest";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    parts: Parts,
    /// Run the whole regression suite, on both configurations unless one is named [default: the
    /// cases that take few seconds]
    #[arg(long)]
    full: bool,
    /// Write results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Show all that xtest prints, while it runs
    #[arg(long, short)]
    verbose: bool,
    /// End a machine after so many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Only this suite [default: both; with arguments upstream's]
    #[arg(long)]
    suite: Option<Which>,
    /// Arguments for the suite instead: `1006` runs that case, for xtest `-t pkcs11` another suite
    #[arg(
        conflicts_with = "full",
        value_name = "XTEST ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<OsString>,
}

/// Whose tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// OP-TEE's own xtest
    Upstream,
    /// This project's, in the same manner
    Strongroom,
}

/// One suite on one image.
#[derive(Debug)]
pub(crate) struct Run {
    /// `xtest-big` and the like.
    pub(crate) name: String,
    /// What it ran on.
    pub(crate) image: String,
    pub(crate) report: Report,
    /// What is wrong with it; nothing when everything passed.
    pub(crate) problems: Vec<String>,
}

/// Runs xtest and prints what came of it; success when nothing failed.
pub(crate) fn xtest(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let mut runs = Vec::new();
    for made in images(workspace, options)? {
        for suite in options.suites() {
            let limit = options.timeout.map_or(suite.limit(), Duration::from_secs);
            let machine = options.parts.options(workspace, &made, limit)?;
            let run = suite.run_in(workspace, machine, &made, options.verbose)?;
            print!("{}", run.table());
            runs.push(run);
        }
    }
    if let Some(file) = &options.junit {
        write_junit(file, &runs)?;
    }
    let passed = runs.iter().all(|run| run.problems.is_empty());
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn images(workspace: &Workspace, options: &Options) -> Result<Vec<Made>> {
    if !options.full || options.parts.config.is_some() {
        return Ok(vec![options.parts.image(workspace)?]);
    }
    setup::setup(workspace, Wants::optee(Configuration::ALL), options.parts.setup.no_install)?;
    let mut images = vec![Made::of(workspace, Configuration::Stock, false)?];
    match Made::of(workspace, Configuration::Big, false) {
        Ok(big) => images.push(big),
        Err(error) => warn_without_big(&error),
    }
    Ok(images)
}

impl Options {
    fn suites(&self) -> Vec<Suite> {
        let upstream = match self.arguments.as_slice() {
            [] if self.full => Suite::Regression,
            [] => Suite::Quick,
            arguments => Suite::Arguments(arguments.to_vec()),
        };
        let own = Suite::Strongroom(self.arguments.clone());
        match self.suite {
            Some(Which::Upstream) => vec![upstream],
            Some(Which::Strongroom) => vec![own],
            None if self.arguments.is_empty() => vec![upstream, own],
            None => vec![upstream],
        }
    }
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// The cases of upstream's regression suite that take few seconds.
    Quick,
    /// All of it.
    Regression,
    /// What these arguments make xtest run.
    Arguments(Vec<OsString>),
    /// This project's suite, with these arguments.
    Strongroom(Vec<OsString>),
}

impl Suite {
    /// Runs it on an image as it is.
    pub(crate) fn run(&self, workspace: &Workspace, made: &Made) -> Result<Run> {
        let machine = Parts::default().options(workspace, made, self.limit())?;
        self.run_in(workspace, machine, made, false)
    }

    fn run_in(
        &self,
        workspace: &Workspace,
        mut machine: strongroom_optee_qemu::Options,
        made: &Made,
        verbose: bool,
    ) -> Result<Run> {
        let (program, arguments) = match self {
            Self::Quick => ("xtest", quick::arguments()),
            Self::Regression => ("xtest", ["-t", "regression"].map(OsString::from).to_vec()),
            Self::Arguments(arguments) => ("xtest", arguments.clone()),
            Self::Strongroom(arguments) => {
                machine.files.push(own_program(workspace, made)?);
                (OWN_PROGRAM, arguments.clone())
            }
        };
        let words = [vec![OsString::from(program)], arguments].concat();
        let beside = Beside::make(workspace, made)?;
        machine.files.extend(beside.files);
        let mut run = run_suite(&machine, made, &words, verbose)?;
        let count = beside.applications;
        run.image += &format!(", with {count} applications of Strongroom's installed");
        Ok(run)
    }

    fn limit(&self) -> Duration {
        match self {
            Self::Quick => QUICK_LIMIT,
            Self::Regression | Self::Arguments(_) => FULL_LIMIT,
            Self::Strongroom(_) => QUICK_LIMIT,
        }
    }
}

/// Builds this project's suite: where it lies in the machine, and here.
pub(crate) fn own_program(workspace: &Workspace, made: &Made) -> Result<(PathBuf, PathBuf)> {
    let flags = programs::client_flags(made);
    let built = programs::build(workspace, OWN_PROGRAM, OWN_PROGRAM, &flags)?;
    Ok((Path::new("usr/bin").join(OWN_PROGRAM), built))
}

impl Run {
    /// The summary for people.
    pub(crate) fn table(&self) -> String {
        table::table(self)
    }
}

/// Boots a machine, runs a suite that prints as xtest does, and reads what it says.
fn run_suite(
    machine: &strongroom_optee_qemu::Options,
    made: &Made,
    words: &[OsString],
    verbose: bool,
) -> Result<Run> {
    let program = words.first().map(|word| word.to_string_lossy().into_owned());
    let program = program.unwrap_or_default();
    let name = format!("{program}-{}", made.configuration.name());
    let log = machine.logs.folder.join(format!("{program}.log"));
    let mut booted = boot(machine).map_err(explained)?;
    let step = Step::start(&name);
    let mut collector = Collector::new(&log, (!verbose).then_some(&step), verbose)
        .with_context(|| format!("write {}", log.display()))?;
    let command = Command::new(words).on_terminal(TERMINAL);
    let ended = booted.run(&command, Input::Empty, &mut collector, &mut std::io::sink());
    let report = collector.finish();
    let mut problems = Vec::new();
    match ended {
        Ok(status) => {
            problems.extend(report.problems(status == Status::Exited(0)));
            if let Err(error) = booted.power_off() {
                problems.push(format!("{:#}", explained(error)));
            }
        }
        Err(error) => problems.push(format!("{:#}", explained(error))),
    }
    step.finish(if problems.is_empty() { "passed" } else { "FAILED" });
    if !problems.is_empty() {
        problems.push(format!("logs: {}", machine.logs.folder.display()));
    }
    Ok(Run { name, image: described(made), report, problems })
}

fn described(made: &Made) -> String {
    let optee = made.versions.of("optee-os").unwrap_or("unknown");
    let tests = made.versions.of("optee-test-qemu").unwrap_or("unknown");
    format!("{}: OP-TEE {optee}, optee-test {tests}", made.configuration.name())
}

fn write_junit(file: &Path, runs: &[Run]) -> Result<()> {
    let xml = junit::document(runs).to_string().context("write JUnit XML")?;
    fs::write(file, xml).with_context(|| format!("write {}", file.display()))
}
