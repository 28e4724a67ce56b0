// SPDX-License-Identifier: MIT
//! The SNP guest payload: the kernel on the bare machine.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod kernel;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("this is a bare-metal program: build it for x86_64-unknown-none");
    std::process::ExitCode::FAILURE
}
