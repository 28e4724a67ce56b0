// SPDX-License-Identifier: MIT
//! OP-TEE in QEMU, with one trusted application in it.

use crate::serve::last_words;
use crate::{Carrier, RunError};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::iter;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_optee_package::Uuid;
use strongroom_optee_qemu::{Command, Image, Input, Machine, Options};
use tempfile::TempDir;

/// Names of a machine's folder beside an executable of a build.
const PLACES: [&str; 2] = ["../optee-big/machine", "../optee-stock/machine"];
/// Names it where nobody else does.
const MACHINE: &str = "STRONGROOM_OPTEE_MACHINE";
/// Where `tee-supplicant` looks for trusted applications.
const APPLICATIONS: &str = "usr/lib/optee_armtz";
/// Where the program with the bridge lies in the normal world.
const RUNNER: &str = "usr/bin/strongroom";
/// The command of it that is the bridge.
pub const SERVE: &str = "serve-ta";
/// A busy computer may take long to boot one.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// A program may run for as long as it wants: a century.
const LIMIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// What errors on the secure world's console begin with, and how many an error of ours quotes.
const ERROR: &str = "E/";
const CONSOLE_LINES: usize = 8;

/// A folder with all that a simulated machine is made of.
///
/// | file | what |
/// |---|---|
/// | `flash.bin`, `Image`, `root.cpio` | what it boots ([`Image`]) |
/// | `strongroom-optee-agent` | its first process |
/// | `strongroom` | the command line, for its normal world |
/// | `strongroom-optee` | the library OS that is packed for it |
/// | `devkit` | what applications for its OP-TEE are linked with |
/// | `default_ta.pem` | the key that its OP-TEE trusts |
/// | `versions.txt` | names and versions of what it was made of |
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// That folder, or the one that the variable `STRONGROOM_OPTEE_MACHINE` names, or the one that a build
    /// has made near this executable.
    ///
    /// # Errors
    ///
    /// As for [`Self::find`].
    pub fn of_user(named: Option<PathBuf>) -> Result<Self, RunError> {
        let named = named.or_else(|| env::var_os(MACHINE).map(PathBuf::from));
        Self::find(named, &env::current_exe()?)
    }

    /// That folder, or the one that a build has made near `executable`.
    ///
    /// # Errors
    ///
    /// [`RunError::NoMachine`] says where it was looked for.
    pub fn find(named: Option<PathBuf>, executable: &Path) -> Result<Self, RunError> {
        let beside = executable.parent().unwrap_or(Path::new("/"));
        let places: Vec<PathBuf> = match named {
            Some(folder) => vec![folder],
            None => PLACES.iter().map(|place| beside.join(place)).collect(),
        };
        let whole = |folder: &&PathBuf| folder.join("flash.bin").is_file();
        match places.iter().find(whole) {
            Some(folder) => Ok(Self(folder.clone())),
            None => {
                let tried = places.iter().map(|folder| folder.join("flash.bin"));
                let tried: Vec<String> = tried.map(|path| path.display().to_string()).collect();
                Err(RunError::NoMachine(tried.join(", ")))
            }
        }
    }

    /// The library OS that runs in it.
    pub fn library_os(&self) -> PathBuf {
        self.0.join("strongroom-optee")
    }

    /// The key that its OP-TEE trusts. Everybody has it.
    pub fn key(&self) -> PathBuf {
        self.0.join("default_ta.pem")
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        let versions = fs::read_to_string(self.0.join("versions.txt")).unwrap_or_default();
        let mut named = versions.lines().filter_map(|line| line.strip_prefix("optee-os "));
        let version = named.next().unwrap_or("of an unknown version");
        format!("OP-TEE {version} in QEMU")
    }
}

/// What of a machine outlives it.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// A folder for what both consoles say.
    pub logs: Option<PathBuf>,
    /// A folder for OP-TEE's secure storage.
    pub storage: Option<PathBuf>,
}

/// A started machine with a trusted application.
#[derive(Debug)]
pub struct VirtualTee {
    machine: Machine,
    uuid: Uuid,
    /// Files of ours that it uses.
    _files: TempDir,
}

/// The command line in the normal world, with these words behind its name.
fn command_line(words: &[&str]) -> Command {
    let program = Path::new("/").join(RUNNER).into_os_string();
    Command::new(iter::once(program).chain(words.iter().map(OsString::from)))
}

