// SPDX-License-Identifier: MIT
//! Hands the linker script to the linker when the payload itself is built.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::rerun-if-changed=build.rs");
    let bare = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|name| name == "none");
    let Ok(folder) = env::var("CARGO_MANIFEST_DIR") else { return };
    if bare {
        println!("cargo::rustc-link-arg-bins=-T{folder}/link.ld");
        println!("cargo::rustc-link-arg-bins=--no-pie");
        println!("cargo::rustc-link-arg-bins=--build-id=none");
        println!("cargo::rustc-link-arg-bins=-zmax-page-size=0x1000");
    }
}
