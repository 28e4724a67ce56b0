// SPDX-License-Identifier: MIT
//! The QEMU process: its command line, its time limit, its end.
//!
//! A thread owns the process. It kills it when a limit is reached, when it is told to, and when
//! nobody listens any more; the kernel kills it when that thread ends in any other way.

use std::{
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Error, Options,
    agent::boot::{PATH, STORAGE_WORD},
    protocol::PORT,
};

/// Where memory begins on the `virt` machine.
const MEMORY_START: u64 = 0x4000_0000;
/// Where TF-A was built to find Linux.
const KERNEL_ADDRESS: u64 = 0x6000_0000;
/// The archives follow the kernel, with room for kernels of 128 MiB.
const ARCHIVES_ADDRESS: u64 = 0x6800_0000;
const PAGE: u64 = 4096;

/// How long QEMU may take to end after its stream has ended.
const LINGER: Duration = Duration::from_secs(2);
/// How often an ending process is looked at.
const POLL: Duration = Duration::from_millis(5);

/// A running QEMU.
#[derive(Debug)]
pub(crate) struct Qemu {
    orders: Sender<Order>,
    ended: Receiver<Ended>,
}

/// What the thread that owns the process is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Kill it at that time, not before.
    Deadline(Instant),
    /// It should have ended by itself: give it a moment.
    Finish,
    /// Kill it.
    Cut,
}

/// How the process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: String,
    pub(crate) cause: Cause,
}

/// Who ended the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Itself,
    Limit,
    Us,
}

impl Qemu {
    /// Starts QEMU; the stream leads to the agent's port. `front` is the second archive.
    pub(crate) fn start(options: &Options, front: &Path) -> Result<(Self, UnixStream), Error> {
        let (stream, theirs) = UnixStream::pair().map_err(Error::io("make a socket pair"))?;
        let log = File::create(options.logs.qemu()).map_err(Error::io("make QEMU's log"))?;
        let mut command = command(options, front)?;
        command
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(log)
            // The terminal's signals are for whoever started us; we are told by our own ways.
            .process_group(0);
        let (order, orders) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let (report, reports) = mpsc::channel();
        let deadline = Instant::now().checked_add(options.boot_limit);
        thread::Builder::new()
            .name("qemu-keeper".to_owned())
            .spawn(move || {
                let child = command.spawn();
                // It holds QEMU's end of the stream, which has to end with QEMU.
                drop(command);
                match child {
                    // Whoever asked may be gone: then nobody wants to know.
                    Err(error) => drop(report.send(Err(error))),
                    Ok(child) => {
                        let _ = report.send(Ok(()));
                        let _ = end.send(keep(child, &orders, deadline));
                    }
                }
            })
            .map_err(Error::io("start a thread"))?;
        let started = reports.recv().unwrap_or(Err(io::ErrorKind::BrokenPipe.into()));
        started.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Error::NoQemu(options.qemu.clone())
            } else {
                Error::io("start QEMU")(error)
            }
        })?;
        Ok((Self { orders: order, ended }, stream))
    }

    /// Tells the thread something; ignored when the process has ended.
    pub(crate) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// A handle that can give orders from elsewhere.
    pub(crate) fn orders(&self) -> Sender<Order> {
        self.orders.clone()
    }

    /// Waits until the process has ended; call it when its stream has, or after an order to cut.
    pub(crate) fn wait(&self) -> Ended {
        self.order(Order::Finish);
        self.ended.recv().unwrap_or_else(|_| Ended {
            status: "its keeper ended before it".to_owned(),
            cause: Cause::Us,
        })
    }
}

/// Waits for orders, limits and the end.
fn keep(mut child: Child, orders: &Receiver<Order>, mut deadline: Option<Instant>) -> Ended {
    let cause = loop {
        // A limit too far to be counted is none.
        let far = Duration::from_secs(u64::from(u32::MAX));
        let left = deadline.map_or(far, |at| at.saturating_duration_since(Instant::now()));
        match orders.recv_timeout(left) {
            Ok(Order::Deadline(at)) => deadline = Some(at),
            Ok(Order::Finish) => break linger(&mut child),
            Ok(Order::Cut) | Err(RecvTimeoutError::Disconnected) => break Cause::Us,
            Err(RecvTimeoutError::Timeout) => break Cause::Limit,
        }
    };
    // Killing fails when it has ended by itself.
    let _ = child.kill();
    let status = match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    Ended { status, cause }
}

