// SPDX-License-Identifier: MIT
//! Prepares the normal world: file systems, drivers, `tee-supplicant`, the port.

use std::{
    env::set_current_dir,
    ffi::CStr,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{WaitOptions, wait},
    system::{RebootCommand, finit_module, reboot},
};

use crate::protocol::PORT;

/// Where programs are looked for.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin";

/// Lists drivers in the order in which they are loaded, one path a line. The image builder writes
/// it; a kernel that has its drivers built in needs none.
pub const DRIVERS: &str = "/etc/strongroom/drivers";
/// As [`DRIVERS`], for what only kept storage needs.
pub const STORAGE_DRIVERS: &str = "/etc/strongroom/storage-drivers";

/// Where `tee-supplicant` keeps secure storage.
const STORAGE: &str = "/var/lib/tee";

/// The kernel's command line has this word when storage is to be kept.
pub(crate) const STORAGE_WORD: &str = "strongroom.storage";

/// How long a device may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);

/// The normal world's console. Everything that is no output of a command goes there.
#[derive(Debug)]
pub struct Console(File);

impl Console {
    /// Says a line.
    pub fn say(&mut self, words: &str) {
        // With the console gone there is nobody to complain to.
        let _ = writeln!(self.0, "agent: {words}");
    }

    fn stream(&self) -> io::Result<Stdio> {
        Ok(self.0.try_clone()?.into())
    }

    fn tried<T>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| self.say(&format!("{what}: {error}"))).ok()
    }
}

/// Mounts what every Linux program expects and opens the console.
///
/// # Errors
///
/// The system's, when there is no console to say it on.
pub fn file_systems() -> io::Result<Console> {
    for (kind, folder) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
    ] {
        fs::create_dir_all(folder)?;
        // A kernel may have mounted /dev by itself.
        let _ = mount(kind, folder, kind, MountFlags::empty(), None);
    }
    let mut console = Console(OpenOptions::new().write(true).open("/dev/console")?);
    for (kind, folder) in [("devpts", "/dev/pts"), ("tmpfs", "/dev/shm")] {
        let mounted = mount_at(folder, kind, kind, c"");
        console.tried(folder, mounted);
    }
    Ok(console)
}

/// Loads drivers, makes the shell's commands, starts `tee-supplicant`; returns what OP-TEE lacks.
pub fn services(console: &mut Console) -> Option<String> {
    load_drivers(console, DRIVERS);
    let arguments = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if arguments.split_whitespace().any(|word| word == STORAGE_WORD) {
        load_drivers(console, STORAGE_DRIVERS);
        // `mmap` lets programs map files and writes through at once.
        let options = c"trans=virtio,version=9p2000.L,msize=262144,cache=mmap";
        if let Err(problem) = mount_at(STORAGE, "storage", "9p", options) {
            return Some(format!("its storage cannot be kept: {problem}"));
        }
    } else {
        // A file system of its own, so that tests can make it small.
        let mounted = mount_at(STORAGE, "tmpfs", "tmpfs", c"mode=700");
        console.tried(STORAGE, mounted);
    }
    console.tried("/root", fs::create_dir_all("/root").and_then(|()| set_current_dir("/root")));
    let shell = Command::new("/usr/bin/busybox").args(["--install", "-s", "/usr/bin"]).status();
    console.tried("busybox", shell);
    let loopback = Command::new("ifconfig").args(["lo", "127.0.0.1", "up"]).status();
    console.tried("loopback", loopback);
    if !appears(Path::new("/dev/teepriv0")) {
        return Some("its kernel found no OP-TEE (there is no /dev/teepriv0)".to_owned());
    }
    supplicant(console).err().map(|error| format!("tee-supplicant does not run: {error}"))
}

fn load_drivers(console: &mut Console, list: &str) {
    let Ok(list) = fs::read_to_string(list) else { return };
    for driver in list.lines() {
        let loaded = File::open(driver).and_then(|file| Ok(finit_module(file, c"", 0)?));
        console.tried(driver, loaded);
    }
}

fn mount_at(folder: &str, source: &str, kind: &str, options: &CStr) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    Ok(mount(source, folder, kind, MountFlags::empty(), options)?)
}

fn supplicant(console: &Console) -> io::Result<()> {
    let mut command = Command::new("tee-supplicant");
    command.args(["-d", "-f", STORAGE, "/dev/teepriv0"]);
    command.stdin(Stdio::null()).stdout(console.stream()?).stderr(console.stream()?);
    let status = command.status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => status.to_string(),
    }))
}

/// Opens the port that leads to the host.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] when there is none.
pub fn port() -> io::Result<File> {
    let path = port_path().ok_or(io::ErrorKind::NotFound)?;
    if !appears(&path) {
        return Err(io::ErrorKind::NotFound.into());
    }
    OpenOptions::new().read(true).write(true).open(path)
}

fn port_path() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let named = |path: &PathBuf| {
        fs::read_to_string(path.join("name")).is_ok_and(|name| name.trim_end() == PORT)
    };
    let port = ports.flatten().map(|entry| entry.path()).find(named)?;
    Some(Path::new("/dev").join(port.file_name()?))
}

fn appears(device: &Path) -> bool {
    let started = Instant::now();
    while !device.exists() {
        if started.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Waits for children that nobody else waits for; commands leave them to the first process.
pub fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// Puts storage away and switches the machine off; returns only when that fails.
pub fn power_off(console: &mut Console) {
    rustix::fs::sync();
    // A supplicant that holds files open keeps it from being unmounted; they are written by now.
    let _ = unmount(STORAGE, UnmountFlags::empty());
    let off = reboot(RebootCommand::PowerOff);
    console.tried("power off", off.map_err(io::Error::from));
}
