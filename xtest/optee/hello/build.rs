// SPDX-License-Identifier: MIT
//! The header of the trusted application, and bytes that make its file as long as another one's.

use std::{env, error::Error, fs, path::PathBuf};

/// As in `xtest/optee/src/start.rs`.
const NAME: &str = "2f6a9c14-7be3-4d0a-9a51-c08d3e5b7f42";
const HEAP: u32 = 32 << 10;
const STACK: u32 = 8 << 10;
/// Errors only.
const TRACE_LEVEL: i32 = 1;
/// So many bytes of constants; none where it is not set.
const PADDING: &str = "STRONGROOM_HELLO_PADDING";

fn main() -> Result<(), optee_utee_build::Error> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={PADDING}");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return Ok(());
    }
    if let Err(error) = write_padding() {
        println!("cargo::error=padding: {error}");
    }
    let configuration = optee_utee_build::TaConfig::new_default_with_cargo_env(NAME)?
        .ta_data_size(HEAP)
        .ta_stack_size(STACK)
        .trace_level(TRACE_LEVEL);
    optee_utee_build::build(configuration)
}

fn write_padding() -> Result<(), Box<dyn Error>> {
    let length = env::var(PADDING).map_or(Ok(0), |length| length.parse())?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("padding"), vec![0xa5; length])?;
    Ok(())
}
