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
        programs,
    },
    process,
    progress::Step,
    test::{Kind, Program, read_table},
    workspace::Workspace,
};

/// What is run, with all that it needs.
const PACKAGES: &[&str] = &[
    "bash",
    "coreutils",
    "dash",
    "fasttext",
    "gzip",
    "libpython3.13",
    "lua5.4",
    "openssl",
    "perl-base",
    "python3-minimal",
    "sqlite3",
    "xz-utils",
];
const DOWNLOAD: &str = "enclave";
/// The other C library.
const MUSL: &str = "musl-dev";
/// A program of Rust's standard library: the package and its name in the root.
const STD: (&str, &str) = ("strongroom-xtest-std", "std");
/// Panics are caught in it.
const STD_FLAGS: &str = "-Cpanic=unwind -Cstrip=symbols";
/// What no program reads.
const DROPPED: &[&str] = &["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"];
/// Links of a merged `/usr`.
const MERGED: &[&str] = &["bin", "lib", "sbin"];
const FOLDERS: &[&str] = &["dev", "etc", "proc", "root", "tmp"];
/// Our own programs of C.
const COMPILER: &str = "aarch64-linux-gnu-gcc";
const FLAGS: &[&str] = &["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-pthread"];
/// Each is linked so under its own name.
const PLAIN: &[&str] = &["-static-pie"];
/// Others, of the same files: the file, the program's name, and how it is linked.
const FIXED: (&str, &str, &[&str]) = ("fault.c", "fixed", &["-static", "-no-pie"]);
const WITH_MUSL: (&str, &str) = ("threads.c", "threads-musl");
/// The file, the program, and the library that is all of it, in the root.
const PYTHON: (&str, &str, &str) =
    ("python/python.c", "python", "usr/lib/aarch64-linux-gnu/libpython3.13.so.1.0");
/// A program of this computer, which is of another kind, and its name in the root.
const FOREIGN: (&str, &str) = ("/bin/true", "foreign");
/// Where programs lie.
const PROGRAMS: &str = "usr/bin";
/// Sources of the asserting programs.
const CASES: &str = "xtest/programs";
/// Files that go into the root.
const SCRIPTS: &str = "xtest/enclave";

/// Makes the root, or finds it made.
pub(crate) fn make(workspace: &Workspace) -> Result<PathBuf> {
    let cache = Cache::of(workspace)?;
    let scripts = workspace.root.join(SCRIPTS);
    let std = programs::build(workspace, STD.0, STD.0, STD_FLAGS)?;
    let mut recipe =
        format!("4 {STABLE} {PACKAGES:?} {DROPPED:?} {FLAGS:?} {FIXED:?} {WITH_MUSL:?} {PYTHON:?}")
            .into_bytes();
    let cases = workspace.root.join(CASES);
    for file in files(&scripts)?.iter().chain(&files(&cases)?).chain([&std]) {
        recipe.extend(fs::read(file)?);
    }
    recipe.extend(fs::read(cases.join("programs.toml"))?);
    let _one_at_a_time = cache.lock()?;
    let folder = cache.folder().join(format!("enclave-root-{}", digest(&recipe)));
    if folder.is_dir() {
        return Ok(folder);
    }
    let step = Step::start("root with Debian programs for arm64");
    let work = tempfile::tempdir_in(cache.folder())?;
    let root = work.path().join("root");
    debian_programs(workspace, &root, &step)?;
    own_programs(&scripts, &std, &root)?;
    for program in read_table(workspace)?.iter().filter(|program| program.kind == Kind::Cases) {
        step.note(&program.name);
        add_program(program, &cases, &root)?;
    }
    step.note("the other C library");
    let (stable, musl) = (view(workspace, STABLE)?, work.path().join("musl"));
    unpack(&stable.download(DOWNLOAD, &[MUSL], Depth::Alone)?, &musl, &step)?;
    stable.forget(DOWNLOAD)?;
    with_musl(&scripts.join(WITH_MUSL.0), &root.join(PROGRAMS).join(WITH_MUSL.1), &musl)?;
    fs::rename(&root, &folder).context("keep the root")?;
    step.finish("made");
    Ok(folder)
}

/// The folders that programs expect, and Debian's packages.
fn debian_programs(workspace: &Workspace, root: &Path, step: &Step) -> Result<()> {
    for folder in MERGED {
        fs::create_dir_all(root.join("usr").join(folder))?;
        symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    step.note("download packages");
    let stable = view(workspace, STABLE)?;
    let packages = stable.download(DOWNLOAD, PACKAGES, Depth::WithDependencies)?;
    unpack(&packages, root, step)?;
    stable.forget(DOWNLOAD)?;
    for dropped in DROPPED.iter().map(|dropped| root.join(dropped)).filter(|path| path.exists()) {
        fs::remove_dir_all(dropped)?;
    }
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    Ok(())
}

/// Programs of ours, and those that cannot be packed.
fn own_programs(scripts: &Path, std: &Path, root: &Path) -> Result<()> {
    for file in files(scripts)? {
        add(&file, root)?;
    }
    let programs = root.join(PROGRAMS);
    fs::copy(std, programs.join(STD.1)).context("copy the program of the standard library")?;
    fs::copy(FOREIGN.0, programs.join(FOREIGN.1)).context("copy a program of this computer")?;
    compile(&scripts.join(FIXED.0), &programs.join(FIXED.1), FIXED.2)?;
    let mut command = Command::new(COMPILER);
    command.args(FLAGS).args(["-pie", "-o"]).arg(programs.join(PYTHON.1));
    command.arg(scripts.join(PYTHON.0)).arg(root.join(PYTHON.2));
    // What the library needs is in the root, and was linked against another C library.
    process::run_quietly(command.arg("-Wl,--allow-shlib-undefined"))?;
    Ok(())
}

/// C files are compiled, others copied.
fn add(file: &Path, root: &Path) -> Result<()> {
    let name = file.file_name().context("a file has a name")?;
    if file.extension().is_none_or(|extension| extension != "c") {
        fs::copy(file, root.join("root").join(name))?;
        return Ok(());
    }
    let program = file.file_stem().context("a file has a name")?;
    compile(file, &root.join(PROGRAMS).join(program), PLAIN)
}

/// Compiles one C file for the normal world's processor.
pub(super) fn compile(file: &Path, program: &Path, link: &[&str]) -> Result<()> {
    let mut command = Command::new(COMPILER);
    process::run_quietly(command.args(FLAGS).args(link).arg("-o").arg(program).arg(file))?;
    Ok(())
}

/// Debian's `musl-gcc`, for another processor: nothing of the other C library is found.
fn with_musl(file: &Path, program: &Path, musl: &Path) -> Result<()> {
    let library = musl.join("usr/lib/aarch64-linux-musl");
    let mut command = Command::new(COMPILER);
    command.args(FLAGS).args(PLAIN).args(["-nostdlib", "-nostdinc", "-mno-outline-atomics"]);
    command.arg("-isystem").arg(musl.join("usr/include/aarch64-linux-musl"));
    command.arg("-o").arg(program);
    command.args(["rcrt1.o", "crti.o"].map(|name| library.join(name))).arg(file);
    command.arg("-L").arg(&library).args(["-lc", "-lgcc"]).arg(library.join("crtn.o"));
    process::run_quietly(&mut command)?;
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
    files.retain(|file| file.is_file() && file.extension().is_none_or(|end| end != "toml"));
    files.sort();
    Ok(files)
}
