// SPDX-License-Identifier: MIT
//! The least trusted application that says hello: what a packed program's start is compared with.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod application;
#[cfg(target_os = "none")]
mod header;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("this is a trusted application: build it for aarch64-unknown-none-softfloat");
    std::process::ExitCode::FAILURE
}
