// SPDX-License-Identifier: MIT
//! The service as a program in an SNP guest, or as a trusted application of OP-TEE.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(any(target_os = "none", feature = "linux"))]
strongroom::serve!({{crate}}::Keeper, {{crate}}::CounterInterface);

#[cfg(not(any(target_os = "none", feature = "linux")))]
fn main() {
    eprintln!("it is built for a machine: ./run does that");
    std::process::exit(1);
}
