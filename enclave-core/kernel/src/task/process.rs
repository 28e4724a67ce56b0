// SPDX-License-Identifier: MIT
//! Processes, their family, and the table of all of them.

use crate::fs::{FsContext, Place};
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::signal::{Handlers, Pending, SignalSet};
use crate::sync::WaitQueue;
use crate::task::{Credentials, Limits, Thread, Work};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use spin::Mutex;
use strongroom_abi::{Errno, SignalInfo};

/// First pid after the workload's own, and where numbers start again.
const PID_MAX: u32 = 4_194_304;
/// Most threads and processes at once.
const TASKS_MAX: usize = 4096;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// By `exit(2)`.
    Code(u8),
    /// By a signal.
    Signal(u8),
}

impl ExitStatus {
    /// As `wait(2)` reports it.
    pub(crate) const fn wait_status(self) -> i32 {
        match self {
            Self::Code(code) => (code as i32) << 8,
            Self::Signal(signal) => signal as i32,
        }
    }

    /// As a shell reports it.
    pub(crate) const fn shell_status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.wrapping_add(128),
        }
    }
}

/// What a process is doing, as its parent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessState {
    Running,
    /// Stopped by a signal; whether the parent was told.
    Stopped {
        signal: u8,
        reported: bool,
    },
    /// Continued, and the parent was not told yet.
    Continued,
    /// Ended, not waited for.
    Zombie(ExitStatus),
    /// Waited for.
    Gone,
}

/// Processor time and memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) user_ns: u64,
    pub(crate) system_ns: u64,
    pub(crate) peak_pages: usize,
}

impl Usage {
    /// Adds another's times and takes the higher peak.
    pub(crate) fn add(&mut self, other: Self) {
        self.user_ns += other.user_ns;
        self.system_ns += other.system_ns;
        self.peak_pages = self.peak_pages.max(other.peak_pages);
    }
}

struct Family {
    parent: Weak<Process>,
    children: Vec<Arc<Process>>,
}

/// See the module's text.
pub(crate) struct Process {
    pub(crate) kernel: &'static Kernel,
    pub(crate) pid: u32,
    group: AtomicU32,
    session: AtomicU32,
    family: Mutex<Family>,
    /// Of the parent in there; 0 for none.
    parent_pid: AtomicU32,
    pub(crate) threads: Mutex<Vec<Arc<Thread>>>,
    memory: Mutex<Option<Arc<Memory>>>,
    fs: Mutex<Arc<FsContext>>,
    pub(crate) state: Mutex<ProcessState>,
    /// Set once, by whoever ends the process first.
    pub(crate) ending: Mutex<Option<ExitStatus>>,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) pending: Mutex<Pending>,
    /// Whether signals may be in there: false only if there are none. Changed while that is locked.
    may_have_pending: AtomicBool,
    pub(crate) credentials: Mutex<Credentials>,
    pub(crate) limits: Mutex<Limits>,
    /// Woken when a child changes its state.
    pub(crate) child_changed: WaitQueue,
    /// Woken when a signal was sent to it or to one of its threads.
    pub(crate) signal_arrived: WaitQueue,
    /// Woken when this process has executed a program or ended; for `vfork`.
    pub(crate) released: WaitQueue,
    /// Whether it has executed a program since it was forked.
    pub(crate) executed: AtomicBool,
    /// Signal for the parent when it ends; 0 for none.
    pub(crate) exit_signal: AtomicU32,
    /// Signal when the parent ends (`PR_SET_PDEATHSIG`); 0 for none.
    pub(crate) parent_death_signal: AtomicU32,
    /// Nice value.
    pub(crate) nice: AtomicI32,
    /// Adopts orphans among its descendants (`PR_SET_CHILD_SUBREAPER`).
    pub(crate) reaper: AtomicBool,
    pub(crate) executable: Mutex<Option<Place>>,
    pub(crate) started_ns: u64,
    /// Of threads that have ended.
    pub(crate) past_usage: Mutex<Usage>,
    pub(crate) children_usage: Mutex<Usage>,
    pub(crate) peak_pages: AtomicU64,
    /// Interval timers (`setitimer`, `timer_create`).
    pub(crate) timers: crate::signal::ProcessTimers,
}

/// What a new process takes over from its parent.
pub(crate) struct Inherited {
    pub(crate) memory: Arc<Memory>,
    pub(crate) fs: Arc<FsContext>,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) credentials: Credentials,
    pub(crate) limits: Limits,
    pub(crate) exit_signal: u32,
}

