// SPDX-License-Identifier: MIT
//! The kernel as its platform sees it, and what all of its parts share.

use crate::attach::Owner;
use crate::exec;
use crate::fs::devices::{Console, Terminals};
use crate::fs::image::Image;
use crate::fs::locks::Locks;
use crate::fs::text::TextUses;
use crate::fs::{InodeId, Mounts};
use crate::host::Host;
use crate::memory::Neighbours;
use crate::net::Network;
use crate::random::Random;
use crate::sync::{Scheduler, ThreadKey, Timers, WaitQueue};
use crate::task::futex::Futexes;
use crate::task::{ExitStatus, Processes};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use spin::{Mutex, Once};
use strongroom_abi::{Errno, NUMBER_END, Sysno, arch};
use strongroom_south::{Frame, Machine, PAGE_SIZE};
use strongroom_wire::Untrusted;
use strongroom_wire::boot::{Manifest, Record};
use strongroom_wire::message::{Answer, Ask, TerminalSize, ToEnclave, VERSION};

/// Most lines of the kernel log that the host is told.
const LOG_LINES_MAX: usize = 1000;

/// What a run ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Threads are ready, but messages wait or the tick has come: pump, then run again.
    Busy,
    /// Nothing is ready until the host says something, or this time on the monotonic clock.
    Idle {
        /// Nanoseconds; `None` is never.
        until_ns: Option<u64>,
    },
    /// The workload has ended. Hand over what messages are left.
    Ended,
}

/// Why nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The hardware has no randomness.
    NoEntropy,
    /// The image's size in the boot record is impossible.
    BadImage,
}

