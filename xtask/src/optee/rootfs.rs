// SPDX-License-Identifier: MIT
//! The normal world's root file system, as an archive that the kernel unpacks.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use strongroom_optee_qemu::{agent::boot, cpio};

use super::{kernel::Kernel, packages::Packages};
use crate::{apt::unpack, progress::Step};

/// Where drivers lie inside.
const DRIVERS: &str = "usr/lib/strongroom/drivers";
/// Where `tee-supplicant` looks for TAs.
const TAS: &str = "usr/lib/optee_armtz";

/// What nothing in the machine uses: documentation, character sets, services, headers.
const UNUSED: &[&str] = &[
    "etc",
    "usr/include",
    "usr/lib/aarch64-linux-gnu/audit",
    "usr/lib/aarch64-linux-gnu/engines-3",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/aarch64-linux-gnu/ossl-modules",
    "usr/lib/aarch64-linux-gnu/pkgconfig",
    "usr/lib/systemd",
    "usr/share",
];

/// Unpacks `packages` with the TAs of `kit` below `work` and writes the archive `to`.
pub(super) fn build(
    packages: &Packages,
    kernel: &Kernel,
    kit: &Path,
    work: &Path,
    to: &Path,
    step: &Step,
) -> Result<()> {
    let root = work.join("root");
    for folder in ["usr/bin", "usr/lib", "usr/sbin"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for folder in ["bin", "lib", "sbin"] {
        symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    unpack(packages.files(), &root, step)?;
    for unused in UNUSED {
        let unused = root.join(unused);
        if unused.exists() {
            fs::remove_dir_all(&unused)?;
        }
    }
    for folder in ["dev", "etc/strongroom", "mnt", "proc", "root", "run", "sys", "tmp", "var/lib"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    symlink("busybox", root.join("usr/bin/sh"))?;
    add_drivers(&root, boot::DRIVERS, &kernel.drivers)?;
    add_drivers(&root, boot::STORAGE_DRIVERS, &kernel.storage_drivers)?;
    add_tas(&root, &kit.join("ta"))?;
    let mut writer = cpio::Writer::new(BufWriter::new(File::create(to)?));
    writer.folder(&root).context("write the root archive")?;
    writer.finish()?.flush()?;
    Ok(())
}

fn add_drivers(root: &Path, list: &str, drivers: &[PathBuf]) -> Result<()> {
    fs::create_dir_all(root.join(DRIVERS))?;
    let mut lines = String::new();
    for driver in drivers {
        let name = driver.file_name().context("a driver is a file")?;
        fs::copy(driver, root.join(DRIVERS).join(name))?;
        lines.push_str(&format!("/{DRIVERS}/{}\n", name.to_string_lossy()));
    }
    fs::write(root.join(list.trim_start_matches('/')), lines)?;
    Ok(())
}

/// Adds the TAs of the kit that the packages do not have.
fn add_tas(root: &Path, tas: &Path) -> Result<()> {
    fs::create_dir_all(root.join(TAS))?;
    let Ok(entries) = fs::read_dir(tas) else { return Ok(()) };
    for entry in entries.flatten() {
        let target = root.join(TAS).join(entry.file_name());
        let is_ta = entry.path().extension().is_some_and(|extension| extension == "ta");
        if is_ta && !target.exists() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Copies the client's headers and its library to `to`, for programs of the normal world.
pub(super) fn copy_client(packages: &Packages, work: &Path, to: &Path, step: &Step) -> Result<()> {
    let unpacked = work.join("client");
    let is_client = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libteec2_") || name.starts_with("optee-client-dev_")
    };
    let client: Vec<PathBuf> = packages.files().iter().filter(is_client).cloned().collect();
    unpack(&client, &unpacked, step)?;
    let library = to.join("lib");
    fs::create_dir_all(&library)?;
    let triplet = unpacked.join("usr/lib/aarch64-linux-gnu");
    for entry in fs::read_dir(&triplet).context("find the client library")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("libteec.") && entry.path().exists() {
            // Links become files: a link may lead out of the folder.
            fs::copy(entry.path(), library.join(&name))?;
        }
    }
    copy_folder(&unpacked.join("usr/include"), &to.join("include"))
}

/// Copies a folder of files and folders.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry?;
        let target = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
