// SPDX-License-Identifier: MIT
//! A Debian cloud kernel as a guest of QEMU, with one program as its first process: what Strongroom
//! is compared with, and a machine with a KVM of its own.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    apt::{Depth, View, unpack},
    process,
    progress::Step,
    workspace::Workspace,
};

/// The package that depends on the newest image of this line of kernels.
const META_PACKAGE: &str = "linux-image-6.12-cloud-amd64";

/// The kernel's package, unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    folder: PathBuf,
    /// The kernel itself.
    pub(crate) image: PathBuf,
}

impl Kernel {
    /// The kernel, downloaded once.
    pub(crate) fn of_debian(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.cache.join("linux");
        if find_image(&folder).is_none() {
            download(workspace, &folder)?;
        }
        let image = find_image(&folder).context("the kernel's package has no kernel")?;
        Ok(Self { folder, image })
    }

    /// The kernel's file name, which says its version.
    pub(crate) fn name(&self) -> String {
        self.image.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A module's file, compressed with xz, by its name without endings.
    pub(crate) fn module(&self, name: &str) -> Result<PathBuf> {
        let wanted = format!("{name}.ko.xz");
        walkdir::WalkDir::new(self.folder.join("lib/modules"))
            .into_iter()
            .flatten()
            .find(|entry| entry.file_name() == wanted.as_str())
            .map(walkdir::DirEntry::into_path)
            .with_context(|| format!("the kernel's package has no module {name}"))
    }

    /// QEMU with this kernel, its console on standard output; ends when the guest does.
    pub(crate) fn command(&self, initramfs: &Path) -> Command {
        let qemu =
            env::var_os("STRONGROOM_QEMU").unwrap_or_else(|| OsString::from("qemu-system-x86_64"));
        let mut command = Command::new(qemu);
        command.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]);
        command.arg("-kernel").arg(&self.image).arg("-initrd").arg(initramfs);
        command.args(["-append", "console=ttyS0 quiet panic=-1 tsc=reliable"]);
        command
    }
}

fn download(workspace: &Workspace, folder: &Path) -> Result<()> {
    let step = Step::start("download a Debian cloud kernel");
    let view = View::open(workspace, &["bookworm", "bookworm-security"])?;
    let meta = view.download("linux", &[META_PACKAGE], Depth::Alone)?;
    let mut fields = Command::new("dpkg-deb");
    fields.arg("-f").args(&meta).arg("Depends");
    let depends = String::from_utf8(process::run_quietly(&mut fields)?)?;
    let image = depends.split([' ', ',', '\n']).find(|word| word.starts_with("linux-image-"));
    let image = image.context("the kernel's meta package names no image")?;
    let packages = view.download("linux", &[image], Depth::Alone)?;
    unpack(&packages, folder, &step)?;
    view.forget("linux")?;
    step.finish(image);
    Ok(())
}

fn find_image(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder.join("boot")).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    })
}
