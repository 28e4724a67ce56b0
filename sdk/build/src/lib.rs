// SPDX-License-Identifier: MIT
//! What the build script of a service does that is to be an OP-TEE trusted application.
//!
//! ```no_run
//! fn main() -> Result<(), strongroom_service_build::Error> {
//!     strongroom_service_build::trusted_application("5f0c1a3e-8d4b-4c56-9b1f-2a7e6d0c9f31")
//! }
//! ```
#![forbid(unsafe_code)]

use std::env;

pub use optee_utee_build::Error;

/// One instance serves all sessions, one call at a time: what they share cannot be raced for.
const ONE_INSTANCE_MANY_SESSIONS: u32 = 1 << 2 | 1 << 3;
const HEAP: u32 = 256 << 10;
const STACK: u32 = 32 << 10;
/// Errors only.
const TRACE_LEVEL: i32 = 1;

/// Makes the header that OP-TEE reads, and hands the linker script of OP-TEE's dev kit to the linker, where the
/// target is a trusted application's. `uuid` is its name, as `strongroom sign-ta` is told it.
///
/// # Errors
///
/// [`Error`]: no UUID, or no dev kit in `TA_DEV_KIT_DIR`.
pub fn trusted_application(uuid: &str) -> Result<(), Error> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return Ok(());
    }
    let configuration = optee_utee_build::TaConfig::new_default_with_cargo_env(uuid)?
        .ta_flags(ONE_INSTANCE_MANY_SESSIONS)
        .ta_data_size(HEAP)
        .ta_stack_size(STACK)
        .trace_level(TRACE_LEVEL);
    optee_utee_build::build(configuration)
}
