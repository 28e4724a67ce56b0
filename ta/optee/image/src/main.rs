// SPDX-License-Identifier: MIT
//! The OP-TEE trusted application: the kernel in S-EL0.
#![cfg_attr(target_arch = "aarch64", no_std, no_main)]

#[cfg(target_arch = "aarch64")]
extern crate alloc;

#[cfg(target_arch = "aarch64")]
mod entry;
#[cfg(target_arch = "aarch64")]
mod header;
#[cfg(target_arch = "aarch64")]
mod machine;

#[cfg(not(target_arch = "aarch64"))]
fn main() -> std::process::ExitCode {
    eprintln!("this is a trusted application: build it for aarch64-unknown-linux-gnu");
    std::process::ExitCode::FAILURE
}