impl Process {
    /// A process without threads, not in the table yet.
    pub(crate) fn new(
        kernel: &'static Kernel,
        pid: u32,
        parent: Option<&Arc<Self>>,
        inherited: Inherited,
    ) -> Arc<Self> {
        let (group, session) =
            parent.map_or((pid, pid), |parent| (parent.group(), parent.session()));
        Arc::new(Self {
            kernel,
            pid,
            group: AtomicU32::new(group),
            session: AtomicU32::new(session),
            parent_pid: AtomicU32::new(parent.map_or(0, |parent| parent.pid)),
            family: Mutex::new(Family {
                parent: parent.map_or_else(Weak::new, Arc::downgrade),
                children: Vec::new(),
            }),
            threads: Mutex::new(Vec::new()),
            memory: Mutex::new(Some(inherited.memory)),
            fs: Mutex::new(inherited.fs),
            state: Mutex::new(ProcessState::Running),
            ending: Mutex::new(None),
            handlers: inherited.handlers,
            pending: Mutex::new(Pending::default()),
            may_have_pending: AtomicBool::new(false),
            credentials: Mutex::new(inherited.credentials),
            limits: Mutex::new(inherited.limits),
            child_changed: WaitQueue::new(kernel.scheduler),
            signal_arrived: WaitQueue::new(kernel.scheduler),
            released: WaitQueue::new(kernel.scheduler),
            executed: AtomicBool::new(false),
            exit_signal: AtomicU32::new(inherited.exit_signal),
            parent_death_signal: AtomicU32::new(0),
            nice: AtomicI32::new(parent.map_or(0, |parent| parent.nice.load(Ordering::Relaxed))),
            reaper: AtomicBool::new(false),
            executable: Mutex::new(parent.and_then(|parent| parent.executable.lock().clone())),
            started_ns: kernel.now_ns(),
            past_usage: Mutex::new(Usage::default()),
            children_usage: Mutex::new(Usage::default()),
            peak_pages: AtomicU64::new(0),
            timers: crate::signal::ProcessTimers::default(),
        })
    }

    /// Process group.
    pub(crate) fn group(&self) -> u32 {
        self.group.load(Ordering::Relaxed)
    }

    /// Moves it to a process group.
    pub(crate) fn set_group(&self, group: u32) {
        self.group.store(group, Ordering::Relaxed);
    }

    /// Session.
    pub(crate) fn session(&self) -> u32 {
        self.session.load(Ordering::Relaxed)
    }

    /// Starts a session of its own.
    pub(crate) fn start_session(&self) {
        self.session.store(self.pid, Ordering::Relaxed);
        self.set_group(self.pid);
    }

    /// The parent, while it lives.
    pub(crate) fn parent(&self) -> Option<Arc<Self>> {
        self.family.lock().parent.upgrade()
    }

    /// Has a signal wait for any of its threads.
    pub(crate) fn add_pending(&self, info: SignalInfo) {
        let mut pending = self.pending.lock();
        pending.add(info);
        self.may_have_pending.store(true, Ordering::Relaxed);
    }

    /// Whether a signal of a set waits.
    pub(crate) fn has_pending(&self, wanted: SignalSet) -> bool {
        let pending = self.pending.lock();
        self.may_have_pending.store(!pending.set().is_empty(), Ordering::Relaxed);
        pending.has_any(wanted)
    }

    /// Whether signals may wait; without a lock. For a thread that has locked its own signals: who
    /// sends one afterwards sees the mask that this thread has set meanwhile.
    pub(crate) fn may_have_pending(&self) -> bool {
        self.may_have_pending.load(Ordering::Relaxed)
    }

    /// `getppid(2)`.
    pub(crate) fn parent_pid(&self) -> u32 {
        self.parent_pid.load(Ordering::Relaxed)
    }

    /// Children, zombies included.
    pub(crate) fn children(&self) -> Vec<Arc<Self>> {
        self.family.lock().children.clone()
    }

    /// Adds a child.
    pub(crate) fn adopt(self: &Arc<Self>, child: &Arc<Self>) {
        child.family.lock().parent = Arc::downgrade(self);
        child.parent_pid.store(self.pid, Ordering::Relaxed);
        self.family.lock().children.push(Arc::clone(child));
    }

    /// Forgets a child that was waited for.
    pub(crate) fn forget_child(&self, pid: u32) {
        self.family.lock().children.retain(|child| child.pid != pid);
    }

    /// Gives all children away, for the end of the process.
    pub(crate) fn take_children(&self) -> Vec<Arc<Self>> {
        core::mem::take(&mut self.family.lock().children)
    }

    /// The address space; `None` once it has ended.
    pub(crate) fn memory(&self) -> Option<Arc<Memory>> {
        self.memory.lock().clone()
    }

    /// Replaces or drops the address space.
    pub(crate) fn set_memory(&self, memory: Option<Arc<Memory>>) {
        let old = core::mem::replace(&mut *self.memory.lock(), memory);
        if let Some(old) = old {
            self.note_peak(old.space().resident());
        }
    }

