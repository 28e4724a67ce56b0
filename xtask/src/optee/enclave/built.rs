// SPDX-License-Identifier: MIT
//! Our own parts of a machine with OP-TEE: the library OS, and the command line for both sides.
//!
//! With an image's files they make a folder that `strongroom run --tee optee-qemu` boots from; the
//! files' names are those of `strongroom_optee_run::Folder`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    build::{LAUNCHER, program},
    optee::{image::Made, programs},
    process,
    progress::Step,
    toolchain::{APPLICATION_TARGET, Route},
    workspace::Workspace,
};

const LIBRARY_OS: &str = "strongroom-optee";
const AGENT: &str = "strongroom-optee-agent";
/// The key that an image's OP-TEE trusts: anybody has it.
const KEY: &str = "default_ta.pem";
/// What is taken from an image as it is.
const IMAGE_FILES: &[&str] = &["flash.bin", "Image", "root.cpio", "versions.txt", "devkit"];
/// The compiler that reads the linker script of OP-TEE's dev kit.
pub(crate) const COMPILER: &str = "aarch64-linux-gnu-gcc";

/// Position-independent, as OP-TEE's loader wants it, and linked by that compiler.
const FLAGS: &str = "-Crelocation-model=pic -Clinker-flavor=gcc -Clink-arg=-fuse-ld=bfd";

/// Functions that may: those that move the program's registers, those that OP-TEE calls before the
/// kernel runs, and what nothing calls while a program runs: `setjmp`, what prints, plugins.
const MAY_USE_VECTORS: &[&str] = &[
    "strongroom_save_vectors",
    "strongroom_load_vectors",
    "__utee_entry",
    "__ta_open_sess",
    "__ta_invoke_cmd",
    "setjmp",
    "longjmp",
    "printf",
    "sprintf",
    "snprintf",
    "__sprintf_chk",
    "snprintk",
    "trace_printf",
    "tee_invoke_supp_plugin",
];

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) library_os: PathBuf,
    /// The command line, for the machine's normal world.
    pub(crate) runner: PathBuf,
    /// The command line, for this computer.
    pub(crate) launcher: PathBuf,
    /// The folder of the whole machine.
    pub(crate) machine: PathBuf,
}

impl Built {
    /// Builds them for an image: its dev kit is linked into the library OS.
    pub(crate) fn make(workspace: &Workspace, made: &Made) -> Result<Self> {
        let library_os = library_os(workspace, made)?;
        let flags = programs::client_flags(made);
        let runner = programs::build(workspace, LAUNCHER, LAUNCHER, &flags)?;
        let step = Step::start("build launcher");
        let launcher = program(workspace, LAUNCHER)?;
        step.finish("built");
        let machine = target(workspace, made).join("machine");
        let built = Self { library_os, runner, launcher, machine };
        built.gather(made, &programs::agent(workspace)?)?;
        Ok(built)
    }

    /// Makes the folder anew, of links.
    fn gather(&self, made: &Made, agent: &Path) -> Result<()> {
        if self.machine.exists() {
            fs::remove_dir_all(&self.machine)?;
        }
        fs::create_dir_all(&self.machine)?;
        let own = [(LIBRARY_OS, &self.library_os), (LAUNCHER, &self.runner)];
        let own = own.into_iter().map(|(name, file)| (name, file.clone()));
        let image = IMAGE_FILES.iter().map(|name| (*name, made.folder.join(name)));
        let rest = [(AGENT, agent.to_path_buf()), (KEY, key(made))];
        for (name, file) in own.chain(image).chain(rest) {
            let link = self.machine.join(name);
            symlink(&file, &link).with_context(|| format!("link {}", link.display()))?;
        }
        Ok(())
    }
}

/// The key that an image's OP-TEE trusts.
pub(crate) fn key(made: &Made) -> PathBuf {
    made.dev_kit().join("keys").join(KEY)
}

