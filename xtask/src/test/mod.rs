// SPDX-License-Identifier: MIT
//! `cargo xtask test`: one command, everything that has to hold.

mod case;
mod cases;
mod client;
mod compare;
mod evidence;
mod fuzzer;
mod kvm;
mod launched;
mod model;
mod mutants;
mod native;
mod optee;
mod oracle;
mod program;
mod programs;
mod projects;
mod services;
mod snpguest;
mod tally;

use std::process::Command;

use anyhow::Result;

pub(crate) use oracle::check_oracle;

use crate::{
    attested,
    build::Built,
    optee::{Made, enclave::library_os_cargo, normal_world_cargo, service},
    process,
    setup::{self, Wants},
    syscalls, tidy,
    toolchain::{ARM_TARGET, PAYLOAD_TARGET, Route, cargo},
    workspace::Workspace,
};
use case::{Case, read_cases};
pub(crate) use program::{Kind, Program, read_table};
pub(crate) use programs::case_names;
use tally::{Outcome, Tally};

/// What to test.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Also run what takes long
    #[arg(long)]
    pub(crate) full: bool,
    /// Also run the cases of stages that are switched off
    #[arg(long)]
    pub(crate) all_stages: bool,
    /// Install nothing: list what is missing, and fail if something is
    #[arg(long)]
    pub(crate) no_install: bool,
    /// Instead of the tests, test the tests: break the source in many places, one at a time, and
    /// see whether each is noticed
    #[arg(long)]
    pub(crate) mutants: bool,
    /// Run only these: a step (fmt, clippy, doc, unit, tidy, programs, cases, launched, evidence, services,
    /// new, optee, optee-run, which is a part of it, sdk, snpguest, kvm) or a part of the name of a case or
    /// test program
    #[arg(value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
}

/// Names of the steps, for filters.
const STEPS: &[&str] = &[
    "fmt",
    "clippy",
    "doc",
    "unit",
    "tidy",
    "programs",
    "cases",
    "launched",
    "evidence",
    "services",
    "new",
    "snpguest",
    "optee",
    "optee-run",
    "sdk",
    "kvm",
];

/// Packages that only run in OP-TEE's normal world, or differently there.
const NORMAL_WORLD: &[&str] = &[
    "strongroom",
    "strongroom-connect",
    "strongroom-optee-qemu",
    "strongroom-optee-run",
    "strongroom-probe-client",
    "strongroom-sdk-xtest",
    "strongroom-signer-client",
    "strongroom-tee",
    "strongroom-vault-client",
    "strongroom-xtest",
];

/// Packages that others build on: their documentation has no warnings.
const PUBLIC: &[&str] = &[
    "strongroom-client",
    "strongroom-connect",
    "strongroom-evidence",
    "strongroom-keys",
    "strongroom-optee-qemu",
    "strongroom-sdk",
    "strongroom-service",
    "strongroom-service-build",
    "strongroom-session",
    "strongroom-tee",
    "strongroom-testing",
    "strongroom-token",
    "strongroom-verifier",
];

/// Runs the suite; true when everything passed.
pub(crate) fn run_suite(workspace: &Workspace, options: &Options) -> Result<bool> {
    let tally = Tally::default();
    if options.mutants {
        setup::setup(workspace, Wants::ALL, options.no_install)?;
        mutants::run(workspace, &options.filters, &tally)?;
        return Ok(tally.finish());
    }
    let programs = chosen_programs(workspace, options)?;
    let cases = chosen_cases(workspace, options)?;
    if !options.filters.is_empty() && programs.is_empty() && cases.is_empty() {
        let unknown = |filter: &&String| !STEPS.contains(&filter.as_str());
        if let Some(filter) = options.filters.iter().find(unknown) {
            anyhow::bail!("`{filter}` is no step and in no case's name");
        }
    }
    setup::setup(workspace, Wants::ALL, options.no_install)?;
    check_sources(workspace, options, &tally);
    let guests = Guests::of(options);
    if guests.any() || !(programs.is_empty() && cases.is_empty()) {
        let mut built = None;
        tally.check("build", || {
            built = Some(Built::make(workspace)?);
            Ok(())
        });
        if let Some(built) = built {
            run_in_payload(workspace, &built, programs, cases, options.fuzzer_calls(), &tally);
            guests.check(workspace, &built, &tally);
        }
    }
    if options.wants_step("optee") {
        optee::run_all(workspace, options.full, &tally);
    } else if options.wants_step("optee-run") {
        optee::run_launched(workspace, &tally);
    }
    if options.wants_step("sdk") {
        tally.check("sdk/examples-as-trusted-applications", || {
            let printed = service::examples(workspace, &Made::best(workspace)?, options.full)?;
            print!("{printed}");
            Ok(())
        });
    }
    Ok(tally.finish())
}

