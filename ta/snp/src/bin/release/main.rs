// SPDX-License-Identifier: MIT
//! The payload for SNP: it runs protected, or not at all.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    target_os = "none",
    allow(unsafe_code, reason = "the entry point that boot.s calls has to be exported")
)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
#[path = "../../kernel.rs"]
mod kernel;

#[cfg(target_os = "none")]
strongroom_snp::payload_entry!(strongroom_snp::machine::Image::Release, kernel::build);

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("this is a bare-metal program: build it for x86_64-unknown-none");
    std::process::ExitCode::FAILURE
}
