// SPDX-License-Identifier: MIT
//! Builds, images, tests and checks Strongroom.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "a tool of the developer: an overflow ends the tool, and no enclave runs this code"
)]

mod apt;
mod process;
mod progress;
mod root;
mod setup;
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
}

/// Shared by every command that may install things.
#[derive(Clone, Copy, Debug, Args)]
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
    }
    Ok(ExitCode::SUCCESS)
}
