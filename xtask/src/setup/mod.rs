// SPDX-License-Identifier: MIT
//! Finds out what a command needs and this machine lacks, says so, and installs it.
//!
//! Everything is looked for before anything is installed, so a machine that has it all needs no
//! network.

mod debian;
mod rust;

use anyhow::{Result, bail};

use crate::{
    apt::Depth,
    optee::{Configuration, Made},
    root::{Root, Set},
    workspace::Workspace,
};

/// What may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A Debian package and the reason it is wanted.
    Package { name: &'static str, reason: &'static str },
    /// `core` for a target without an operating system, or for another processor.
    Target(&'static str),
    /// A component of the Rust toolchain: what cargo calls it, and rustup.
    Component(&'static str),
    /// A root folder with the programs to run.
    Programs(Set),
    /// An image of OP-TEE's machine. The command that needs it makes it.
    Image(Configuration),
}

/// Which parts a command needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// Compiler target and QEMU: what it takes to boot the payload.
    pub(crate) payload: bool,
    /// The linters and the second processor's target.
    pub(crate) checks: bool,
    /// Root to run commands natively in root folders.
    pub(crate) native: bool,
    /// What it takes to build OP-TEE's images and to boot them, and which images.
    pub(crate) optee: Option<&'static [Configuration]>,
    /// Root folders.
    pub(crate) programs: &'static [Set],
}

impl Wants {
    /// Everything that any command needs.
    pub(crate) const ALL: Self = Self {
        payload: true,
        checks: true,
        native: true,
        optee: Some(&[Configuration::Big]),
        programs: &[Set::Small, Set::Debian],
    };
    /// What `build` needs.
    pub(crate) const BUILD: Self =
        Self { payload: true, checks: false, native: false, optee: None, programs: &[] };
    /// What `demo` needs.
    pub(crate) const DEMO: Self = Self {
        payload: true,
        checks: false,
        native: false,
        optee: None,
        programs: &[Set::Small, Set::Debian],
    };
    /// What `bench` needs.
    pub(crate) const BENCH: Self =
        Self { payload: true, checks: false, native: false, optee: None, programs: &[Set::Small] };
    /// What the native side of the cases needs.
    pub(crate) const ORACLE: Self = Self {
        payload: false,
        checks: false,
        native: true,
        optee: None,
        programs: &[Set::Small, Set::Debian],
    };

    /// What `optee` needs for these images.
    pub(crate) const fn optee(images: &'static [Configuration]) -> Self {
        Self { payload: false, checks: false, native: false, optee: Some(images), programs: &[] }
    }
}

/// Makes sure that `wants` is there; with `no_install` only lists what is not and fails.
pub(crate) fn setup(workspace: &Workspace, wants: Wants, no_install: bool) -> Result<()> {
    let missing = find_missing(workspace, wants);
    let installs = missing.iter().any(|item| !matches!(item, Missing::Image(_)));
    if !no_install && (wants.native || installs) {
        debian::authorize()?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("{}", if no_install { "missing:" } else { "missing, about to install:" });
    for item in &missing {
        eprintln!("  {}", item.describe());
    }
    if no_install {
        bail!("{} things are missing; run without --no-install to install them", missing.len());
    }
    debian::install(&missing)?;
    rust::install(&missing)?;
    for item in &missing {
        if let Missing::Programs(set) = item {
            Root::of_set(workspace, *set)?;
        }
    }
    let mut left = find_missing(workspace, wants);
    left.retain(|item| !matches!(item, Missing::Image(_)));
    if left.is_empty() {
        return Ok(());
    }
    let left: Vec<String> = left.iter().map(Missing::describe).collect();
    bail!("still missing after installing: {}", left.join("; "))
}

fn find_missing(workspace: &Workspace, wants: Wants) -> Vec<Missing> {
    let mut missing = debian::missing(wants);
    missing.extend(rust::missing(wants));
    let unmade = wants.programs.iter().filter(|set| !Root::is_made(workspace, **set));
    missing.extend(unmade.map(|set| Missing::Programs(*set)));
    let images = wants.optee.unwrap_or_default().iter();
    let unmade = images.filter(|image| !Made::is_made(workspace, **image));
    missing.extend(unmade.map(|image| Missing::Image(*image)));
    missing
}

impl Missing {
    fn describe(&self) -> String {
        match self {
            Self::Package { name, reason } => format!("Debian package {name} ({reason})"),
            Self::Target(target) => format!(
                "Rust target {target} (from rustup, or Debian's rustc-web packages where rustup \
                 cannot download)"
            ),
            Self::Component(component) => format!("Rust component {component}"),
            Self::Image(image) => format!(
                "OP-TEE image `{}`: {}, in the cache folder, nothing installed (some 120 MB of \
                 Debian packages for arm64, two minutes)",
                image.name(),
                image.description()
            ),
            Self::Programs(set) => format!(
                "test programs `{}`: Debian 12 packages unpacked into the cache folder, nothing \
                 installed ({} packages{})",
                set.name(),
                set.packages().len(),
                if set.depth() == Depth::WithDependencies { " and their dependencies" } else { "" }
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_are_not_made_are_listed_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace {
            root: folder.path().to_path_buf(),
            target: folder.path().join("target"),
            cache: folder.path().join("cache"),
        };
        let wants = Wants::optee(Configuration::ALL);
        let missing = find_missing(&workspace, wants);
        for image in Configuration::ALL {
            assert!(missing.contains(&Missing::Image(*image)), "{missing:?}");
        }
        let error = setup(&workspace, wants, true).unwrap_err().to_string();
        assert!(error.contains("run without --no-install"), "{error}");
    }
}
