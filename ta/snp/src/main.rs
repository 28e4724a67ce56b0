// SPDX-License-Identifier: MIT
//! The payload for the simulation: the kernel on a bare machine, protected by nothing.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    target_os = "none",
    allow(
        unsafe_code,
        reason = "the entry point that boot.s calls has to be exported, and another way in assembled"
    )
)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod kernel;

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("machine/pvh.s"));

#[cfg(target_os = "none")]
strongroom_snp::payload_entry!(
    strongroom_snp::machine::Image::Simulation(strongroom_snp::machine::simulation::STAND_IN),
    kernel::build
);

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("this is a bare-metal program: build it for x86_64-unknown-none");
    std::process::ExitCode::FAILURE
}