    /// Remembers the most pages it ever had.
    pub(crate) fn note_peak(&self, pages: usize) {
        self.peak_pages.fetch_max(pages as u64, Ordering::Relaxed);
    }

    /// Root, working directory and umask.
    pub(crate) fn fs(&self) -> Arc<FsContext> {
        Arc::clone(&self.fs.lock())
    }

    /// `unshare(CLONE_FS)`.
    pub(crate) fn set_fs(&self, fs: FsContext) {
        *self.fs.lock() = Arc::new(fs);
    }

    /// The thread with a number.
    pub(crate) fn thread(&self, tid: u32) -> Option<Arc<Thread>> {
        self.threads.lock().iter().find(|thread| thread.tid() == tid).cloned()
    }

    /// The thread whose number is the process's, or any.
    pub(crate) fn main_thread(&self) -> Option<Arc<Thread>> {
        self.thread(self.pid).or_else(|| self.threads.lock().first().cloned())
    }

    /// Ends the process: the first status wins, all threads are told.
    pub(crate) fn end(&self, status: ExitStatus) {
        self.ending.lock().get_or_insert(status);
        for thread in self.threads.lock().iter() {
            thread.add_work(Work::EXIT);
        }
    }

    /// Time and memory so far, of ended and running threads.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = *self.past_usage.lock();
        for thread in self.threads.lock().iter() {
            usage.user_ns += thread.user_ns.load(Ordering::Relaxed);
            usage.system_ns += thread.system_ns.load(Ordering::Relaxed);
        }
        if let Some(memory) = self.memory() {
            self.note_peak(memory.space().resident());
        }
        usage.peak_pages =
            usize::try_from(self.peak_pages.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        usage
    }

    /// Whether it is a zombie or gone.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.state.lock(), ProcessState::Zombie(_) | ProcessState::Gone)
    }
}

#[derive(Default)]
struct Table {
    processes: BTreeMap<u32, Arc<Process>>,
    /// Process of every thread, leaders included.
    threads: BTreeMap<u32, Weak<Process>>,
    last: u32,
}

/// All processes, and who has which number.
#[derive(Default)]
pub(crate) struct Processes {
    table: Mutex<Table>,
}

impl Processes {
    /// A number that no process, thread, group or session uses.
    pub(crate) fn allocate(&self) -> Result<u32, Errno> {
        let mut table = self.table.lock();
        if table.threads.len() >= TASKS_MAX {
            return Err(Errno::EAGAIN);
        }
        for _ in 0..PID_MAX {
            table.last = if table.last >= PID_MAX { 2 } else { table.last + 1 };
            let number = table.last;
            let in_use = table.threads.contains_key(&number)
                || table.processes.contains_key(&number)
                || table
                    .processes
                    .values()
                    .any(|process| process.group() == number || process.session() == number);
            if !in_use {
                table.threads.insert(number, Weak::new());
                return Ok(number);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Adds a process.
    pub(crate) fn add(&self, process: &Arc<Process>) {
        let mut table = self.table.lock();
        table.processes.insert(process.pid, Arc::clone(process));
        table.threads.insert(process.pid, Arc::downgrade(process));
    }

    /// Notes to whom a thread's number belongs.
    pub(crate) fn add_thread(&self, tid: u32, process: &Arc<Process>) {
        self.table.lock().threads.insert(tid, Arc::downgrade(process));
    }

    /// A thread has ended; the number of a leader stays until its process is waited for.
    pub(crate) fn remove_thread(&self, tid: u32) {
        let mut table = self.table.lock();
        if !table.processes.contains_key(&tid) {
            table.threads.remove(&tid);
        }
    }

    /// A process was waited for.
    pub(crate) fn remove(&self, pid: u32) {
        let mut table = self.table.lock();
        table.processes.remove(&pid);
        table.threads.remove(&pid);
    }

    /// A process by pid.
    pub(crate) fn find(&self, pid: u32) -> Option<Arc<Process>> {
        self.table.lock().processes.get(&pid).cloned()
    }

    /// A thread by its number.
    pub(crate) fn find_thread(&self, tid: u32) -> Option<Arc<Thread>> {
        let process = self.table.lock().threads.get(&tid)?.upgrade()?;
        process.thread(tid)
    }

    /// All processes.
    pub(crate) fn all(&self) -> Vec<Arc<Process>> {
        self.table.lock().processes.values().cloned().collect()
    }

    /// Those of a process group that have not ended.
    pub(crate) fn in_group(&self, group: u32) -> Vec<Arc<Process>> {
        let table = self.table.lock();
        let members = table.processes.values();
        members
            .filter(|process| process.group() == group && !process.has_ended())
            .cloned()
            .collect()
    }
}
