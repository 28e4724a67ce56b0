// SPDX-License-Identifier: MIT
//! The service as a program in an SNP guest.

#[cfg(feature = "linux")]
strongroom::serve!({{crate}}::Keeper, {{crate}}::CounterInterface);

#[cfg(not(feature = "linux"))]
fn main() {
    eprintln!("build it with the feature linux: ./run does");
    std::process::exit(1);
}
