// SPDX-License-Identifier: MIT
//! `strongroom-optee-run`: runs a packed trusted application, from the normal world beside it.
//! Without `libteec`, which is linked on aarch64 only, it can be checked and not run.
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
