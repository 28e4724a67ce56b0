// SPDX-License-Identifier: MIT
//! `cargo xtask optee enclave`: the library OS as a trusted application, with programs in it.
//!
//! Each case of `xtest/enclave/cases.toml` is packed into a trusted application of its own; one machine
//! with all of them is booted, and they are run one after the other from its normal world.

mod built;
mod cases;
mod cost;
mod document;
mod programs;
mod root;
mod spinner;

pub(crate) use built::library_os_cargo;
pub(crate) use cost::cost;
pub(crate) use document::{QUICK, check as check_programs, check_names, write as write_programs};
pub(crate) use spinner::spinners;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use strongroom_optee_qemu::{Command, Input, Machine};

use self::{
    built::Built,
    cases::{Case, Packed},
};
use super::{
    image::Made,
    parts::{Parts, explained},
    run::boot,
};
use crate::{
    progress::{Step, seconds},
    workspace::Workspace,
};

/// Some ten times what it takes on a quiet machine.
const LIMIT: Duration = Duration::from_secs(1200);
/// Where trusted applications lie in the normal world.
const APPLICATIONS: &str = "usr/lib/optee_armtz";
/// Where the root image lies there.
const IMAGE: &str = "root/root.image";
const RUNNER: &str = "usr/bin/strongroom-optee-run";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    parts: Parts,
    /// Show what each program prints
    #[arg(long, short)]
    verbose: bool,
    /// Also run what takes long
    #[arg(long)]
    full: bool,
    /// Run only cases with this in their name
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// What came of a case: nothing, or what is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) name: String,
    pub(crate) problem: Option<String>,
    pub(crate) took: Duration,
}

/// Builds, packs, boots and runs; success when every case passed.
pub(crate) fn enclave(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let made = options.parts.image(workspace)?;
    let machine = options.parts.options(workspace, &made, LIMIT)?;
    let ran = run_on(workspace, &made, machine, options)?;
    let failed = ran.iter().filter(|ran| ran.problem.is_some()).count();
    println!("{} passed, {failed} failed", ran.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the cases on a machine as it is made.
pub(crate) fn run_all(workspace: &Workspace, made: &Made, full: bool) -> Result<Vec<Ran>> {
    let parts = Parts::default();
    let machine = parts.options(workspace, made, LIMIT)?;
    run_on(workspace, made, machine, &Options { parts, verbose: false, full, filters: Vec::new() })
}

fn run_on(
    workspace: &Workspace,
    made: &Made,
    mut machine: strongroom_optee_qemu::Options,
    options: &Options,
) -> Result<Vec<Ran>> {
    let mut cases = cases::read(workspace)?;
    cases.retain(|case| {
        let named = |filter: &String| case.name.contains(filter.as_str());
        let wanted = options.full || !case.full;
        if options.filters.is_empty() { wanted } else { options.filters.iter().any(named) }
    });
    if cases.is_empty() {
        bail!("no case has such a name");
    }
    let built = Built::make(workspace, made)?;
    let root = root::make(workspace)?;
    let work = tempfile::tempdir_in(&workspace.target)?;
    let step = Step::start("pack programs");
    let mut packed = Vec::new();
    for case in &cases {
        step.note(&case.name);
        packed.push(case.pack(&built, &made.dev_kit(), &root, work.path())?);
    }
    step.finish("packed");
    let image = packed.first().map(|packed| packed.image.clone()).context("nothing is packed")?;
    machine.files.push((RUNNER.into(), built.runner));
    machine.files.push((IMAGE.into(), image));
    for Packed { uuid, application, .. } in &packed {
        let place = Path::new(APPLICATIONS).join(format!("{uuid}.ta"));
        machine.files.push((place, application.clone()));
    }
    let mut booted = boot(&machine).map_err(explained)?;
    let mut ran = Vec::new();
    for (case, packed) in cases.iter().zip(&packed) {
        let one = run_case(&mut booted, case, packed, options.verbose)?;
        match &one.problem {
            None => println!("ok    {} ({})", one.name, seconds(one.took)),
            Some(problem) => println!("FAIL  {}: {problem}", one.name),
        }
        ran.push(one);
    }
    booted.power_off().map_err(explained)?;
    Ok(ran)
}

fn run_case(machine: &mut Machine, case: &Case, packed: &Packed, verbose: bool) -> Result<Ran> {
    let image = PathBuf::from("/").join(IMAGE);
    let image = image.to_string_lossy();
    let command = Command::new(["strongroom-optee-run", "--uuid", &packed.uuid, "--image", &image]);
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let input = Input::Bytes(case.input.as_bytes());
    let status = machine.run(&command, input, &mut output, &mut errors).map_err(explained)?;
    if verbose {
        print!("{}{}", String::from_utf8_lossy(&output), String::from_utf8_lossy(&errors));
    }
    let problem = case.judge(status.code(), &output, &errors);
    Ok(Ran { name: case.name.clone(), problem, took: started.elapsed() })
}