fn library_os(workspace: &Workspace, made: &Made) -> Result<PathBuf> {
    let step = Step::start("build library OS for OP-TEE");
    let mut command = library_os_cargo(workspace, made, "build")?;
    command.args(["--release", "--package", LIBRARY_OS, "--bin", LIBRARY_OS]);
    process::run_quietly(&mut command)?;
    let built = target(workspace, made).join(APPLICATION_TARGET).join("release").join(LIBRARY_OS);
    if !built.exists() {
        bail!("the build did not make {}", built.display());
    }
    step.finish("built");
    check_vectors(&built)?;
    Ok(built)
}

/// Fails when code of the library OS changes vector registers, which hold what the program has in
/// them. Its own cannot: the target has none. What is linked to it from the dev kit might.
fn check_vectors(library_os: &Path) -> Result<()> {
    let mut command = Command::new("aarch64-linux-gnu-objdump");
    let listing = process::run_quietly(command.arg("-d").arg(library_os))?;
    let listing = String::from_utf8_lossy(&listing);
    let mut bad = vector_users(&listing);
    bad.retain(|name| !MAY_USE_VECTORS.contains(name));
    if bad.is_empty() {
        return Ok(());
    }
    bail!("the dev kit's code changes vector registers, in {}", bad.join(", "))
}

/// Functions with an instruction on vector or floating-point registers: bits 27 and 26 are set in
/// those (Arm Architecture Reference Manual, DDI 0487, C4.1), SVE apart.
fn vector_users(listing: &str) -> Vec<&str> {
    let mut users = Vec::new();
    let mut function = "";
    for line in listing.lines() {
        if let Some((_, name)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            function = name;
            continue;
        }
        let word =
            line.split('\t').nth(1).and_then(|word| u32::from_str_radix(word.trim(), 16).ok());
        if word.is_some_and(|word| word >> 26 & 3 == 3) && users.last() != Some(&function) {
            users.push(function);
        }
    }
    users
}

/// `cargo SUBCOMMAND` for the library OS, linked with an image's dev kit.
pub(crate) fn library_os_cargo(
    workspace: &Workspace,
    made: &Made,
    subcommand: &str,
) -> Result<Command> {
    let route = Route::to(APPLICATION_TARGET).context("no compiler for trusted applications")?;
    let mut command = route.cargo(workspace, subcommand, APPLICATION_TARGET);
    command.arg("--target-dir").arg(target(workspace, made));
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", COMPILER);
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_RUSTFLAGS", FLAGS);
    command.env("TA_DEV_KIT_DIR", made.dev_kit()).env("CC", COMPILER);
    Ok(command)
}

/// Signs a trusted application that was built for an image, with the key that its OP-TEE trusts: the file
/// in `folder`.
pub(crate) fn sign(
    workspace: &Workspace,
    made: &Made,
    program: &str,
    uuid: &str,
    folder: &Path,
) -> Result<PathBuf> {
    let built = target(workspace, made).join(APPLICATION_TARGET).join("release").join(program);
    let mut command = Command::new(workspace.launcher());
    command.arg("sign-ta").arg(built).args(["--uuid", uuid, "--key"]).arg(key(made));
    process::run_quietly(command.arg("--output").arg(folder))?;
    Ok(folder.join(format!("{uuid}.ta")))
}

/// The two configurations have dev kits of their own, and cargo does not notice another one.
pub(crate) fn target(workspace: &Workspace, made: &Made) -> PathBuf {
    workspace.target.join(format!("optee-{}", made.configuration.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_change_vector_registers_are_found() {
        let listing = "\
0000000000000000 <plain>:
   0:\ta9bf7bfd \tstp\tx29, x30, [sp, #-16]!
   4:\t94000000 \tbl\td8 <other>
0000000000000008 <vectors>:
   8:\tad000400 \tstp\tq0, q1, [x0]
   c:\t6f00e400 \tmovi\tv0.2d, #0x0
0000000000000010 <scalar>:
  10:\tfd400008 \tldr\td8, [x0]
";
        assert_eq!(vector_users(listing), ["vectors", "scalar"]);
    }
}
