// SPDX-License-Identifier: MIT
//! `strongroom-tee-run`: runs a packed trusted application, from the normal world beside it.
#![forbid(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod run;

#[cfg(target_arch = "aarch64")]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(target_arch = "aarch64"))]
fn main() -> std::process::ExitCode {
    eprintln!("there is no OP-TEE on this machine: build this for aarch64-unknown-linux-gnu");
    std::process::ExitCode::FAILURE
}
