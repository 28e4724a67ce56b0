// SPDX-License-Identifier: MIT
//! The header of the trusted application, and the linker script of OP-TEE's dev kit.

/// As in `src/lib.rs`.
const NAME: &str = "0b7c5d26-93e1-4f0a-8c5e-41d2b6f0a9c8";

fn main() -> Result<(), strongroom_service_build::Error> {
    strongroom_service_build::trusted_application(NAME)
}
