// SPDX-License-Identifier: MIT
//! Makes the image of a configuration, or finds it made.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    Configuration,
    cache::{Cache, Versions},
    core,
    firmware::{self, SecureMemory},
    kernel::Kernel,
    packages::{self, MOVING, Packages, STABLE, Source, view},
    rootfs,
};
use crate::{apt::unpack, progress::Step, workspace::Workspace};

/// Where Debian's packages have OP-TEE's parts and the kit for its platform.
const STOCK_TEE: &str = "usr/lib/optee/vexpress-qemu_armv8a";
const STOCK_KIT: &str = "usr/lib/optee-os-dev/vexpress-qemu_armv8a";

/// An image, ready to use: nobody writes to its folder.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) configuration: Configuration,
    /// The folder with `flash.bin`, `Image` and `root.cpio`.
    pub(crate) folder: PathBuf,
    /// What it was made of.
    pub(crate) versions: Versions,
}

impl Made {
    /// The image of a configuration; with `update` of what the suites have today.
    pub(crate) fn of(
        workspace: &Workspace,
        configuration: Configuration,
        update: bool,
    ) -> Result<Self> {
        let cache = Cache::of(workspace)?;
        let _one_at_a_time = cache.lock()?;
        if !update && let Some((folder, versions)) = cache.current(configuration) {
            return Ok(Self { configuration, folder, versions });
        }
        let what = format!("OP-TEE image `{}`", configuration.name());
        let step = Step::start(&what);
        let (folder, versions) = match configuration {
            Configuration::Stock => stock(workspace, &cache, update, &step)?,
            Configuration::Big => big(workspace, &cache, update, &step)?,
        };
        step.finish(versions.of(core::PACKAGE).unwrap_or("made"));
        Ok(Self { configuration, folder, versions })
    }

    /// True when [`Made::of`] would have nothing to do.
    pub(crate) fn is_made(workspace: &Workspace, configuration: Configuration) -> bool {
        Cache::of(workspace).is_ok_and(|cache| cache.current(configuration).is_some())
    }

    /// The big image; when it cannot be made the stock one, with a line that says so.
    pub(crate) fn best(workspace: &Workspace) -> Result<Self> {
        Self::of(workspace, Configuration::Big, false).or_else(|error| {
            warn_without_big(&error);
            Self::of(workspace, Configuration::Stock, false)
        })
    }

    /// The kit that TAs for this image are built and signed with: `TA_DEV_KIT_DIR`.
    pub(crate) fn dev_kit(&self) -> PathBuf {
        self.folder.join("devkit")
    }

    /// The client library of its normal world: `include` and `lib`.
    pub(crate) fn client(&self) -> PathBuf {
        self.folder.join("client")
    }
}

/// Says what is not covered when only the stock image is there.
pub(crate) fn warn_without_big(error: &anyhow::Error) {
    eprintln!("{error:#}");
    eprintln!(
        "WARNING: OP-TEE of Debian {MOVING} could not be built: only the stock image (OP-TEE 4.5) \
         is used. NOT COVERED: the newer OP-TEE, TAs over 3.5 MB or 12 MiB of memory, the \
         attestation PTA"
    );
}

fn stock(
    workspace: &Workspace,
    cache: &Cache,
    update: bool,
    step: &Step,
) -> Result<(PathBuf, Versions)> {
    let stable = view(workspace, STABLE)?;
    if update {
        stable.forget_lists()?;
    }
    step.note("download packages");
    let optee = Packages::optee(&stable)?;
    let world = Packages::normal_world(&stable)?;
    let kernel = Packages::kernel(&stable)?;
    let tfa = Source::download(&stable, firmware::PACKAGE)?;
    let versions = versions(&[&optee, &kernel, &world], &[(firmware::PACKAGE, &tfa)])?;
    let folder = cache.make(Configuration::Stock, &versions, |folder| {
        let work = tempfile::tempdir_in(cache.folder())?;
        let unpacked = work.path().join("optee");
        unpack(optee.files(), &unpacked, step)?;
        let memory = SecureMemory::PROTECTED;
        step.note("build TF-A");
        let tee = unpacked.join(STOCK_TEE);
        firmware::build(&tfa, &tee, memory, work.path(), &folder.join("flash.bin"))?;
        finish(&kernel, &world, &unpacked.join(STOCK_KIT), work.path(), folder, step)
    })?;
    packages::forget(&stable)?;
    Ok((folder, versions))
}

fn big(
    workspace: &Workspace,
    cache: &Cache,
    update: bool,
    step: &Step,
) -> Result<(PathBuf, Versions)> {
    let (stable, moving) = (view(workspace, STABLE)?, view(workspace, MOVING)?);
    if update {
        stable.forget_lists()?;
        moving.forget_lists()?;
    }
    step.note("download packages");
    let world = Packages::normal_world(&moving)?;
    let optee = Source::download(&moving, core::PACKAGE)?;
    if optee.version != core::TESTED_VERSION {
        eprintln!(
            "Debian {MOVING} has OP-TEE {}; this was tested with {}: trying the other one",
            optee.version,
            core::TESTED_VERSION
        );
    }
    let kernel = Packages::kernel(&stable)?;
    let tfa = Source::download(&stable, firmware::PACKAGE)?;
    let sources = [(core::PACKAGE, &optee), (firmware::PACKAGE, &tfa)];
    let versions = versions(&[&kernel, &world], &sources)?;
    let folder = cache.make(Configuration::Big, &versions, |folder| {
        let work = tempfile::tempdir_in(cache.folder())?;
        let memory = SecureMemory::LARGE;
        step.note("build OP-TEE");
        let made = core::build(&optee, memory, work.path())?;
        step.note("build TF-A");
        firmware::build(&tfa, &made.tee, memory, work.path(), &folder.join("flash.bin"))?;
        finish(&kernel, &world, &made.kit, work.path(), folder, step)
    })?;
    packages::forget(&stable)?;
    packages::forget(&moving)?;
    Ok((folder, versions))
}

/// Everything but the flash image.
fn finish(
    kernel: &Packages,
    world: &Packages,
    kit: &Path,
    work: &Path,
    folder: &Path,
    step: &Step,
) -> Result<()> {
    step.note("unpack the kernel");
    let kernel = Kernel::unpack(kernel, &work.join("kernel"))?;
    fs::copy(&kernel.image, folder.join("Image")).context("copy the kernel")?;
    rootfs::build(world, &kernel, kit, work, &folder.join("root.cpio"), step)?;
    rootfs::copy_client(world, work, &folder.join("client"), step)?;
    rootfs::copy_folder(kit, &folder.join("devkit"))
}

fn versions(packages: &[&Packages], sources: &[(&str, &Source)]) -> Result<Versions> {
    let mut versions = Versions::default();
    for (name, source) in sources {
        versions.add(name, &source.version);
    }
    for one in packages {
        for (name, version) in one.versions()?.iter() {
            versions.add(name, version);
        }
    }
    Ok(versions)
}
