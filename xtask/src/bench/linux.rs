// SPDX-License-Identifier: MIT
//! The other side of the comparison: a Debian cloud kernel as a guest, with the same program.

use std::{
    fs::{self, File},
    io::{BufWriter, IntoInnerError},
    path::Path,
};

use anyhow::Result;
use strongroom_optee_qemu::cpio::Writer;

use super::{COUNTING, LIMIT, checked};
use crate::{linux_guest::Kernel, process, progress::Step, root::Root, workspace::Workspace};

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
    let kernel = Kernel::of_debian(workspace)?;
    let initramfs = workspace.target.join("xtest-bench.cpio");
    pack(workspace, small, program, &initramfs)?;
    let step = Step::start("measure Linux");
    let mut command = kernel.command(&initramfs);
    command.args(COUNTING).args(["-cpu", "max", "-m", "512"]);
    let finished = process::capture(&mut command, b"", LIMIT)?;
    step.finish("done");
    let output = checked("the Linux guest", &finished)?.replace('\r', "");
    Ok(Measured { kernel: kernel.name(), output })
}

fn pack(workspace: &Workspace, small: &Root, program: &Path, to: &Path) -> Result<()> {
    let mut archive = Writer::new(BufWriter::new(File::create(to)?));
    for folder in ["bin", "dev", "proc", "tmp"] {
        archive.directory(folder.as_ref(), 0o755)?;
    }
    let init = workspace.root.join("xtest/bench/linux-init.sh");
    let busybox = small.folder.join("usr/bin/busybox");
    for (name, file) in
        [("init", init.as_path()), ("bin/busybox", &busybox), ("bin/bench", program)]
    {
        archive.file(name.as_ref(), 0o755, &fs::read(file)?)?;
    }
    archive.finish()?.into_inner().map_err(IntoInnerError::into_error)?;
    Ok(())
}
