// SPDX-License-Identifier: MIT
//! The root that the programs come from: Debian packages for arm64, C programs, scripts.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    apt::{Depth, unpack},
    optee::{
        cache::{Cache, digest},
        packages::{STABLE, view},
    },
    process,
    progress::Step,
    test::{Kind, Program, read_table},
    workspace::Workspace,
};

/// What is run, with all that it needs.
const PACKAGES: &[&str] =
    &["bash", "coreutils", "gzip", "lua5.4", "openssl", "sqlite3", "xz-utils"];
const DOWNLOAD: &str = "enclave";
/// What no program reads.
const DROPPED: &[&str] = &["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"];
/// Links of a merged `/usr`.
const MERGED: &[&str] = &["bin", "lib", "sbin"];
const FOLDERS: &[&str] = &["dev", "etc", "proc", "root", "tmp"];
/// Our own programs, linked position-independent and static.
const FLAGS: &[&str] = &["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-pthread", "-static-pie"];
const COMPILER: &str = "aarch64-linux-gnu-gcc";
/// Sources of the asserting programs.
const PROGRAMS: &str = "xtest/programs";
/// Files that go into the root.
const SCRIPTS: &str = "xtest/enclave";

/// Makes the root, or finds it made.
pub(super) fn make(workspace: &Workspace) -> Result<PathBuf> {
    let cache = Cache::of(workspace)?;
    let _one_at_a_time = cache.lock()?;
    let scripts = workspace.root.join(SCRIPTS);
    let mut recipe = format!("1 {STABLE} {PACKAGES:?} {DROPPED:?} {FLAGS:?}").into_bytes();
    let programs = workspace.root.join(PROGRAMS);
    for file in files(&scripts)?.into_iter().chain(files(&programs)?) {
        recipe.extend(fs::read(&file)?);
    }
    recipe.extend(fs::read(programs.join("programs.toml"))?);
    let folder = cache.folder().join(format!("enclave-root-{}", digest(&recipe)));
    if folder.is_dir() {
        return Ok(folder);
    }
    let step = Step::start("root with Debian programs for arm64");
    let work = tempfile::tempdir_in(cache.folder())?;
    let root = work.path().join("root");
    for folder in MERGED {
        fs::create_dir_all(root.join("usr").join(folder))?;
        symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    step.note("download packages");
    let stable = view(workspace, STABLE)?;
    let packages = stable.download(DOWNLOAD, PACKAGES, Depth::WithDependencies)?;
    unpack(&packages, &root, &step)?;
    stable.forget(DOWNLOAD)?;
    for dropped in DROPPED.iter().map(|dropped| root.join(dropped)).filter(|path| path.exists()) {
        fs::remove_dir_all(dropped)?;
    }
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    for file in files(&scripts)? {
        add(&file, &root)?;
    }
    for program in read_table(workspace)?.iter().filter(|program| program.kind == Kind::Cases) {
        step.note(&program.name);
        add_program(program, &programs, &root)?;
    }
    fs::rename(&root, &folder).context("keep the root")?;
    step.finish("made");
    Ok(folder)
}

/// C files are compiled, others copied.
fn add(file: &Path, root: &Path) -> Result<()> {
    let name = file.file_name().context("a file has a name")?;
    if file.extension().is_none_or(|extension| extension != "c") {
        fs::copy(file, root.join("root").join(name))?;
        return Ok(());
    }
    let mut command = Command::new(COMPILER);
    let program = root.join("usr/bin").join(file.file_stem().context("a file has a name")?);
    process::run_quietly(command.args(FLAGS).arg("-o").arg(program).arg(file))?;
    Ok(())
}

/// One of the asserting programs, of the same sources as for other platforms.
fn add_program(program: &Program, sources: &Path, root: &Path) -> Result<()> {
    let path = program.path_inside();
    let output = root.join(path.strip_prefix("/").unwrap_or(&path));
    fs::create_dir_all(output.parent().context("a program lies in a folder")?)?;
    let mut command = Command::new(COMPILER);
    command.current_dir(sources).args(&program.flags).args(program.position_independent_flag());
    command.args(&program.sources).arg("-Wl,--build-id=none").arg("-o").arg(output);
    process::run_quietly(&mut command).map(|_| ())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.retain(|file| file.extension().is_none_or(|extension| extension != "toml"));
    files.sort();
    Ok(files)
}
