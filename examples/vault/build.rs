// SPDX-License-Identifier: MIT
//! The header of the trusted application, and the linker script of OP-TEE's dev kit.

use std::env;

/// As in `src/lib.rs`.
const NAME: &str = "d2a94c17-6e05-4b38-a1f7-9c3e58b0d764";
/// One instance serves all sessions, one call at a time: what they share cannot be raced for.
const ONE_INSTANCE_MANY_SESSIONS: u32 = 1 << 2 | 1 << 3;
const HEAP: u32 = 256 << 10;
const STACK: u32 = 32 << 10;
/// Errors only.
const TRACE_LEVEL: i32 = 1;

fn main() -> Result<(), optee_utee_build::Error> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return Ok(());
    }
    let configuration = optee_utee_build::TaConfig::new_default_with_cargo_env(NAME)?
        .ta_flags(ONE_INSTANCE_MANY_SESSIONS)
        .ta_data_size(HEAP)
        .ta_stack_size(STACK)
        .trace_level(TRACE_LEVEL);
    optee_utee_build::build(configuration)
}
