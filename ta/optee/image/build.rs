// SPDX-License-Identifier: MIT
//! Makes the header that OP-TEE reads, and hands the dev kit's linker script to the linker, when
//! the trusted application itself is built.

use optee_utee_build::{Error, TaConfig};
use std::env;

/// The packer puts the real name in its place.
const NO_NAME: &str = "00000000-0000-0000-0000-000000000000";
/// What the kernel starts with; `machine::heap` adds to it. Memory of the program is apart from it.
const HEAP: u32 = 512 << 10;
/// Stack of the kernel.
const STACK: u32 = 256 << 10;
/// Errors only.
const TRACE_LEVEL: i32 = 1;

fn main() -> Result<(), Error> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("aarch64") {
        return Ok(());
    }
    let configuration = TaConfig::new_default_with_cargo_env(NO_NAME)?
        .ta_data_size(HEAP)
        .ta_stack_size(STACK)
        .trace_level(TRACE_LEVEL);
    // Who allocates comes by `machine::heap` first.
    println!("cargo::rustc-link-arg-bins=-Wl,--wrap=memalign");
    optee_utee_build::build(configuration)
}
