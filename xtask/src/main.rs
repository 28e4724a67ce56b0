// SPDX-License-Identifier: MIT
//! Builds, images, tests and checks Strongroom.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "a tool of the developer: an overflow ends the tool, and no enclave runs this code"
)]

mod apt;
mod attested;
mod bench;
mod build;
mod demo;
mod linux_guest;
mod optee;
mod process;
mod progress;
mod root;
mod setup;
mod syscalls;
mod test;
mod tidy;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use setup::Wants;
use workspace::Workspace;

/// Builds, images, tests and checks Strongroom.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what the other commands need, after saying what that is
    Setup(Setup),
    /// Build the payload and the launcher, and say where they are
    Build {
        /// Also print the payloads' digests by each supported compiler that is here
        #[arg(long)]
        digests: bool,
        #[command(flatten)]
        setup: Setup,
    },
    /// Boot the payload and run Debian programs in it, to look at
    Demo {
        /// Show attestation instead: a secret goes to a measured program, and to no other
        #[arg(long)]
        attested: bool,
        #[command(flatten)]
        setup: Setup,
    },
    /// Run every check: formatting, lints, unit tests, tidy, and programs in QEMU
    Test(test::Options),
    /// Check the source tree's rules that no compiler checks
    Tidy,
    /// Write docs/syscalls.md from the kernel's table
    Syscalls {
        /// Write nothing: fail if it is not up to date
        #[arg(long)]
        check: bool,
    },
    /// Run the test cases on native Linux only, twice, to check the cases themselves
    Oracle {
        #[command(flatten)]
        options: test::Options,
        /// Print what each case prints
        #[arg(long, short)]
        verbose: bool,
    },
    /// Count instructions of system calls in the payload and in a Debian kernel
    Bench {
        /// In which machine: the SNP payload's, or OP-TEE's
        #[arg(long, value_enum, default_value_t)]
        tee: bench::Tee,
        #[command(flatten)]
        setup: Setup,
    },
    /// OP-TEE in QEMU-ARMv8: build its images, run commands and its test suites
    #[command(subcommand)]
    Optee(optee::Task),
}

/// Shared by every command that may install things.
#[derive(Clone, Copy, Debug, Default, Args)]
struct Setup {
    /// Install nothing: list what is missing, and fail if something is
    #[arg(long)]
    no_install: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> anyhow::Result<ExitCode> {
    process::kill_children_on_interrupt()?;
    let workspace = Workspace::find()?;
    match task {
        Task::Setup(Setup { no_install }) => {
            setup::setup(&workspace, Wants::ALL, no_install)?;
            eprintln!("everything is installed");
        }
        Task::Build { digests, setup: Setup { no_install } } => {
            setup::setup(&workspace, Wants::BUILD, no_install)?;
            build::Built::make(&workspace)?;
            println!("payload:  {}", workspace.payload().display());
            println!("launcher: {}", workspace.launcher().display());
            if digests {
                build::print_digests(&workspace)?;
            }
        }
        Task::Demo { attested: true, setup } => demo::attested(&workspace, setup.no_install)?,
        Task::Demo { attested: false, setup } => demo::demo(&workspace, setup.no_install)?,
        Task::Test(options) => return Ok(code(test::run_suite(&workspace, &options)?)),
        Task::Tidy => {
            tidy::check(&workspace)?;
            syscalls::check(&workspace)?;
        }
        Task::Syscalls { check: true } => syscalls::check(&workspace)?,
        Task::Syscalls { check: false } => syscalls::write(&workspace)?,
        Task::Oracle { options, verbose } => {
            return Ok(code(test::check_oracle(&workspace, &options, verbose)?));
        }
        Task::Bench { tee, setup } => bench::bench(&workspace, tee, setup.no_install)?,
        Task::Optee(task) => return optee::perform(&workspace, task),
    }
    Ok(ExitCode::SUCCESS)
}

fn code(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