/// The library OS.
pub struct Kernel {
    pub(crate) machine: &'static dyn Machine,
    pub(crate) scheduler: &'static Scheduler,
    pub(crate) timers: Timers,
    pub(crate) host: &'static Host,
    pub(crate) random: Random,
    pub(crate) processes: Processes,
    pub(crate) mounts: Mounts,
    pub(crate) locks: Locks,
    pub(crate) text_uses: TextUses,
    pub(crate) futexes: Futexes,
    pub(crate) net: Network,
    /// Woken when a program listens on a UNIX socket.
    pub(crate) listening: WaitQueue,
    pub(crate) neighbours: Neighbours,
    pub(crate) manifest: Manifest,
    pub(crate) console: Once<Arc<Console>>,
    pub(crate) terminals: Terminals,
    /// The client that has started the workload.
    pub(crate) owner: Mutex<Option<Owner>>,
    /// Those whose bytes are carried between clients and the workload's service.
    pub(crate) carriers: Mutex<Vec<ThreadKey>>,
    /// Unlike that of any other run.
    pub(crate) boot_id: [u8; 16],
    image: Once<Arc<Image>>,
    numbers: AtomicU64,
    devices: AtomicU64,
    /// Added to the monotonic clock to give the wall clock.
    wall_offset_ns: AtomicI64,
    peak_frames: AtomicUsize,
    interrupted: AtomicBool,
    started: AtomicBool,
    ended: AtomicBool,
    hello: Mutex<Option<crate::host::Ticket>>,
    missing_reported: [AtomicBool; NUMBER_END],
    log_lines: AtomicUsize,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Kernel").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

impl Kernel {
    /// A kernel for one workload. It lives as long as the platform.
    ///
    /// # Errors
    ///
    /// [`BootError`] when nothing can be started.
    pub fn new(machine: &'static dyn Machine, record: Record) -> Result<&'static Self, BootError> {
        let random = Random::new(machine).map_err(|_| BootError::NoEntropy)?;
        let mut boot_id = [0; 16];
        random.fill(&mut boot_id);
        let scheduler: &'static Scheduler = Box::leak(Box::default());
        let host: &'static Host = Box::leak(Box::new(Host::new(scheduler)));
        let kernel: &'static Self = Box::leak(Box::new(Self {
            machine,
            scheduler,
            timers: Timers::default(),
            host,
            random,
            processes: Processes::default(),
            mounts: Mounts::default(),
            locks: Locks::new(scheduler),
            text_uses: TextUses::default(),
            futexes: Futexes::new(scheduler),
            net: Network::default(),
            listening: WaitQueue::new(scheduler),
            neighbours: Neighbours::default(),
            manifest: record.manifest,
            console: Once::new(),
            terminals: Terminals::default(),
            owner: Mutex::new(None),
            carriers: Mutex::default(),
            boot_id,
            image: Once::new(),
            numbers: AtomicU64::new(1),
            devices: AtomicU64::new(1),
            wall_offset_ns: AtomicI64::new(0),
            peak_frames: AtomicUsize::new(0),
            interrupted: AtomicBool::new(false),
            started: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            hello: Mutex::new(None),
            missing_reported: [const { AtomicBool::new(false) }; NUMBER_END],
            log_lines: AtomicUsize::new(0),
        }));
        let image = Image::new(kernel, record.root_digest, record.image_blocks)
            .map_err(|_| BootError::BadImage)?;
        kernel.image.call_once(|| Arc::new(image));
        *kernel.hello.lock() = Some(host.ask(Ask::Hello { version: VERSION }));
        Ok(kernel)
    }

    /// Runs guest threads until none is ready, or until the platform should pump.
    pub fn run(&'static self) -> Outcome {
        self.interrupted.store(false, Ordering::Relaxed);
        loop {
            if self.ended.load(Ordering::Acquire) {
                return Outcome::Ended;
            }
            if self.timers.next_ns().is_some() {
                self.timers.expire(self.now_ns());
            }
            if !self.scheduler.poll_next() {
                let until_ns = self.timers.next_ns();
                return Outcome::Idle { until_ns };
            }
            if self.interrupted.swap(false, Ordering::Relaxed) {
                return Outcome::Busy;
            }
        }
    }

    /// The next message for the host: postcard, not framed.
    pub fn take_message(&self) -> Option<Vec<u8>> {
        self.host.take_message()
    }

    /// Takes a message from the host. One that is malformed is dropped and reported.
    pub fn receive(&'static self, bytes: Untrusted<'_>) {
        match bytes.parse::<ToEnclave<'_>>() {
            Ok(ToEnclave::Reply { ticket, .. }) => {
                self.host.file_answer(ticket, bytes.reveal());
                self.welcome();
            }
            Ok(ToEnclave::Signal(number)) => {
                if let Some(console) = self.console.get() {
                    console.signal(number);
                }
            }
            Ok(ToEnclave::Resize(size)) => {
                if let Some(console) = self.console.get() {
                    console.resize(size);
                }
            }
            Err(malformed) => {
                self.report(format_args!("host: malformed message ({malformed:?}), dropped"));
            }
        }
    }

    /// Starts the workload when the host has greeted.
    fn welcome(&'static self) {
        let reply = {
            let mut hello = self.hello.lock();
            let Some(ticket) = hello.as_ref() else { return };
            let Some(reply) = ticket.take() else { return };
            *hello = None;
            reply
        };
        let Ok(Answer::Welcome { wall_ns, terminal, size }) = reply.answer() else {
            self.abort("the host did not greet as the protocol demands");
            return;
        };
        self.set_wall_ns(wall_ns);
        exec::start_workload(
            self,
            terminal,
            size.unwrap_or(TerminalSize { columns: 80, rows: 24 }),
        );
    }

    /// The measured root image.
    pub(crate) fn image(&self) -> Result<Arc<Image>, Errno> {
        self.image.get().cloned().ok_or(Errno::EIO)
    }

    /// The monotonic clock.
    pub(crate) fn now_ns(&self) -> u64 {
        self.machine.monotonic_ns()
    }

    /// The wall clock: the host's word, moved on by the monotonic clock.
    pub(crate) fn wall_ns(&self) -> i64 {
        let now = i64::try_from(self.now_ns()).unwrap_or(i64::MAX);
        now.saturating_add(self.wall_offset_ns.load(Ordering::Relaxed))
    }

    /// Takes the host's word for the time of day.
    pub(crate) fn set_wall_ns(&self, wall_ns: u64) {
        let now = i64::try_from(self.now_ns()).unwrap_or(i64::MAX);
        let wall = i64::try_from(wall_ns).unwrap_or(i64::MAX);
        self.wall_offset_ns.store(wall.saturating_sub(now), Ordering::Relaxed);
    }

    /// A number unlike all before.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for a file system (`st_dev`).
    pub(crate) fn next_device(&self) -> u64 {
        self.devices.fetch_add(1, Ordering::Relaxed)
    }

    /// A zeroed frame for a program or a page cache.
    pub(crate) fn allocate_frame(&self) -> Result<Frame, Errno> {
        self.machine.allocate().ok_or(Errno::ENOMEM)
    }

    /// `ENOMEM` while the kernel's own memory is short: for what takes more of it, and keeps it.
    pub(crate) fn check_heap(&self) -> Result<(), Errno> {
        if self.machine.is_heap_short() { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// The tick, or a sign from the host: the run returns to the platform soon.
    pub(crate) fn interrupt(&self) {
        let counts = self.machine.counts();
        self.peak_frames.fetch_max(counts.total - counts.free, Ordering::Relaxed);
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// A file has shrunk: its pages behind the end leave all address spaces.
    pub(crate) fn unmap_beyond(&self, id: InodeId, size: u64) {
        for process in self.processes.all() {
            if let Some(memory) = process.memory() {
                memory.unmap_file_beyond(id, size);
            }
        }
    }

    /// Says once that the first user instruction is about to run.
    pub(crate) fn note_started(&self) {
        if !self.started.swap(true, Ordering::Relaxed) {
            self.host.tell(Ask::Started { boot_ns: self.now_ns() });
        }
    }

    /// Whether a user instruction has run.
    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// The workload's first process has ended.
    pub(crate) fn finish(&self, status: ExitStatus) {
        let counts = self.machine.counts();
        self.peak_frames.fetch_max(counts.total - counts.free, Ordering::Relaxed);
        let pages = self.peak_frames.load(Ordering::Relaxed);
        // What the program has said last is not lost.
        let carriers = core::mem::take(&mut *self.carriers.lock());
        carriers.into_iter().for_each(|key| self.scheduler.poll_now(key));
        let owner = self.owner.lock().take();
        if let Some(owner) = owner {
            owner.tell_exit(status.shell_status());
        }
        self.host.tell(Ask::Exit {
            status: status.shell_status(),
            peak_kib: (pages * (PAGE_SIZE / 1024)) as u64,
            kernel_kib: (self.machine.overhead() / 1024) as u64,
        });
        self.ended.store(true, Ordering::Release);
    }

    /// Gives up, with a sentence for the user.
    pub(crate) fn abort(&self, reason: &str) {
        self.host.tell(Ask::Abort { reason });
        self.ended.store(true, Ordering::Release);
    }

    /// A line for the kernel log: to the platform's debug log, and to the host.
    pub(crate) fn report(&self, line: fmt::Arguments<'_>) {
        self.machine.log(line);
        if self.log_lines.fetch_add(1, Ordering::Relaxed) < LOG_LINES_MAX {
            let line: String = format!("{line}");
            self.host.tell(Ask::Log { line: &line });
        }
    }

    /// Reports an unknown system call, once per number.
    pub(crate) fn report_missing(&self, number: usize) {
        let Some(reported) = self.missing_reported.get(number) else { return };
        if !reported.swap(true, Ordering::Relaxed) {
            let known = Sysno::ALL.iter().find(|call| {
                arch::number_of(**call).is_some_and(|known| usize::from(known) == number)
            });
            let name = known.map_or("unknown", |call| call.name());
            self.report(format_args!("system call {number} ({name}) is not there: ENOSYS"));
        }
    }
}
