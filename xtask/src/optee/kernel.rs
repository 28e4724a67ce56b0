// SPDX-License-Identifier: MIT
//! Debian's kernel, and of its drivers those that OP-TEE and kept storage need.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use walkdir::WalkDir;

use super::packages::{Packages, unpack_members};
use crate::process;

/// Members of the package that are looked at.
const MEMBERS: &[&str] = &[
    "./boot/vmlinuz-*",
    "*/kernel/drivers/tee/*",
    "*/kernel/fs/9p/*",
    "*/kernel/fs/netfs/*",
    "*/kernel/net/9p/*",
];

/// The drivers of OP-TEE. What they need comes before them.
const OPTEE: &[&str] = &["optee"];
/// The drivers of a folder that is shared with the host.
const STORAGE: &[&str] = &["9pnet_virtio", "9p"];

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The plain image.
    pub(super) image: PathBuf,
    /// OP-TEE's drivers in the order in which they are loaded.
    pub(super) drivers: Vec<PathBuf>,
    /// The same for storage; those of OP-TEE are not repeated.
    pub(super) storage_drivers: Vec<PathBuf>,
}

impl Kernel {
    /// Unpacks what is needed into `folder`.
    pub(super) fn unpack(packages: &Packages, folder: &Path) -> Result<Self> {
        for package in packages.files() {
            unpack_members(package, folder, MEMBERS)?;
        }
        let mut files = BTreeMap::new();
        let mut image = None;
        for entry in WalkDir::new(folder).sort_by_file_name() {
            let path = entry?.into_path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("vmlinuz-") {
                image = Some(path);
            } else if name.ends_with(".ko.xz") {
                process::run_quietly(Command::new("xz").arg("-d").arg(&path))?;
                let driver = path.with_extension("");
                files.insert(driver_name(&name), driver);
            } else if name.ends_with(".ko") {
                files.insert(driver_name(&name), path);
            }
        }
        let drivers = in_order(OPTEE, &files)?;
        let mut storage_drivers = in_order(STORAGE, &files)?;
        storage_drivers.retain(|driver| !drivers.contains(driver));
        Ok(Self { image: image.context("the package has no kernel")?, drivers, storage_drivers })
    }
}

/// Drivers are called by names with `_` where files may have `-`.
fn driver_name(file: &str) -> String {
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// `wanted` and everything they depend on, dependencies first.
fn in_order(wanted: &[&str], files: &BTreeMap<String, PathBuf>) -> Result<Vec<PathBuf>> {
    let mut order = Vec::new();
    for name in wanted {
        add(name, files, &mut order)?;
    }
    Ok(order)
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<PathBuf>) -> Result<()> {
    let Some(file) = files.get(&driver_name(name)) else {
        bail!("the kernel needs the driver `{name}`, which was not looked for");
    };
    if order.contains(file) {
        return Ok(());
    }
    let contents = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    for needed in dependencies(&contents) {
        add(&needed, files, order)?;
    }
    order.push(file.clone());
    Ok(())
}

/// What a driver says that it depends on: `depends=a,b`, a string of its `.modinfo` section.
fn dependencies(driver: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = driver.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let value = driver.get(at + key.len()..).unwrap_or_default();
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_the_driver() {
        let driver = b"\x7fELF\0license=GPL\0depends=tee,arm-ffa\0name=optee\0";
        assert_eq!(dependencies(driver), ["tee", "arm-ffa"]);
        assert!(dependencies(b"x\0depends=\0y").is_empty());
        assert!(dependencies(b"nothing").is_empty());
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::new();
        for (name, needs) in [("a", "b,c-d"), ("b", "c-d"), ("c_d", ""), ("e", "missing")] {
            let path = folder.path().join(format!("{name}.ko"));
            fs::write(&path, format!("x\0depends={needs}\0")).unwrap();
            files.insert(name.to_owned(), path);
        }
        let order = in_order(&["a", "b"], &files).unwrap();
        let names: Vec<String> =
            order.iter().map(|path| path.file_stem().unwrap().to_string_lossy().into()).collect();
        assert_eq!(names, ["c_d", "b", "a"]);
        assert!(in_order(&["e"], &files).unwrap_err().to_string().contains("`missing`"));
    }
}
