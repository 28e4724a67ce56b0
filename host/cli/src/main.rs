// SPDX-License-Identifier: MIT
//! `strongroom`: the command line over `strongroom-client`.
#![forbid(unsafe_code)]

mod arguments;
mod image;
mod report;
mod run;

use arguments::{Arguments, Command};
use clap::Parser as _;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let began = Instant::now();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to be said when standard error is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { report::LAUNCHER_FAILED } else { 0 });
        }
    };
    let result = match arguments.command {
        Command::Run(options) => run::run(*options, began),
        Command::Image(command) => image::image(command),
    };
    result.unwrap_or_else(|error| report::failure(&error))
}
