// SPDX-License-Identifier: MIT
//! TF-A for QEMU's `virt` machine with an OP-TEE in it, as one flash image.

use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::packages::Source;
use crate::process;

/// Debian's source package.
pub(super) const PACKAGE: &str = "arm-trusted-firmware";

/// Where the firmware image package lies in the flash: `PLAT_QEMU_FIP_BASE` of TF-A's
/// `plat/qemu/qemu/include/platform_def.h`.
const FIP_OFFSET: u64 = 0x4_0000;

/// Where Linux lies when TF-A starts it; QEMU puts it there.
const LINUX_ADDRESS: &str = "0x60000000";

/// The header file that says where secure memory lies.
const PLATFORM: &str = "plat/qemu/qemu/include/platform_def.h";

/// The three parts that OP-TEE's build makes.
pub(super) const TEE_PARTS: [&str; 3] =
    ["tee-header_v2.bin", "tee-pager_v2.bin", "tee-pageable_v2.bin"];

/// Where OP-TEE lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecureMemory {
    pub(super) start: u64,
    pub(super) size: u64,
}

impl SecureMemory {
    /// What QEMU keeps from the normal world, and TF-A and OP-TEE use by themselves.
    pub(super) const PROTECTED: Self = Self { start: 0x0e10_0000, size: 0x00f0_0000 };
    /// Ordinary memory, much more of it. OP-TEE keeps Linux from using it, QEMU does not.
    pub(super) const LARGE: Self = Self { start: 0x5000_0000, size: 0x0c00_0000 };
}

/// Builds the flash image `to` around the OP-TEE in `tee`, below the empty folder `work`.
pub(super) fn build(
    source: &Source,
    tee: &Path,
    memory: SecureMemory,
    work: &Path,
    to: &Path,
) -> Result<()> {
    let tree = work.join("tf-a");
    source.unpack(&tree)?;
    if memory != SecureMemory::PROTECTED {
        let header = tree.join(PLATFORM);
        let text = fs::read_to_string(&header).context("read TF-A's memory layout")?;
        let moved = moved(&text, memory).with_context(|| {
            format!("TF-A {} says in another way where secure memory lies", source.version)
        })?;
        fs::write(&header, moved)?;
    }
    process::run_quietly(&mut make(&tree, tee))?;
    let built = tree.join("build/qemu/release");
    let mut flash = File::create(to)?;
    flash.write_all(&fs::read(built.join("bl1.bin")).context("read TF-A's first stage")?)?;
    if flash.stream_position()? > FIP_OFFSET {
        bail!("TF-A's first stage is larger than {FIP_OFFSET} bytes");
    }
    flash.seek(SeekFrom::Start(FIP_OFFSET))?;
    flash.write_all(&fs::read(built.join("fip.bin")).context("read TF-A's package")?)?;
    Ok(())
}

fn make(tree: &Path, tee: &Path) -> Command {
    let mut command = Command::new("make");
    command.arg("-C").arg(tree).arg(format!("-j{}", process::processors()));
    command.args(["CROSS_COMPILE=aarch64-linux-gnu-", "PLAT=qemu", "DEBUG=0", "LOG_LEVEL=20"]);
    command.args(["SPD=opteed", "QEMU_USE_GIC_DRIVER=QEMU_GICV3", "BL32_RAM_LOCATION=tdram"]);
    command.args(["ARM_LINUX_KERNEL_AS_BL33=1"]);
    command.arg(format!("PRELOADED_BL33_BASE={LINUX_ADDRESS}"));
    for (name, part) in ["BL32", "BL32_EXTRA1", "BL32_EXTRA2"].iter().zip(TEE_PARTS) {
        command.arg(format!("{name}={}", tee.join(part).display()));
    }
    // Without the time of the build the same source gives the same bytes.
    command.arg("BUILD_MESSAGE_TIMESTAMP=\"built by Strongroom\"").args(["all", "fip"]);
    command
}

/// The header's text with secure memory elsewhere; nothing when it does not look as expected.
fn moved(text: &str, memory: SecureMemory) -> Option<String> {
    let mut result = text.to_owned();
    for (name, value) in [("SEC_DRAM_BASE", memory.start), ("SEC_DRAM_SIZE", memory.size)] {
        let prefix = format!("#define {name}\t");
        let mut lines = result.lines().filter(|line| line.starts_with(&prefix));
        let (line, None) = (lines.next()?.to_owned(), lines.next()) else { return None };
        result = result.replacen(&line, &format!("{prefix}{value:#x}"), 1);
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secure_memory_is_moved_in_the_header() {
        let text = "#define SEC_DRAM_BASE\t\t\t0x0e100000\n#define SEC_DRAM_SIZE\t\t0x00f00000\n\
                    #define OTHER (SEC_DRAM_BASE + 1)\n";
        let memory = SecureMemory { start: 0x5000_0000, size: 0x10_0000 };
        assert_eq!(
            moved(text, memory).unwrap(),
            "#define SEC_DRAM_BASE\t0x50000000\n#define SEC_DRAM_SIZE\t0x100000\n\
             #define OTHER (SEC_DRAM_BASE + 1)\n"
        );
        assert_eq!(moved("#define SEC_DRAM_BASE\t1\n", memory), None, "no size");
        let twice = format!("{text}#define SEC_DRAM_SIZE\t2\n");
        assert_eq!(moved(&twice, memory), None, "two sizes");
    }
}
