// SPDX-License-Identifier: MIT
//! The service as a Linux program in an SNP guest.

#[cfg(feature = "linux")]
strongroom::serve!(strongroom_beside::Bench, strongroom_beside::ToolsInterface);

#[cfg(not(feature = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("build it with the feature linux, and run it in an enclave");
    std::process::ExitCode::FAILURE
}
