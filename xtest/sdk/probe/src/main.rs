// SPDX-License-Identifier: MIT
//! The probe as an OP-TEE trusted application, or as a Linux program in an SNP guest.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(any(target_os = "none", feature = "linux"))]
strongroom::serve!(strongroom_probe::Subject, strongroom_probe::ProbeInterface);

#[cfg(not(any(target_os = "none", feature = "linux")))]
fn main() -> std::process::ExitCode {
    eprintln!("it is built for a machine: cargo xtask test sdk, or services");
    std::process::ExitCode::FAILURE
}
