// SPDX-License-Identifier: MIT
//! Which Debian packages an image is made of, and their download.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::cache::Versions;
use crate::{
    apt::{Architecture, Depth, View},
    process,
    workspace::Workspace,
};

/// The suite of the stock image, of every kernel and of TF-A: it does not move.
pub(super) const STABLE: &str = "trixie";
/// The suite of the other OP-TEE.
pub(super) const MOVING: &str = "sid";

/// What the normal world is made of; what these need comes along.
const NORMAL_WORLD: &[&str] = &["busybox-static", "optee-test-qemu", "tee-supplicant"];

/// Debian's OP-TEE: the core, the kit that TAs are built with, the headers that clients are.
const STOCK_OPTEE: &[&str] = &["optee-client-dev", "optee-os", "optee-os-dev"];

/// The kernel's meta package.
const KERNEL: &str = "linux-image-arm64";

/// Downloaded packages of one suite.
#[derive(Clone, Debug)]
pub(super) struct Packages {
    files: Vec<PathBuf>,
}

impl Packages {
    /// The normal world's packages, and the client's headers.
    pub(super) fn normal_world(view: &View) -> Result<Self> {
        let mut files = view.download("normal-world", NORMAL_WORLD, Depth::WithDependencies)?;
        files.extend(view.download("client", &["optee-client-dev"], Depth::Alone)?);
        Ok(Self { files })
    }

    /// Debian's own OP-TEE.
    pub(super) fn optee(view: &View) -> Result<Self> {
        Ok(Self { files: view.download("optee", STOCK_OPTEE, Depth::Alone)? })
    }

    /// The kernel that the suite's meta package names.
    pub(super) fn kernel(view: &View) -> Result<Self> {
        let meta = view.download("kernel", &[KERNEL], Depth::Alone)?;
        let mut fields = Command::new("dpkg-deb");
        fields.arg("-f").args(&meta).arg("Depends");
        let depends = String::from_utf8(process::run_quietly(&mut fields)?)?;
        let image = depends.split([' ', ',', '\n']).find(|word| word.starts_with("linux-image-"));
        let image = image.with_context(|| format!("{KERNEL} names no kernel"))?;
        Ok(Self { files: view.download("kernel", &[image], Depth::Alone)? })
    }

    /// The package files, in a fixed order.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Name and version of each.
    pub(super) fn versions(&self) -> Result<Versions> {
        let mut versions = Versions::default();
        for file in &self.files {
            let (name, version) = name_and_version(file)?;
            versions.add(&name, &version);
        }
        Ok(versions)
    }
}

/// A source package, as its suite has it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    description: PathBuf,
    /// Its version.
    pub(super) version: String,
}

impl Source {
    /// Downloads it.
    pub(super) fn download(view: &View, package: &str) -> Result<Self> {
        let description = view.download_source(package, package)?;
        let (_, version) = name_and_version(&description)?;
        Ok(Self { description, version })
    }

    /// Unpacks it to `folder`, which must not be there, with Debian's changes.
    pub(super) fn unpack(&self, folder: &Path) -> Result<()> {
        let mut command = Command::new("dpkg-source");
        // The package manager has checked the files against the archive's signature.
        command.args(["--no-check", "-x"]).arg(&self.description).arg(folder);
        process::run_quietly(&mut command)?;
        Ok(())
    }
}

/// The private view of one suite for OP-TEE's machine.
pub(super) fn view(workspace: &Workspace, suite: &str) -> Result<View> {
    View::open_for(workspace, &[suite], Architecture::Arm64)
}

/// `name_version_architecture.deb` or `name_version.dsc`; a version's colon is written `%3a`.
fn name_and_version(file: &Path) -> Result<(String, String)> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let stem = stem.unwrap_or_default();
    let mut words = stem.split('_');
    let (Some(name), Some(version)) = (words.next(), words.next()) else {
        bail!("{} is not named like a package", file.display());
    };
    Ok((name.to_owned(), version.replace("%3a", ":")))
}

/// Deletes downloads that an image was made of.
pub(super) fn forget(view: &View) -> Result<()> {
    for name in ["normal-world", "client", "optee", "kernel", "optee-os", "arm-trusted-firmware"] {
        if view.has_download(name) {
            view.forget(name)?;
        }
    }
    Ok(())
}

/// Unpacks some members of a package: those that fit one of the shell patterns.
pub(super) fn unpack_members(package: &Path, folder: &Path, patterns: &[&str]) -> Result<()> {
    const SCRIPT: &str = r#"package=$1 folder=$2; shift 2
        dpkg-deb --fsys-tarfile "$package" | tar -x --wildcards --no-same-owner -C "$folder" -f - "$@""#;
    fs::create_dir_all(folder)?;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "unpack"]).arg(package).arg(folder).args(patterns);
    process::run_quietly(&mut command)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_package_files_are_read() {
        let read = |name: &str| name_and_version(Path::new(name)).unwrap();
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(
            read("/x/busybox-static_1%3a1.37.0-6+b9_arm64.deb"),
            pair("busybox-static", "1:1.37.0-6+b9")
        );
        assert_eq!(read("optee-os_4.10.0-2.dsc"), pair("optee-os", "4.10.0-2"));
        name_and_version(Path::new("/x/readme.txt")).unwrap_err();
    }
}
