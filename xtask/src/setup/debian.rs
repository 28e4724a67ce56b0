// SPDX-License-Identifier: MIT
//! Debian packages of the machine itself.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{Missing, Wants};
use crate::{
    apt, process,
    progress::Step,
    workspace::{as_root, find_program, is_root},
};

/// How a package shows that it is there.
enum Sign {
    Program(&'static str),
    File(&'static str),
}

struct Need {
    package: &'static str,
    reason: &'static str,
    sign: Sign,
}

const NEEDS: &[Need] = &[
    Need {
        package: "gcc",
        reason: "compiles the test programs and links host programs",
        sign: Sign::Program("gcc"),
    },
    Need {
        package: "libc6-dev",
        reason: "the C library's headers and static form",
        sign: Sign::File("/usr/include/stdio.h"),
    },
    Need {
        package: "debian-archive-keyring",
        reason: "checks downloaded packages",
        sign: Sign::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
    },
];

const QEMU: Need = Need {
    package: "qemu-system-x86",
    reason: "boots the payload",
    sign: Sign::Program("qemu-system-x86_64"),
};

/// What it takes to build OP-TEE's images and to boot them.
const OPTEE_NEEDS: &[Need] = &[
    Need {
        package: "qemu-system-arm",
        reason: "boots OP-TEE",
        sign: Sign::Program("qemu-system-aarch64"),
    },
    Need {
        package: "gcc-aarch64-linux-gnu",
        reason: "compiles TF-A and OP-TEE, links programs for the normal world",
        sign: Sign::Program("aarch64-linux-gnu-gcc"),
    },
    Need {
        package: "libc6-dev-arm64-cross",
        reason: "the C library of programs for the normal world",
        sign: Sign::File("/usr/aarch64-linux-gnu/lib/libc.a"),
    },
    Need { package: "make", reason: "builds TF-A and OP-TEE", sign: Sign::Program("make") },
    Need {
        package: "libssl-dev",
        reason: "TF-A's packing tool hashes with it",
        sign: Sign::File("/usr/include/openssl/sha.h"),
    },
    Need {
        package: "openssl",
        reason: "makes a key that OP-TEE does not trust",
        sign: Sign::Program("openssl"),
    },
    Need {
        package: "dpkg-dev",
        reason: "unpacks Debian's source packages",
        sign: Sign::Program("dpkg-source"),
    },
    Need { package: "xz-utils", reason: "unpacks drivers", sign: Sign::Program("xz") },
    Need {
        package: "device-tree-compiler",
        reason: "OP-TEE's build needs it",
        sign: Sign::Program("dtc"),
    },
    Need {
        package: "python3-cryptography",
        reason: "OP-TEE's build signs with it",
        sign: Sign::File("/usr/lib/python3/dist-packages/cryptography/__init__.py"),
    },
    Need {
        package: "python3-pyelftools",
        reason: "OP-TEE's build reads its own ELF files with it",
        sign: Sign::File("/usr/lib/python3/dist-packages/elftools/__init__.py"),
    },
];

impl Need {
    fn is_met(&self) -> bool {
        match self.sign {
            Sign::Program(name) => find_program(name).is_some(),
            Sign::File(path) => Path::new(path).exists(),
        }
    }

    fn missing(&self) -> Option<Missing> {
        let Self { package, reason, .. } = *self;
        (!self.is_met()).then_some(Missing::Package { name: package, reason })
    }
}

/// Packages that are not there.
pub(super) fn missing(wants: Wants) -> Vec<Missing> {
    let own_qemu = std::env::var_os("STRONGROOM_QEMU").is_some();
    let qemu = (wants.payload && !own_qemu).then_some(&QEMU);
    let optee = if wants.optee.is_some() { OPTEE_NEEDS } else { &[] };
    NEEDS.iter().chain(qemu).chain(optee).filter_map(Need::missing).collect()
}

/// Installs the packages among `missing`.
pub(super) fn install(missing: &[Missing]) -> Result<()> {
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|item| match item {
            Missing::Package { name, .. } => Some(*name),
            Missing::Target(_)
            | Missing::Component(_)
            | Missing::Programs(_)
            | Missing::Image(_) => None,
        })
        .collect();
    install_packages(&packages)
}

/// `apt-get install`; fetches package lists when there are none or when they prove too old.
pub(super) fn install_packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let step = Step::start(&format!("install {}", packages.join(" ")));
    let fresh = !has_lists();
    if fresh {
        apt_get(&["update"])?;
    }
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(packages);
    if let Err(error) = apt_get(&words) {
        if fresh {
            return Err(error);
        }
        step.note("package lists are too old, fetching new ones");
        apt_get(&["update"])?;
        apt_get(&words)?;
    }
    step.finish("done");
    Ok(())
}

/// Asks for sudo's password now, in the foreground, where it will be needed later.
pub(super) fn authorize() -> Result<()> {
    if is_root() || find_program("sudo").is_none() {
        return Ok(());
    }
    process::run(Command::new("sudo").arg("--validate"))
}

fn has_lists() -> bool {
    let Ok(entries) = fs::read_dir("/var/lib/apt/lists") else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

fn apt_get(words: &[&str]) -> Result<()> {
    // Through `env`, because sudo drops variables.
    let mut command = as_root("env").context("installing Debian packages")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "apt-get", "-q"]);
    command.args(["-o", "DPkg::Lock::Timeout=300"]).args(words);
    process::run_quietly(&mut command)
        .map_err(|error| anyhow::anyhow!("{}", apt::hide_addresses(&format!("{error:#}"))))?;
    Ok(())
}
