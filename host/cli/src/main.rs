// SPDX-License-Identifier: MIT
//! `strongroom`: the command line over `strongroom-client`.
#![forbid(unsafe_code)]

mod arguments;
mod attach;
mod connect;
mod enroll;
mod evidence;
mod image;
mod new;
mod pack_ta;
mod package;
mod policy;
mod report;
mod run;
mod sign_ta;
mod tee;
mod verify;
mod workload;

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
            return ExitCode::from(if error.use_stderr() { usage_failed() } else { 0 });
        }
    };
    let result = match arguments.command {
        Command::Run(options) => run::run(*options, began),
        Command::New(options) => new::new(&options),
        Command::Image(command) => image::image(command),
        Command::Pack(options) => package::pack(options),
        Command::Measure(options) => package::measure(options),
        Command::Igvm(options) => package::igvm(*options),
        Command::Verify(options) => return verify::verify(*options),
        Command::Keygen(options) => return attach::keygen(&options),
        Command::Attach(options) => return attach::attach(*options),
        Command::Connect(options) => return connect::connect(*options),
        Command::Enroll(options) => return enroll::enroll(*options),
        Command::Evidence(options) => return evidence::evidence(*options),
        Command::FetchChain(options) => return verify::fetch_chain(options),
        Command::PackTa(options) => pack_ta::pack(*options),
        Command::SignTa(options) => sign_ta::sign_file(&options),
        Command::ServeTa(options) => return tee::serve(&options),
        Command::ServeServices => {
            strongroom_connect::relay::serve().map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
    };
    result.unwrap_or_else(|error| report::failure(&error))
}

/// The exit status of wrong usage: that of the command that was meant.
fn usage_failed() -> u8 {
    match std::env::args().nth(1).as_deref() {
        Some(
            "verify" | "fetch-chain" | "attach" | "connect" | "keygen" | "enroll" | "evidence",
        ) => verify::UNDECIDED,
        Some(_) | None => report::LAUNCHER_FAILED,
    }
}