fn linger(child: &mut Child) -> Cause {
    let until = Instant::now().checked_add(LINGER);
    while until.is_some_and(|until| Instant::now() < until) {
        if !matches!(child.try_wait(), Ok(None)) {
            return Cause::Itself;
        }
        thread::sleep(POLL);
    }
    Cause::Itself
}

fn command(options: &Options, front: &Path) -> Result<Command, Error> {
    let image = &options.image;
    let archives = Archives::place(options, front)?;
    let mut command = killed_with_us(&options.qemu);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    command.args(["-machine", "virt,secure=on,gic-version=3", "-cpu", "cortex-a57"]);
    if options.counts_instructions {
        command.args(["-accel", "tcg", "-icount", "shift=0,sleep=off"]);
    } else {
        command.args(["-accel", "tcg,thread=multi"]);
    }
    command.arg("-smp").arg(options.processors.to_string());
    command.arg("-m").arg(format!("{}M", options.memory_mib));
    command.arg("-bios").arg(&image.flash);
    load(&mut command, &image.kernel, KERNEL_ADDRESS);
    load(&mut command, &image.root, archives.root);
    load(&mut command, front, archives.front);
    // QEMU hands on a command line only together with a kernel. The firmware takes the one that
    // lies in memory, so any file does here.
    command.arg("-kernel").arg(&image.flash);
    command.arg("-append").arg(archives.kernel_arguments(options.storage.is_some()));
    for log in [options.logs.linux(), options.logs.optee()] {
        command.arg("-serial").arg(format!("file:{}", log.display()));
    }
    command.args(["-chardev", "socket,id=agent,fd=0", "-device"]);
    command.arg("virtio-serial-pci,id=ports,disable-legacy=on").arg("-device");
    // Not a console: QEMU drops what a console's reader is too slow for.
    command.arg(format!("virtserialport,bus=ports.0,chardev=agent,name={PORT}"));
    if let Some(storage) = &options.storage {
        let path = escaped(storage);
        command.arg("-fsdev");
        command.arg(format!("local,id=storage,path={path},security_model=none"));
        command.args(["-device", "virtio-9p-pci,fsdev=storage,mount_tag=storage"]);
    }
    Ok(command)
}

/// The kernel kills QEMU when the thread that started it ends, however it ends. Without `setpriv`
/// only an orderly end of ours does.
fn killed_with_us(qemu: &Path) -> Command {
    match (find("setpriv"), find_program(qemu)) {
        (Some(setpriv), Some(_)) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(qemu);
            command
        }
        (Some(_) | None, Some(_) | None) => Command::new(qemu),
    }
}

fn load(command: &mut Command, file: &Path, address: u64) {
    let file = escaped(file);
    command.arg("-device").arg(format!("loader,file={file},addr={address:#x},force-raw=on"));
}

/// A path for QEMU's option lists, in which commas are doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Where the two archives lie. The kernel takes zeros between them for padding.
struct Archives {
    root: u64,
    front: u64,
    length: u64,
}

impl Archives {
    fn place(options: &Options, front: &Path) -> Result<Self, Error> {
        let length = |path: &Path| {
            path.metadata().map(|metadata| metadata.len()).map_err(Error::io("measure an archive"))
        };
        let padded = length(&options.image.root)?.next_multiple_of(PAGE);
        let total = padded.saturating_add(length(front)?);
        let end = MEMORY_START.saturating_add(u64::from(options.memory_mib) << 20);
        // The kernel unpacks the archives into memory of the same size before it frees them.
        let needed = ARCHIVES_ADDRESS.saturating_add(total.saturating_mul(2));
        if needed > end {
            let needed_mib = needed.saturating_sub(MEMORY_START) >> 20;
            return Err(Error::TooLarge { needed_mib });
        }
        let front = ARCHIVES_ADDRESS.saturating_add(padded);
        Ok(Self { root: ARCHIVES_ADDRESS, front, length: total })
    }

    fn kernel_arguments(&self, storage: bool) -> String {
        let (at, length) = (self.root, self.length);
        let storage = if storage { STORAGE_WORD } else { "" };
        // The kernel makes variables of the first process of what it does not know.
        format!(
            "console=ttyAMA0 quiet loglevel=5 panic=-1 initrdmem={at:#x},{length} rdinit=/init \
             HOME=/root PATH={PATH} {storage}"
        )
    }
}

/// A program on the search path, or where its path says.
fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_path_buf());
    }
    find(program.to_str()?)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
