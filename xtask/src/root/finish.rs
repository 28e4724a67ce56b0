// SPDX-License-Identifier: MIT
//! What turns unpacked packages into a root: folders, links, accounts, caches, fixed times.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::Set;
use crate::{process, workspace::is_root};

/// 2023-06-10, the release day of Debian 12: the time of every file no package dates.
const DATE: &str = "@1686355200";

/// Folders a running system expects.
const FOLDERS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
];

/// Documentation and translations: three quarters of the files, none of the programs.
const DROPPED: &[&str] = &[
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
];

/// Configuration that maintainer scripts write.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/hostname", "strongroom\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\n\
         protocols: files\n",
    ),
];

/// Which times to set.
pub(super) enum Times<'a> {
    /// Folders and links, and the files written here.
    Generated,
    /// The files copied in, and all folders.
    AllOf(&'a [(PathBuf, PathBuf)]),
}

/// An empty root where `/bin` and friends are links into `/usr`, as Debian has them.
pub(super) fn merged_usr(folder: &Path) -> Result<()> {
    for part in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(folder.join("usr").join(part))?;
        symlink(format!("usr/{part}"), folder.join(part))
            .with_context(|| format!("link {part}"))?;
    }
    Ok(())
}

/// Does what installing would have done after unpacking.
pub(super) fn finish(folder: &Path, set: Set) -> Result<()> {
    for (path, mode) in FOLDERS {
        let path = folder.join(path);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    for path in DROPPED.iter().map(|path| folder.join(path)).filter(|path| path.exists()) {
        fs::remove_dir_all(&path).with_context(|| format!("delete {}", path.display()))?;
    }
    for (path, text) in FILES {
        fs::write(folder.join(path), text).with_context(|| format!("write {path}"))?;
    }
    for (link, target) in set.links() {
        add_link(&folder.join(link), target)?;
    }
    if set.is_busybox_alone() {
        link_applets(folder)?;
    }
    if is_root() {
        run_inside(folder, "usr/sbin/ldconfig", &["/sbin/ldconfig", "-X"])?;
        run_inside(folder, "usr/bin/python3.11", COMPILE_PYTHON)?;
        remove_if_there(&folder.join("var/cache/ldconfig/aux-cache"))?;
    }
    fix_times(folder, Times::Generated)
}

/// As the packages' own scripts do, but with hashes in place of times, and without the tests.
const COMPILE_PYTHON: &[&str] = &[
    "/usr/bin/python3.11",
    "-m",
    "compileall",
    "-q",
    "--invalidation-mode",
    "unchecked-hash",
    "-x",
    "/test/|/lib2to3/",
    "/usr/lib/python3.11",
];

/// Programs of the root run inside it where we may; an unprivileged root works without.
fn run_inside(folder: &Path, program: &str, words: &[&str]) -> Result<()> {
    if !folder.join(program).exists() {
        return Ok(());
    }
    let mut command = Command::new("chroot");
    command.arg(folder).args(words).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("PYTHONHASHSEED", "0");
    process::run_quietly(&mut command)?;
    Ok(())
}

/// What `busybox --install` does: a link for every name it answers to.
fn link_applets(folder: &Path) -> Result<()> {
    let listed = process::run_quietly(Command::new(folder.join("bin/busybox")).arg("--list"))?;
    for applet in String::from_utf8_lossy(&listed).lines() {
        add_link(&folder.join("usr/bin").join(applet), "busybox")?;
    }
    Ok(())
}

fn add_link(link: &Path, target: &str) -> Result<()> {
    let folder = link.parent().context("a link lies in a folder")?;
    let installed = folder.join(target).exists();
    if installed && link.symlink_metadata().is_err() {
        symlink(target, link).with_context(|| format!("link {}", link.display()))?;
    }
    Ok(())
}

fn remove_if_there(file: &Path) -> Result<()> {
    if file.exists() {
        fs::remove_file(file).with_context(|| format!("delete {}", file.display()))?;
    }
    Ok(())
}

/// Gives everything that has the time of its making a fixed one.
pub(super) fn fix_times(folder: &Path, times: Times<'_>) -> Result<()> {
    let set_date = |paths: Vec<PathBuf>| -> Result<()> {
        let existing: Vec<PathBuf> = paths.into_iter().filter(|path| path.exists()).collect();
        if !existing.is_empty() {
            process::run_quietly(Command::new("touch").args(["-h", "-d", DATE]).args(&existing))?;
        }
        Ok(())
    };
    match times {
        Times::Generated => {
            let mut paths: Vec<PathBuf> = FILES.iter().map(|(path, _)| folder.join(path)).collect();
            paths.push(folder.join("etc/ld.so.cache"));
            set_date(paths)?;
        }
        Times::AllOf(files) => {
            let inside = |path: &PathBuf| folder.join(path.strip_prefix("/").unwrap_or(path));
            set_date(files.iter().map(|(_, path)| inside(path)).collect())?;
        }
    }
    // Compiled Python, folders and links: their making is what dates them.
    let mut find = Command::new("find");
    find.arg(folder)
        .args(["-depth", "(", "-type", "d", "-o", "-type", "l", "-o", "-name", "*.pyc"]);
    find.args([")", "-exec", "touch", "-h", "-d", DATE, "{}", "+"]);
    process::run_quietly(&mut find)?;
    Ok(())
}
