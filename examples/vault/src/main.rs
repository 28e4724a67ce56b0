// SPDX-License-Identifier: MIT
//! The vault as an OP-TEE trusted application, or as a Linux program in an SNP guest.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(any(target_os = "none", feature = "linux"))]
use strongroom_vault::{MyVault, VaultInterface};
#[cfg(any(target_os = "none", feature = "linux"))]
strongroom::serve!(MyVault, VaultInterface);

#[cfg(not(any(target_os = "none", feature = "linux")))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "build it for aarch64-unknown-none-softfloat, or with the feature linux, and run it in an enclave"
    );
    std::process::ExitCode::FAILURE
}