/// Steps that launch guests of their own.
#[derive(Clone, Copy, Debug)]
struct Guests {
    launched: bool,
    evidence: bool,
    services: bool,
    new: bool,
    snpguest: bool,
    kvm: bool,
}

impl Guests {
    fn of(options: &Options) -> Self {
        Self {
            launched: options.wants_step("launched"),
            evidence: options.wants_step("evidence"),
            services: options.wants_step("services"),
            new: options.wants_step("new"),
            snpguest: options.wants_step("snpguest"),
            kvm: options.wants_long("kvm"),
        }
    }

    const fn any(self) -> bool {
        let Self { launched, evidence, services, new, snpguest, kvm } = self;
        launched || evidence || services || new || snpguest || kvm
    }

    fn check(self, workspace: &Workspace, built: &Built, tally: &Tally) {
        if self.launched {
            launched::check(workspace, built, tally);
        }
        if self.evidence {
            evidence::check(workspace, built, tally);
            tally.check("a secret goes to the measured program and to no other", || {
                attested::play(workspace, built, &mut |_| ())
            });
            tally.check("a secret is not in the memory of those who carry it", || {
                attested::search(workspace, built)
            });
        }
        if self.services {
            services::check(workspace, built, tally);
        }
        if self.new {
            projects::check(workspace, built, tally);
        }
        if self.snpguest {
            tally.check("AMD's snpguest gets and verifies a report", || {
                snpguest::check(workspace, built)
            });
        }
        if self.kvm {
            tally.check("a KVM that loses vector registers is found out", || {
                kvm::check(workspace, built)
            });
        }
    }
}

fn run_in_payload(
    workspace: &Workspace,
    built: &Built,
    programs: Vec<Program>,
    cases: Vec<Case>,
    calls: u64,
    tally: &Tally,
) {
    if !programs.is_empty()
        && let Err(error) = programs::run_all(workspace, Some(built), programs, calls, tally)
    {
        tally.add("programs", &Outcome::Failed(format!("{error:#}")), None);
    }
    if let Err(error) = cases::run_all(workspace, built, cases, tally) {
        tally.add("cases", &Outcome::Failed(format!("{error:#}")), None);
    }
}

impl Options {
    /// How many system calls a fuzzer makes in the payload.
    fn fuzzer_calls(&self) -> u64 {
        if self.full { 1_000_000 } else { 100_000 }
    }

    /// For steps that take minutes: `--full` has them, and whoever names them.
    fn wants_long(&self, step: &str) -> bool {
        self.wants_step(step) && (self.full || !self.filters.is_empty())
    }

    fn wants_step(&self, step: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter == step)
    }

    fn wants(&self, step: &str, name: &str) -> bool {
        let in_name = |filter: &String| !STEPS.contains(&filter.as_str()) && name.contains(filter);
        self.wants_step(step) || self.filters.iter().any(in_name)
    }
}

fn chosen_programs(workspace: &Workspace, options: &Options) -> Result<Vec<Program>> {
    let mut programs = read_table(workspace)?;
    programs
        .retain(|program| program.kind != Kind::Bench && options.wants("programs", &program.name));
    Ok(programs)
}

fn chosen_cases(workspace: &Workspace, options: &Options) -> Result<Vec<Case>> {
    let mut cases = read_cases(&workspace.root.join("xtest/cases"), options.all_stages)?;
    cases.retain(|case| (options.full || !case.full) && options.wants("cases", &case.name));
    Ok(cases)
}

