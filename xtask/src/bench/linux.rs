// SPDX-License-Identifier: MIT
//! The other side of the comparison: a Debian cloud kernel as a guest, with the same program.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{COUNTING, LIMIT, archive::Archive, checked};
use crate::{
    apt::{Depth, View, unpack},
    process,
    progress::Step,
    root::Root,
    workspace::Workspace,
};

/// The package that depends on the newest image of this line of kernels.
const META_PACKAGE: &str = "linux-image-6.12-cloud-amd64";

/// What the guest printed, and which kernel it was.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// The kernel's file name.
    pub(super) kernel: String,
    /// The console.
    pub(super) output: String,
}

/// Boots the kernel with an initramfs around `program`, collects what it prints.
pub(super) fn measure(workspace: &Workspace, small: &Root, program: &Path) -> Result<Measured> {
    let kernel = kernel(workspace)?;
    let initramfs = workspace.target.join("xtest-bench.cpio");
    fs::write(&initramfs, pack(workspace, small, program)?)?;
    let step = Step::start("measure Linux");
    let qemu =
        env::var_os("STRONGROOM_QEMU").unwrap_or_else(|| OsString::from("qemu-system-x86_64"));
    let mut command = Command::new(qemu);
    command.args(COUNTING).args(["-cpu", "max", "-m", "512", "-nodefaults", "-display", "none"]);
    command.args(["-serial", "stdio", "-no-reboot", "-kernel"]).arg(&kernel);
    command.arg("-initrd").arg(&initramfs);
    command.args(["-append", "console=ttyS0 quiet panic=-1 tsc=reliable"]);
    let finished = process::capture(&mut command, b"", LIMIT)?;
    step.finish("done");
    let name = kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Measured { kernel: name, output: checked("the Linux guest", &finished)?.replace('\r', "") })
}

fn pack(workspace: &Workspace, small: &Root, program: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "tmp"] {
        archive.add_folder(folder);
    }
    let init = workspace.root.join("xtest/bench/linux-init.sh");
    let busybox = small.folder.join("usr/bin/busybox");
    for (name, file) in
        [("init", init.as_path()), ("bin/busybox", &busybox), ("bin/bench", program)]
    {
        let contents = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        archive.add_program(name, &contents);
    }
    Ok(archive.finish())
}

/// The kernel's image, downloaded once.
fn kernel(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.cache.join("linux");
    if let Some(kernel) = find_kernel(&folder) {
        return Ok(kernel);
    }
    let step = Step::start("download a Debian cloud kernel");
    let view = View::open(workspace, &["bookworm", "bookworm-security"])?;
    let meta = view.download("linux", &[META_PACKAGE], Depth::Alone)?;
    let mut fields = Command::new("dpkg-deb");
    fields.arg("-f").args(&meta).arg("Depends");
    let depends = String::from_utf8(process::run_quietly(&mut fields)?)?;
    let image = depends.split([' ', ',', '\n']).find(|word| word.starts_with("linux-image-"));
    let image = image.context("the kernel's meta package names no image")?;
    let packages = view.download("linux", &[image], Depth::Alone)?;
    unpack(&packages, &folder, &step)?;
    view.forget("linux")?;
    step.finish(image);
    find_kernel(&folder).context("the kernel's package has no kernel")
}

fn find_kernel(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder.join("boot")).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    })
}
