// SPDX-License-Identifier: MIT
//! A self-test of the platform, in the kernel's place.
//!
//! Boots like the payload, checks the south contract with small user-mode programs, prints what
//! operations cost, then echoes every message that the host sends until it sends `end`. Built with
//! `STRONGROOM_SERIAL_LOG` set, it reports on the serial port. It ends QEMU with exit status 33
//! when all is well, and with another one when a check fails. Started as `/evidence` it asks the
//! security processor instead, and prints the answers.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    target_os = "none",
    allow(
        unsafe_code,
        clippy::as_conversions,
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        reason = "a test: what overflows or is missing fails it"
    )
)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod checks;
#[cfg(target_os = "none")]
mod costs;
#[cfg(target_os = "none")]
mod echo;
#[cfg(target_os = "none")]
mod evidence;
#[cfg(target_os = "none")]
mod intercepts;
#[cfg(target_os = "none")]
mod program;

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("../../machine/pvh.s"));

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("this is a bare-metal program: build it for x86_64-unknown-none");
    std::process::ExitCode::FAILURE
}
