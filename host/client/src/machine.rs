// SPDX-License-Identifier: MIT
//! The QEMU process that plays the machine.
//!
//! Nothing of it touches the file system: kernel image, boot record and guest memory are memory
//! files, the stream to the enclave is a socket on QEMU's standard input. On its standard output is
//! the boot record or, for a simulated SNP guest, the socket by which the guest rings. It is killed
//! when the [`Machine`] is dropped, and by the kernel when this process dies in any other way.

use crate::LaunchError;
use crate::accelerator::Accelerator;
use crate::guest::SimulatedGuest;
use crate::launch::Payload;
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of QEMU's standard error that are kept.
const OUTPUT_MAX: usize = 16 * 1024;
/// How long QEMU may take to end after its stream has ended.
const LINGER: Duration = Duration::from_millis(500);

/// What QEMU is told.
#[derive(Debug)]
pub(crate) struct MachineOptions {
    pub(crate) qemu: PathBuf,
    pub(crate) accelerator: Accelerator,
    /// Memory of the machine, in MiB.
    pub(crate) memory_mib: u64,
    /// Where the serial port's output goes, if anywhere.
    pub(crate) debug_log: Option<PathBuf>,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
}

/// What is started.
#[derive(Debug)]
pub(crate) enum Boot {
    /// A payload that a loader starts, with a boot record beside it.
    Loaded(Payload, Vec<u8>),
    /// A measured image.
    Measured(Box<SimulatedGuest>),
}

/// A running QEMU.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    output: Option<JoinHandle<String>>,
    /// Dropped to end the thread that started the child.
    _keeper: mpsc::Sender<()>,
    /// Files without a name that QEMU opens by way of this process.
    _files: Vec<OwnedFd>,
}

impl Machine {
    /// Starts QEMU; the stream leads to the enclave.
    pub(crate) fn start(
        options: &MachineOptions,
        boot: Boot,
    ) -> Result<(Self, UnixStream), LaunchError> {
        let (stream, theirs) = UnixStream::pair().map_err(LaunchError::io("make a socket pair"))?;
        let mut command = command(options);
        let files = boot.prepare(options, &mut command)?;
        command.args(&options.arguments);
        command
            .stdin(OwnedFd::from(theirs))
            .stderr(Stdio::piped())
            // Signals from the terminal are for the program; they go through the session.
            .process_group(0);
        let (mut child, keeper) = spawn_from_keeper(command)?.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                LaunchError::NoQemu(options.qemu.clone())
            } else {
                LaunchError::io("start QEMU")(error)
            }
        })?;
        let output = child.stderr.take().map(|stderr| std::thread::spawn(|| collect(stderr)));
        Ok((Self { child, output, _keeper: keeper, _files: files }, stream))
    }

    /// Says how QEMU ended, after its stream did.
    pub(crate) fn post_mortem(mut self) -> LaunchError {
        let deadline = Instant::now() + LINGER;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(None) | Err(_) => break "it closed its stream and went on running".to_owned(),
            }
        };
        self.stop();
        let output = self.output.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        LaunchError::MachineStopped { status, output }
    }

    fn stop(&mut self) {
        // Both fail only when it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Boot {
    /// Adds what is started to the command line, and its file or socket as standard output. The
    /// files have to stay open.
    fn prepare(
        self,
        options: &MachineOptions,
        command: &mut Command,
    ) -> Result<Vec<OwnedFd>, LaunchError> {
        match self {
            Self::Loaded(payload, record) => {
                let record = sealed("boot-record", &record);
                let record = record.map_err(LaunchError::io("make the boot record"))?;
                let (kernel, path) =
                    in_file(payload).map_err(LaunchError::io("make the kernel image"))?;
                command.arg("-m").arg(format!("{}M", options.memory_mib));
                command.args(["-machine", MACHINE]).arg("-kernel").arg(path);
                command.args(["-initrd", "/proc/self/fd/1"]).stdout(record);
                Ok(kernel.into_iter().collect())
            }
            Self::Measured(mut guest) => {
                let made = sealed("kernel", &std::mem::take(&mut guest.kernel));
                let kernel = made.map_err(LaunchError::io("make the kernel image"))?;
                let memory = guest.memory().try_clone().map(OwnedFd::from);
                let memory = memory.map_err(LaunchError::io("make guest memory"))?;
                let size = guest.memory_mib;
                let (bell, theirs) =
                    UnixStream::pair().map_err(LaunchError::io("make a socket pair"))?;
                let path = named(&memory);
                command.arg("-object").arg(format!(
                    "memory-backend-file,id=ram,size={size}M,share=on,mem-path={}",
                    path.display()
                ));
                command.arg("-m").arg(format!("{size}M"));
                command.arg("-machine").arg(format!("{MACHINE},memory-backend=ram"));
                command.args(["-chardev", "socket,id=bell,fd=1", "-serial", "chardev:bell"]);
                command.arg("-kernel").arg(named(&kernel)).stdout(OwnedFd::from(theirs));
                guest.attend(bell).map_err(LaunchError::io("start a thread"))?;
                Ok(vec![kernel, memory])
            }
        }
    }
}

