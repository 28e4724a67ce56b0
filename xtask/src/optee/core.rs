// SPDX-License-Identifier: MIT
//! OP-TEE rebuilt from Debian's source package, with more memory and the attestation PTA.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::{
    firmware::{SecureMemory, TEE_PARTS},
    packages::Source,
};
use crate::process;

/// Debian's source package.
pub(super) const PACKAGE: &str = "optee-os";

/// The version this was written and tested with; sid may have moved on.
pub(super) const TESTED_VERSION: &str = "4.10.0-2";

/// Settings in which this build differs from Debian's, and those of Debian's that matter here.
const SETTINGS: &[&str] = &[
    "PLATFORM=vexpress-qemu_armv8a",
    "CROSS_COMPILE=aarch64-linux-gnu-",
    "CROSS_COMPILE64=aarch64-linux-gnu-",
    // Debian's own interpreter has the modules; another one in PATH may not.
    "PYTHON3=/usr/bin/python3",
    "DEBUG=0",
    "CFG_ARM64_core=y",
    "CFG_USER_TA_TARGETS=ta_arm64",
    "CFG_ARM_GICV3=y",
    "CFG_TEE_BENCHMARK=n",
    "CFG_TEE_CORE_LOG_LEVEL=2",
    "CFG_ATTESTATION_PTA=y",
    // Tables and addresses for TAs of many megabytes.
    "CFG_TEE_RAM_VA_SIZE=0x00400000",
    "CFG_PGT_CACHE_ENTRIES=256",
    "CFG_CORE_HEAP_SIZE=524288",
    "CFG_NUM_THREADS=4",
    // Its memory lies where TF-A puts it, and logs of panics can be read.
    "CFG_CORE_ASLR=n",
];

/// What a build leaves.
#[derive(Clone, Debug)]
pub(super) struct Core {
    /// The folder with [`TEE_PARTS`].
    pub(super) tee: PathBuf,
    /// The kit that TAs are built with.
    pub(super) kit: PathBuf,
}

/// Builds it below the empty folder `work`.
pub(super) fn build(source: &Source, memory: SecureMemory, work: &Path) -> Result<Core> {
    let tree = work.join("optee-os");
    source.unpack(&tree)?;
    let mut command = Command::new("make");
    command.arg("-C").arg(&tree).arg(format!("-j{}", process::processors())).arg("O=out");
    command.args(SETTINGS);
    command.arg(format!("CFG_TZDRAM_START={:#010x}", memory.start));
    command.arg(format!("CFG_TZDRAM_SIZE={:#010x}", memory.size));
    process::run_quietly(&mut command)?;
    let core = Core { tee: tree.join("out/core"), kit: tree.join("out/export-ta_arm64") };
    let parts = TEE_PARTS.iter().map(|part| core.tee.join(part));
    for made in parts.chain([core.kit.clone()]) {
        if !made.exists() {
            bail!("OP-TEE's build did not make {}", made.display());
        }
    }
    Ok(core)
}
