// SPDX-License-Identifier: MIT
//! Where things are: the workspace, the build outputs, the cache, programs on `PATH`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};

/// The folders every command needs.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's output folder.
    pub(crate) target: PathBuf,
    /// Downloads and roots that outlive `cargo clean`.
    pub(crate) cache: PathBuf,
}

impl Workspace {
    /// Finds the folders; creates the cache folder.
    pub(crate) fn find() -> Result<Self> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir.parent().context("xtask lies in the workspace")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        let cache = cache_folder()?;
        fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
        Ok(Self { root, target, cache })
    }

    /// The built command-line launcher.
    pub(crate) fn launcher(&self) -> PathBuf {
        self.target.join("tool/strongroom")
    }

    /// The built guest payload.
    pub(crate) fn payload(&self) -> PathBuf {
        self.target.join("x86_64-unknown-none/release/strongroom-snp")
    }

    /// True when the workspace has the package in this folder.
    pub(crate) fn has(&self, folder: &str) -> bool {
        self.root.join(folder).join("Cargo.toml").exists()
    }
}

fn cache_folder() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(folder) if Path::new(&folder).is_absolute() => PathBuf::from(folder),
        Some(_) | None => {
            let home = env::var_os("HOME")
                .ok_or_else(|| anyhow!("neither HOME nor XDG_CACHE_HOME is set"))?;
            Path::new(&home).join(".cache")
        }
    };
    Ok(base.join("strongroom"))
}

/// The program's path, searched in `PATH` and in the folders an unprivileged `PATH` leaves out.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// True when this process runs as root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// `program` as root: directly, or through sudo; an error that says what to do when neither works.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if find_program("sudo").is_some() {
        let mut command = Command::new("sudo");
        command.arg(program);
        return Ok(command);
    }
    Err(anyhow!("`{program}` needs root and there is no sudo: run this command as root"))
}
