// SPDX-License-Identifier: MIT
//! Targets and components of the Rust toolchain.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Missing, Wants, debian::install_packages};
use crate::{
    process,
    progress::Step,
    toolchain::{APPLICATION_TARGET, ARM_TARGET, PAYLOAD_TARGET, Route},
    workspace::find_program,
};

/// Debian's current compiler with what it takes to build `core` for other targets.
const WEB_PACKAGES: &[&str] =
    &["cargo-web", "rust-web-clippy", "rust-web-src", "rustc-web", "rustfmt-web"];

/// Targets and components that are not there.
pub(super) fn missing(wants: Wants) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut want_target = |wanted: bool, target| {
        if wanted && Route::to(target).is_none() {
            missing.push(Missing::Target(target));
        }
    };
    want_target(wants.payload, PAYLOAD_TARGET);
    want_target(wants.checks || wants.optee.is_some(), ARM_TARGET);
    want_target(wants.optee.is_some(), APPLICATION_TARGET);
    if wants.checks {
        for (component, program) in [("clippy", "cargo-clippy"), ("rustfmt", "cargo-fmt")] {
            if !runs(program) {
                missing.push(Missing::Component(component));
            }
        }
    }
    missing
}

/// Installs what it can through rustup and the rest from Debian.
pub(super) fn install(missing: &[Missing]) -> Result<()> {
    let mut debian = false;
    for item in missing {
        let words = match item {
            Missing::Target(target) => ["target", "add", *target],
            Missing::Component(component) => ["component", "add", *component],
            Missing::Package { .. } | Missing::Programs(_) | Missing::Image(_) => continue,
        };
        debian |= !rustup(words);
    }
    if debian {
        let linker = format!("lld-{}", web_llvm_version()?);
        let mut packages = WEB_PACKAGES.to_vec();
        packages.push(&linker);
        install_packages(&packages)?;
    }
    Ok(())
}

/// True when rustup did it; false when there is no rustup or it could not download.
fn rustup(words: [&str; 3]) -> bool {
    if find_program("rustup").is_none() {
        return false;
    }
    let step = Step::start(&format!("rustup {}", words.join(" ")));
    let done = process::run_quietly(Command::new("rustup").args(words)).is_ok();
    step.finish(if done { "done" } else { "could not download" });
    done
}

/// The linker's version: that of the LLVM which `rustc-web` was built with.
fn web_llvm_version() -> Result<String> {
    let mut command = Command::new("apt-cache");
    command.args(["depends", "--recurse", "--important", "rustc-web"]).env("LC_ALL", "C");
    let output = process::run_quietly(&mut command)?;
    llvm_version(&String::from_utf8_lossy(&output))
        .context("this Debian has no rustc-web package; install rustup from rustup.rs")
}

fn llvm_version(depends: &str) -> Option<String> {
    depends
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("libllvm"))
        .map(|version| version.chars().take_while(char::is_ascii_digit).collect::<String>())
        .find(|version| !version.is_empty())
}

/// True when the program answers: a rustup proxy is there even when its component is not.
fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_the_dependencies() {
        assert_eq!(llvm_version("rustc-web\n  Depends: libllvm22\n").as_deref(), Some("22"));
        assert_eq!(llvm_version("nothing"), None);
    }
}
