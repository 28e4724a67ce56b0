// SPDX-License-Identifier: MIT
//! `cargo xtask optee enclave`: the library OS as a trusted application, with programs in it.
//!
//! Each case of `xtest/enclave/cases.toml` is packed into a trusted application of its own; one machine
//! with all of them is booted, and they are run one after the other from its normal world.

mod beside;
mod built;
mod cases;
mod cost;
mod device;
mod document;
mod emulator;
mod packed;
mod programs;
mod root;
mod spinner;
mod start;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use strongroom_optee_qemu::{Command, Input, Machine};

pub(crate) use self::{
    beside::Beside,
    built::{Built, COMPILER, library_os_cargo, sign, target},
    cost::cost,
    document::{QUICK, check as check_programs, check_names, write as write_programs},
    root::make as programs_root,
    spinner::spinners,
    start::start,
};
use self::{
    cases::{Case, Spoil},
    packed::{Packed, Packer, place_in_image},
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
const LIMIT: Duration = Duration::from_secs(1800);
/// The archive with all applications is in memory twice while the machine boots.
const MEMORY_MIB: u32 = 2560;
/// Where trusted applications lie in the normal world.
const APPLICATIONS: &str = "usr/lib/optee_armtz";
/// Where the root image lies there, and the one with a flipped bit.
const IMAGE: &str = "root/root.image";
const SPOILT: &str = "tmp/spoilt.image";
const RUNNER: &str = "usr/bin/strongroom";

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

/// Packed cases and what they are made of.
struct Bench {
    packer: Packer,
    image: PathBuf,
    cases: Vec<(Case, Packed)>,
    /// Cases that are packed in the machine.
    on_device: Vec<Case>,
}

fn run_on(
    workspace: &Workspace,
    made: &Made,
    mut machine: strongroom_optee_qemu::Options,
    options: &Options,
) -> Result<Vec<Ran>> {
    let mut ran = Vec::new();
    let bench = prepare(workspace, made, options, &mut ran)?;
    if bench.cases.is_empty() && bench.on_device.is_empty() {
        return Ok(ran);
    }
    install(&mut machine, &bench.packer, bench.cases.iter().map(|(_, packed)| packed));
    for case in &bench.on_device {
        device::install(&mut machine, &bench.packer, made, case);
    }
    let mut booted = boot(&machine).map_err(explained)?;
    for (case, packed) in bench.cases.iter().filter(|(case, _)| !case.helper) {
        let started = Instant::now();
        let problem = bench.run(&mut booted, case, packed, options.verbose)?;
        ran.push(Ran { name: case.name.clone(), problem, took: started.elapsed() });
        ran.last().into_iter().for_each(Ran::show);
    }
    for case in &bench.on_device {
        ran.push(device::run(&mut booted, case)?);
        ran.last().into_iter().for_each(Ran::show);
    }
    booted.power_off().map_err(explained)?;
    Ok(ran)
}

/// Packs the cases. Those that are refused have run then.
fn prepare(
    workspace: &Workspace,
    made: &Made,
    options: &Options,
    ran: &mut Vec<Ran>,
) -> Result<Bench> {
    let cases = cases::read(workspace, made.configuration, &options.filters, options.full)?;
    let packer = Packer::make(workspace, made)?;
    let step = Step::start("pack programs");
    let (mut all, mut on_device) = (Vec::new(), Vec::new());
    for case in cases {
        step.note(&case.name);
        let started = Instant::now();
        if case.on_device {
            on_device.push(case);
            continue;
        }
        let Some(words) = &case.refused else {
            let packed = packer.pack(&case)?;
            all.push((case, packed));
            continue;
        };
        let problem = packer.refuses(&case, words)?;
        ran.push(Ran { name: case.name.clone(), problem, took: started.elapsed() });
        ran.last().into_iter().for_each(Ran::show);
    }
    step.finish("packed");
    let image = all.first().map(|(_, packed)| packed.image.clone()).unwrap_or_default();
    Ok(Bench { packer, image, cases: all, on_device })
}

/// Puts applications with their one image into a machine, and the command line that runs them.
fn install<'a>(
    machine: &mut strongroom_optee_qemu::Options,
    packer: &Packer,
    applications: impl IntoIterator<Item = &'a Packed>,
) {
    machine.memory_mib = MEMORY_MIB;
    machine.files.push((RUNNER.into(), packer.built.runner.clone()));
    let mut image = None;
    for packed in applications {
        let place = Path::new(APPLICATIONS).join(format!("{}.ta", packed.uuid));
        machine.files.push((place, packed.application.clone()));
        image = Some(packed.image.clone());
    }
    machine.files.extend(image.map(|image| (IMAGE.into(), image)));
}

/// The command that runs an installed application with that image.
fn client(packed: &Packed, image: &str) -> [String; 8] {
    let image = format!("/{image}");
    let words = ["strongroom", "run", "--tee", "optee", "--installed", &packed.uuid, "--root"];
    let [a, b, c, d, e, f, g] = words.map(str::to_owned);
    [a, b, c, d, e, f, g, image]
}

impl Bench {
    /// Runs a case; what is wrong with how it ended.
    fn run(
        &self,
        machine: &mut Machine,
        case: &Case,
        packed: &Packed,
        verbose: bool,
    ) -> Result<Option<String>> {
        if let Some(Spoil::Image(file)) = &case.spoil {
            let place = place_in_image(&self.image, &self.packer.root, file)?;
            spoil_image(machine, place)?;
        }
        let script = case.script.as_deref().unwrap_or("$RUN");
        let script = format!("{}{script}", self.variables(case, packed));
        let input = Input::Bytes(case.input.as_bytes());
        let command = Command::new(["sh", "-c", &script]);
        let ran = machine.capture(&command, input).map_err(explained)?;
        if verbose {
            let [output, errors] =
                [&ran.output, &ran.errors].map(|text| String::from_utf8_lossy(text));
            print!("{output}{errors}");
        }
        Ok(case.judge(ran.status.code(), &ran.output, &ran.errors))
    }

    /// How a script runs the program of a case, and those of others.
    fn variables(&self, own: &Case, packed: &Packed) -> String {
        let mut text = format!("RUN={:?}\n", run_command(own, packed));
        for (case, packed) in &self.cases {
            let name = case.name.replace('-', "_");
            // Writing to a string does not fail.
            let _ = writeln!(text, "RUN_{name}={:?}", run_command(case, packed));
        }
        text
    }
}

fn run_command(case: &Case, packed: &Packed) -> String {
    let image = if matches!(case.spoil, Some(Spoil::Image(_))) { SPOILT } else { IMAGE };
    let grants: String = case.grants.iter().map(|grant| format!(" --grant {grant}")).collect();
    client(packed, image).join(" ") + &grants
}

/// Copies the image in the machine, with another byte at that place.
fn spoil_image(machine: &mut Machine, place: usize) -> Result<()> {
    let script = format!(
        "cp /{IMAGE} /{SPOILT} && printf '\\377' | dd of=/{SPOILT} bs=1 seek={place} conv=notrunc"
    );
    let mut errors = Vec::new();
    let command = Command::new(["sh", "-c", &script]);
    let status = machine.run(&command, Input::Empty, &mut std::io::sink(), &mut errors);
    let done = status.map_err(explained)?.code() == 0;
    done.then_some(()).with_context(|| String::from_utf8_lossy(&errors).into_owned())
}

impl Ran {
    fn show(&self) {
        match &self.problem {
            None => println!("ok    {} ({})", self.name, seconds(self.took)),
            Some(problem) => println!("FAIL  {}: {problem}", self.name),
        }
    }
}