/// A descriptor of this process under a name that QEMU can open.
fn named(file: &OwnedFd) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

const MACHINE: &str = "q35,usb=off,vmport=off";

/// The command line, but for what is started. `setpriv` makes the kernel kill QEMU when the thread that started it ends,
/// however it ends; where it is not installed, only an orderly end stops QEMU.
fn command(options: &MachineOptions) -> Command {
    let mut command = match find("setpriv").filter(|path| is_itself(path)) {
        Some(setpriv) if find_program(&options.qemu).is_some() => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(&options.qemu);
            command
        }
        Some(_) | None => Command::new(&options.qemu),
    };
    let own_accelerator = options.arguments.iter().any(|argument| argument == "-accel");
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    command.args(["-cpu", "max"]);
    if !own_accelerator {
        command.args(["-accel", options.accelerator.name()]);
    }
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    command.args(["-chardev", "socket,id=ch,fd=0"]);
    command.args(["-device", "virtio-serial-pci,id=vs,disable-legacy=on"]);
    // Not `virtconsole`: QEMU drops what a console's reader is too slow for.
    command.args(["-device", "virtserialport,chardev=ch,bus=vs.0,nr=1"]);
    match &options.debug_log {
        Some(path) => {
            // Commas are doubled in QEMU's option lists.
            let path = path.display().to_string().replace(',', ",,");
            command.arg("-chardev").arg(format!("file,id=log,path={path}"));
            command.args(["-serial", "chardev:log"]);
        }
        None => {
            command.args(["-serial", "none"]);
        }
    }
    command
}

/// The payload under a name that QEMU can open, for as long as the descriptor is open.
fn in_file(payload: Payload) -> io::Result<(Option<OwnedFd>, PathBuf)> {
    match payload {
        Payload::File(path) => Ok((None, path)),
        Payload::Bytes(bytes) => {
            let file = sealed("kernel", &bytes)?;
            let path = named(&file);
            Ok((Some(file), path))
        }
    }
}

/// Whether a program is no link to a program of another name: busybox's `setpriv` knows no signals.
fn is_itself(program: &Path) -> bool {
    program.canonicalize().is_ok_and(|path| path.file_name() == program.file_name())
}

/// A memory file of these bytes that nobody can change any more.
fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create(name, flags)?);
    file.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

type Spawned = io::Result<(Child, mpsc::Sender<()>)>;

/// Starts the child from a thread that lives as long as the returned sender. The kernel's
/// parent-death signal follows the thread, and the caller's may end before the session does.
fn spawn_from_keeper(mut command: Command) -> Result<Spawned, LaunchError> {
    let (report, reports) = mpsc::channel();
    let (keeper, kept) = mpsc::channel::<()>();
    std::thread::Builder::new()
        .name("machine-keeper".to_owned())
        .spawn(move || {
            let child = command.spawn();
            // It holds the child's end of the stream, which has to end with the child.
            drop(command);
            // Both ends of these channels outlive what is said on them.
            let _ = report.send(child);
            let _ = kept.recv();
        })
        .map_err(LaunchError::io("start a thread"))?;
    let spawned = reports.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
    Ok(spawned.and_then(|result| result).map(|child| (child, keeper)))
}

/// The first bytes of what QEMU writes; the rest is read and dropped.
fn collect(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let room = OUTPUT_MAX.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(count.min(room)));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// A program on the search path, or where its path says.
pub(crate) fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_path_buf());
    }
    find(program.to_str()?)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
