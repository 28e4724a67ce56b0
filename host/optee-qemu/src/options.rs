// SPDX-License-Identifier: MIT
//! What a machine is like, and what is run in it.

use std::{
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Image,
    protocol::{Program, Size},
};

/// How long a machine may take until it takes commands, unless told otherwise.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// How long a machine may live, unless told otherwise.
const LIMIT: Duration = Duration::from_secs(300);

/// What a machine is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The files to start from.
    pub image: Image,
    /// Folders that are merged over the normal world's root, in this order.
    pub overlays: Vec<PathBuf>,
    /// Further files of the normal world: path inside, without a leading `/`, and file here.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// A folder that OP-TEE's secure storage is kept in, as `tee-supplicant` writes it. Without one
    /// it ends with the machine.
    pub storage: Option<PathBuf>,
    /// Where both consoles and QEMU's own words are written to.
    pub logs: Logs,
    /// The QEMU to start: a name looked for in `PATH`, or a path.
    pub qemu: PathBuf,
    /// Processors.
    pub processors: u8,
    /// Memory in MiB, from 0x40000000 on; at least 768.
    pub memory_mib: u32,
    /// The machine's clock counts instructions, a nanosecond each, and leaps where all wait: the same
    /// work takes the same time, whatever else the computer does.
    pub counts_instructions: bool,
    /// How long the machine may take until it takes commands.
    pub boot_limit: Duration,
    /// How long the machine may live after that.
    pub limit: Duration,
}

impl Options {
    /// Two processors, 1 GiB, no overlay, storage that ends with the machine, logs in that folder.
    pub fn new(image: Image, logs: impl Into<PathBuf>) -> Self {
        Self {
            image,
            overlays: Vec::new(),
            files: Vec::new(),
            storage: None,
            logs: Logs { folder: logs.into() },
            qemu: PathBuf::from("qemu-system-aarch64"),
            processors: 2,
            memory_mib: 1024,
            counts_instructions: false,
            boot_limit: BOOT_LIMIT,
            limit: LIMIT,
        }
    }
}

/// The folder of a machine's logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// The folder; it is made if it is not there.
    pub folder: PathBuf,
}

impl Logs {
    /// The normal world's console: TF-A, Linux, `tee-supplicant`.
    pub fn linux(&self) -> PathBuf {
        self.folder.join("linux.log")
    }

    /// The secure world's console: OP-TEE and its TAs.
    pub fn optee(&self) -> PathBuf {
        self.folder.join("optee.log")
    }

    /// QEMU's standard error.
    pub fn qemu(&self) -> PathBuf {
        self.folder.join("qemu.log")
    }

    /// The last lines of all three, each with the file's name in front; empty ones are left out.
    pub fn tail(&self, lines: usize) -> String {
        let files = [self.qemu(), self.linux(), self.optee()];
        files.iter().filter_map(|file| tail_of(file, lines)).collect()
    }
}

fn tail_of(file: &Path, lines: usize) -> Option<String> {
    let bytes = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = all.get(all.len().saturating_sub(lines)..)?;
    if last.is_empty() {
        return None;
    }
    Some(format!("-- {}\n{}\n", file.display(), last.join("\n")))
}

/// A command of the normal world; runs as root, in `/root`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    program: Program,
}

impl Command {
    /// A program, by path or by its name in `PATH`, and its arguments.
    pub fn new<S: Into<std::ffi::OsString>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter().map(|one| one.into().into_vec()).collect();
        Self { program: Program { arguments, ..Program::default() } }
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.program.environment.push((name.into(), value.into()));
        self
    }

    /// Runs it on a terminal of that size: one output, `\r\n`, line by line.
    #[must_use]
    pub const fn on_terminal(mut self, size: Size) -> Self {
        self.program.terminal = Some(size);
        self
    }

    pub(crate) fn into_program(self) -> Program {
        self.program
    }
}
