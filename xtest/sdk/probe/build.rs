// SPDX-License-Identifier: MIT
//! The header of the trusted application, the linker script of OP-TEE's dev kit, and what counts its
//! allocations: `src/counted.rs` stands in for these functions.

/// As in `src/lib.rs`.
const NAME: &str = "212f990e-321f-436b-9d96-6bcc0f9a4ec5";

fn main() -> Result<(), strongroom_service_build::Error> {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        for function in ["malloc", "calloc", "realloc", "memalign"] {
            println!("cargo::rustc-link-arg-bins=-Wl,--wrap={function}");
        }
    }
    strongroom_service_build::trusted_application(NAME)
}