/// The steps that need no machine of ours.
fn check_sources(workspace: &Workspace, options: &Options, tally: &Tally) {
    let step = |name: &str, label: &str, check: &dyn Fn() -> Result<()>| {
        if options.wants_step(name) {
            tally.check(label, check);
        }
    };
    let quiet = |command: &mut Command| process::run_quietly(command).map(|_| ());
    step("fmt", "fmt", &|| quiet(cargo(workspace).args(["fmt", "--all", "--check"])));
    step("clippy", "clippy (host)", &|| {
        quiet(cargo(workspace).args(["clippy", "--all-targets", "--", "-D", "warnings"]))
    });
    if workspace.has("ta/snp") {
        step("clippy", "clippy (payload)", &|| {
            let mut command = on_target(workspace, "clippy", PAYLOAD_TARGET)?;
            command.args(["--package", "strongroom-snp", "--", "-D", "warnings"]);
            quiet(&mut command)
        });
    }
    step("clippy", "clippy (OP-TEE's normal world)", &|| {
        let mut command = normal_world_cargo(workspace, "clippy", "")?;
        for package in NORMAL_WORLD {
            command.args(["--package", package]);
        }
        quiet(command.args(["--", "-D", "warnings"]))
    });
    step("clippy", "clippy (trusted application)", &|| {
        let made = Made::best(workspace)?;
        let mut command = library_os_cargo(workspace, &made, "clippy")?;
        command.args(["--release", "--package", "strongroom-optee"]);
        for package in [
            "strongroom-service-optee",
            "strongroom-probe",
            "strongroom-signer",
            "strongroom-vault",
            "strongroom-wallet",
        ] {
            command.args(["--package", package]);
        }
        command.args(["--bins", "--lib", "--", "-D", "warnings"]);
        quiet(&mut command)
    });
    step("clippy", "check enclave-core for aarch64", &|| {
        let mut command = on_target(workspace, "check", ARM_TARGET)?;
        for package in tidy::shipped_core_packages(workspace)? {
            command.args(["--package", &package]);
        }
        quiet(&mut command)
    });
    step("doc", "documentation of public crates", &|| {
        let mut command = cargo(workspace);
        command.args(["doc", "--no-deps", "--lib"]).env("RUSTDOCFLAGS", "-D warnings");
        for package in PUBLIC {
            command.args(["--package", package]);
        }
        quiet(&mut command)
    });
    step("unit", "unit tests", &|| quiet(cargo(workspace).arg("test")));
    if options.full {
        step("unit", "a million changed replies in the ring", &|| {
            let mut command = cargo(workspace);
            command.args(["test", "--profile", "tool", "--package", "strongroom-optee"]);
            command.args(["--test", "turns", "no_reply", "--", "--nocapture"]);
            command.env("STRONGROOM_FUZZ_REPLIES", "1000000");
            let output = process::run_quietly(&mut command)?;
            let output = String::from_utf8_lossy(&output);
            let told = output.lines().filter(|line| line.contains("changed replies"));
            told.for_each(|line| println!("     {line}"));
            Ok(())
        });
    }
    step("tidy", "tidy", &|| tidy::check(workspace));
    step("tidy", "docs/syscalls.md", &|| syscalls::check(workspace));
}

fn on_target(workspace: &Workspace, subcommand: &str, target: &str) -> Result<Command> {
    let route = Route::to(target)
        .ok_or_else(|| anyhow::anyhow!("no compiler for {target}: run cargo xtask setup"))?;
    Ok(route.cargo(workspace, subcommand, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(filters: &[&str]) -> Options {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        Options { full: false, all_stages: false, no_install: false, mutants: false, filters }
    }

    #[test]
    fn filters_choose_steps_or_names() {
        assert!(options(&[]).wants("cases", "busybox-sh"));
        assert!(options(&["cases"]).wants("cases", "busybox-sh"));
        assert!(!options(&["cases"]).wants_step("fmt"));
        assert!(options(&["busybox"]).wants("cases", "busybox-sh"));
        assert!(!options(&["python"]).wants("cases", "busybox-sh"));
        assert!(!options(&["fmt"]).wants("cases", "fmt-like"));
    }
}
