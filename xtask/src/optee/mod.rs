// SPDX-License-Identifier: MIT
//! `cargo xtask optee`: OP-TEE in QEMU-ARMv8, made of Debian packages.
//!
//! [`image`] makes what a machine is started from, once, in the cache; [`parts`] replaces parts of
//! it by the user's own; the machine itself is `strongroom-optee-qemu`. What runs in it: a command
//! ([`run`]) or a test suite ([`xtest`]).

mod build;
mod cache;
mod core;
pub(crate) mod enclave;
mod firmware;
mod image;
mod kernel;
mod packages;
mod parts;
mod programs;
mod rootfs;
mod run;
pub(crate) mod service;
mod xtest;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

pub(crate) use enclave::{Built, programs_root};
pub(crate) use image::Made;
pub(crate) use programs::{agent, cargo as normal_world_cargo};
pub(crate) use run::restore_terminal;
pub(crate) use xtest::{OWN_PROGRAM, Suite, own_program};

use crate::workspace::Workspace;

/// What is made of which packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Configuration {
    /// Debian 13's own OP-TEE 4.5 as it is: it does not move, and has 15 MiB of secure memory
    Stock,
    /// OP-TEE from Debian sid's source, with 192 MiB of memory and the attestation PTA
    Big,
}

impl Configuration {
    /// All of them.
    pub(crate) const ALL: &'static [Self] = &[Self::Stock, Self::Big];

    /// It alone.
    pub(crate) const fn alone(self) -> &'static [Self] {
        match self {
            Self::Stock => &[Self::Stock],
            Self::Big => &[Self::Big],
        }
    }

    /// What it is made of, in a few words.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Stock => "Debian 13's OP-TEE 4.5 as it is, TF-A built around it",
            Self::Big => "OP-TEE built from Debian sid's source, TF-A around it",
        }
    }

    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Big => "big",
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Make the boot images of both configurations; print versions and places
    Build(build::Options),
    /// Boot, run a command in the normal world, pass its output and exit status on
    Run(run::Options),
    /// Run upstream's xtest and count what it says
    Xtest(xtest::Options),
    /// Run programs in the library OS as a trusted application
    Enclave(enclave::Options),
    /// Run the asserting programs of xtest/programs as trusted applications; write docs/programs.md
    Programs {
        /// Write nothing: fail where the document is not true
        #[arg(long)]
        check: bool,
        /// Only the programs of these names; the others stay as they are in the document
        #[arg(value_name = "PROGRAM")]
        names: Vec<String>,
    },
    /// Run programs that never end, as trusted applications: how they end all the same
    Spinners,
    /// Boot and give a shell in the normal world
    Shell(run::ShellOptions),
}

/// Performs one command.
pub(crate) fn perform(workspace: &Workspace, task: Task) -> Result<ExitCode> {
    match task {
        Task::Build(options) => build::build(workspace, &options),
        Task::Run(options) => run::run(workspace, &options),
        Task::Xtest(options) => xtest::xtest(workspace, &options),
        Task::Enclave(options) => enclave::enclave(workspace, &options),
        Task::Spinners => {
            let made = Made::of(workspace, Configuration::Big, false)?;
            enclave::spinners(workspace, &made)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Programs { check, names } => {
            let made = Made::of(workspace, Configuration::Big, false)?;
            if check {
                enclave::check_programs(workspace, &made, &names)?;
            } else {
                enclave::write_programs(workspace, &made, &names)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Task::Shell(options) => run::shell(workspace, &options),
    }
}
