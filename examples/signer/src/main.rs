// SPDX-License-Identifier: MIT
//! The signer as an OP-TEE trusted application.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use strongroom_signer::{KeyKeeper, SignerInterface};
#[cfg(target_os = "none")]
strongroom::serve!(KeyKeeper, SignerInterface);

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("this is a trusted application: build it for aarch64-unknown-none-softfloat");
    std::process::ExitCode::FAILURE
}
