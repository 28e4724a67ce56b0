// SPDX-License-Identifier: MIT
//! The header of the trusted application, and the linker script of OP-TEE's dev kit.

/// As in `src/lib.rs`.
const NAME: &str = "d2a94c17-6e05-4b38-a1f7-9c3e58b0d764";

fn main() -> Result<(), strongroom_service_build::Error> {
    strongroom_service_build::trusted_application(NAME)
}
