// SPDX-License-Identifier: MIT
//! The wallet as an OP-TEE trusted application.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use strongroom_wallet::{MyWallet, WalletInterface};
#[cfg(target_os = "none")]
strongroom::serve!(MyWallet, WalletInterface);

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("build it for aarch64-unknown-none-softfloat, and run it in OP-TEE");
    std::process::ExitCode::FAILURE
}