impl VirtualTee {
    /// Starts a machine in which the application's file lies.
    ///
    /// # Errors
    ///
    /// [`RunError::Machine`].
    pub fn start(
        folder: &Folder,
        uuid: Uuid,
        application: &[u8],
        kept: Kept,
    ) -> Result<Self, RunError> {
        let files = tempfile::tempdir()?;
        let file = files.path().join("application");
        fs::write(&file, application)?;
        let image = Image::in_directory(&folder.0, folder.0.join("strongroom-optee-agent"));
        let logs = kept.logs.unwrap_or_else(|| files.path().join("logs"));
        let mut options = Options::new(image, logs);
        options.boot_limit = BOOT_LIMIT;
        options.limit = LIMIT;
        options.storage = kept.storage;
        options.files.push((RUNNER.into(), folder.0.join("strongroom")));
        options.files.push((Path::new(APPLICATIONS).join(format!("{uuid}.ta")), file));
        if let Some(qemu) = env::var_os("STRONGROOM_QEMU_AARCH64") {
            options.qemu = qemu.into();
        }
        Ok(Self { machine: Machine::start(&options)?, uuid, _files: files })
    }

    /// Waits until it is up and carries messages between its application and a session.
    ///
    /// # Errors
    ///
    /// As for [`Carrier::start`].
    pub fn carry(self, stream: UnixStream) -> Result<Carrier, RunError> {
        let uuid = self.uuid.to_string();
        self.carry_by(&[SERVE, &uuid], stream)
    }

    /// Waits until it is up and connects a stream to the command line in its normal world, which is given
    /// these words.
    ///
    /// # Errors
    ///
    /// As for [`Carrier::start`].
    pub fn carry_by(self, words: &[&str], stream: UnixStream) -> Result<Carrier, RunError> {
        let power = self.machine.power_switch();
        let command = command_line(words);
        Ok(Carrier::start(move || self.run(&command, &stream))?.with_power(power))
    }

    /// Waits until it is up, and runs the command line in its normal world; what that printed.
    ///
    /// # Errors
    ///
    /// [`RunError`], with what it said when its exit status is not 0.
    pub fn capture(mut self, words: &[&str]) -> Result<Vec<u8>, RunError> {
        self.machine.wait_until_up()?;
        let ran = self.machine.capture(&command_line(words), Input::Empty)?;
        self.machine.power_off()?;
        match ran.status.code() {
            0 => Ok(ran.output),
            _ => Err(last_words(&ran.errors, String::new())),
        }
    }

    fn run(mut self, command: &Command, stream: &UnixStream) -> Result<(), RunError> {
        self.machine.wait_until_up()?;
        let console = self.machine.logs().optee();
        let said = fs::metadata(&console).map_or(0, |metadata| metadata.len());
        let mut output = stream.try_clone()?;
        let mut errors = Vec::new();
        let input = Input::Descriptor(stream.as_fd());
        let status = self.machine.run(command, input, &mut output, &mut errors)?;
        if status.code() == 0 {
            return Ok(());
        }
        Err(last_words(&errors, console_since(&console, said).unwrap_or_default()))
    }
}

/// The first errors in a console's log behind so many bytes.
fn console_since(log: &Path, said: u64) -> io::Result<String> {
    let bytes = fs::read(log)?;
    let new = usize::try_from(said).ok().and_then(|said| bytes.get(said..)).unwrap_or_default();
    let text = String::from_utf8_lossy(new);
    let lines = text.lines().map(str::trim_end).filter(|line| line.starts_with(ERROR));
    // Some say nothing but where they come from.
    let lines = lines.filter(|line| line.split_whitespace().count() > 2);
    Ok(lines.take(CONSOLE_LINES).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_or_near_the_executable() {
        let build = tempfile::tempdir().unwrap();
        let executable = build.path().join("tool/strongroom");
        let error = Folder::find(None, &executable).unwrap_err();
        assert!(error.to_string().contains("optee-big/machine/flash.bin"), "{error}");
        assert!(error.hint().unwrap().contains("cargo xtask optee build"));
        let stock = build.path().join("optee-stock/machine");
        fs::create_dir_all(build.path().join("tool")).unwrap();
        fs::create_dir_all(&stock).unwrap();
        fs::write(stock.join("flash.bin"), b"").unwrap();
        fs::write(stock.join("versions.txt"), "a 1\noptee-os 4.5.0-2\n").unwrap();
        let folder = Folder::find(None, &executable).unwrap();
        assert_eq!(folder.describe(), "OP-TEE 4.5.0-2 in QEMU");
        let named = Folder::find(Some(build.path().join("other")), &executable).unwrap_err();
        assert!(matches!(named, RunError::NoMachine(tried) if tried.ends_with("other/flash.bin")));
    }

    #[test]
    fn the_console_is_quoted_from_where_the_program_began() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let lines =
            (0..20).map(|number| format!("E/TC:? 0 line {number}\r\nE/TC:? 0\r\nI/TC: x\r\n"));
        fs::write(&log, format!("E/TC:? 0 boot\r\n{}", lines.collect::<String>())).unwrap();
        let quoted = console_since(&log, 15).unwrap();
        assert!(quoted.starts_with("E/TC:? 0 line 0\nE/TC:? 0 line 1\n"), "{quoted}");
        assert!(quoted.ends_with("line 7"), "{quoted}");
        assert_eq!(console_since(&log, 1 << 20).unwrap(), "");
    }
}
