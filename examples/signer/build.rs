// SPDX-License-Identifier: MIT
//! The header of the trusted application, and the linker script of OP-TEE's dev kit.

/// As in `src/lib.rs`.
const NAME: &str = "5f0c1a3e-8d4b-4c56-9b1f-2a7e6d0c9f31";

fn main() -> Result<(), strongroom_service_build::Error> {
    strongroom_service_build::trusted_application(NAME)
}
