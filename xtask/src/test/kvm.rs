// SPDX-License-Identifier: MIT
//! The launcher on a KVM that cannot be trusted with a payload.
//!
//! Many machines have no KVM: the test brings one. QEMU emulates an AMD processor with its
//! virtualisation, a Debian kernel in it offers `/dev/kvm`, and launcher, QEMU and payload run there.
//! That processor does not let a hypervisor notice `XSETBV`, so KVM switches vector registers off
//! behind its guest's back, and threads get each other's values: programs work, but for a wrong number
//! now and then. The payload looks, and stops with code 0x2b; the launcher's trial notices, and has
//! the enclave emulated. What a payload does on KVM beyond its start is not shown by this.

use std::{
    fs::{self, File},
    io::{BufWriter, IntoInnerError},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use strongroom_optee_qemu::cpio::Writer;

use super::cases::last_lines;
use crate::{
    apt::{Depth, View, unpack},
    build::Built,
    linux_guest::Kernel,
    process,
    progress::Step,
    root::{Root, Set},
    workspace::Workspace,
};

/// QEMU and its libraries, of a Debian whose C library is not older than the launcher's.
const SUITES: &[&str] = &["trixie", "trixie-security"];
const PACKAGES: &[&str] = &["qemu-system-x86"];

/// Of the packages, what nothing in the guest uses.
const UNUSED: &[&str] = &["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/icons"];

const MODULES: &[&str] = &["irqbypass", "kvm", "kvm-amd"];

const LIMIT: Duration = Duration::from_secs(900);

/// What the guest's console has to say, in this order.
const EXPECTED: &[&str] =
    &["platform simulated (QEMU TCG)", "6878", "status 42", "(exit status: 87)", "status 125"];

/// Boots the guest and judges what it says.
pub(super) fn check(workspace: &Workspace, built: &Built) -> Result<()> {
    let kernel = Kernel::of_debian(workspace)?;
    let archive = workspace.target.join("xtest-kvm.cpio");
    pack(workspace, built, &kernel, &archive)?;
    let mut command = kernel.command(&archive);
    command.args(["-accel", "tcg", "-cpu", "max", "-m", "4096"]);
    let finished = process::capture(&mut command, b"", LIMIT)?;
    let console = String::from_utf8_lossy(&finished.stdout);
    let mut rest = console.as_ref();
    for expected in EXPECTED {
        let Some((_, behind)) = rest.split_once(expected) else {
            let timed_out = if finished.timed_out { " before its time was up" } else { "" };
            let console = last_lines("console", &finished.stdout);
            bail!("the guest did not say `{expected}`{timed_out}\n{console}");
        };
        rest = behind;
    }
    Ok(())
}

/// The guest's root: QEMU's packages, the launcher and the payload, and a root for the payload.
fn pack(workspace: &Workspace, built: &Built, kernel: &Kernel, to: &Path) -> Result<()> {
    let root = qemu_root(workspace)?;
    let mut archive = Writer::new(BufWriter::new(File::create(to)?));
    archive.folder(&root)?;
    // A package that is not among QEMU's needs has these.
    for folder in ["bin", "lib", "lib64", "sbin"] {
        archive.link(folder.as_ref(), format!("usr/{folder}").as_ref())?;
    }
    let add = |archive: &mut Writer<_>, name: &str, file: &Path| -> Result<()> {
        let contents = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        Ok(archive.file(name.as_ref(), 0o755, &contents)?)
    };
    add(&mut archive, "init", &workspace.root.join("xtest/kvm/init.sh"))?;
    add(&mut archive, "usr/bin/strongroom", built.launcher())?;
    add(&mut archive, "usr/bin/strongroom-snp", built.payload())?;
    archive.directory("modules".as_ref(), 0o755)?;
    for module in MODULES {
        add(&mut archive, &format!("modules/{module}.ko.xz"), &kernel.module(module)?)?;
    }
    let busybox = Root::of_set(workspace, Set::Small)?.folder.join("usr/bin/busybox");
    add(&mut archive, "usr/bin/busybox", &busybox)?;
    for folder in ["guest", "guest/bin"] {
        archive.directory(folder.as_ref(), 0o755)?;
    }
    add(&mut archive, "guest/bin/busybox", &busybox)?;
    archive.finish()?.into_inner().map_err(IntoInnerError::into_error)?;
    Ok(())
}

/// The packages, unpacked once into the cache.
fn qemu_root(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.cache.join("qemu-guest");
    if folder.is_dir() {
        return Ok(folder);
    }
    let step = Step::start("unpack QEMU for a guest with KVM");
    let view = View::open(workspace, SUITES)?;
    let packages = view.download("qemu-guest", PACKAGES, Depth::WithDependencies)?;
    let partial = workspace.cache.join("qemu-guest.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    unpack(&packages, &partial, &step)?;
    for unused in UNUSED {
        let unused = partial.join(unused);
        if unused.exists() {
            fs::remove_dir_all(&unused)?;
        }
    }
    fs::rename(&partial, &folder)?;
    view.forget("qemu-guest")?;
    step.finish("done");
    Ok(folder)
}
