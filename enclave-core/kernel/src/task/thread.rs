// SPDX-License-Identifier: MIT
//! A guest thread.

use crate::fs::{FileTable, Reader};
use crate::kernel::Kernel;
use crate::signal::ThreadSignals;
use crate::sync::{ThreadKey, Waiter};
use crate::task::Process;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use spin::Mutex;

bitflags::bitflags! {
    /// Reasons not to go straight back to user mode.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Work: u32 {
        /// Signals may have to be acted upon.
        const SIGNAL = 1;
        /// The thread has to end.
        const EXIT = 2;
        /// The descriptor table was replaced.
        const RELOAD = 4;
    }
}

/// See the module's text.
pub(crate) struct Thread {
    pub(crate) kernel: &'static Kernel,
    pub(crate) process: Arc<Process>,
    pub(crate) key: ThreadKey,
    /// Changes when a thread that is not the leader executes a program.
    tid: AtomicU32,
    work: AtomicU32,
    pub(crate) files: Mutex<Arc<FileTable>>,
    pub(crate) signals: Mutex<ThreadSignals>,
    /// Name of the thread (`PR_SET_NAME`).
    pub(crate) name: Mutex<String>,
    /// Where a zero is stored and a futex woken when the thread ends; 0 for nowhere.
    pub(crate) clear_child_tid: AtomicUsize,
    /// The bucket of the futex that the thread waits on, plus one; 0 where it waits on none.
    pub(crate) futex: AtomicUsize,
    /// Head of the robust futex list; 0 for none.
    pub(crate) robust_list: AtomicUsize,
    /// Time spent in user mode and in calls.
    pub(crate) user_ns: AtomicU64,
    pub(crate) system_ns: AtomicU64,
    /// What multi-step readings of the host have brought so far during this call.
    pub(crate) reader: Reader,
}

impl Thread {
    /// A thread that is not running yet.
    pub(crate) fn new(
        process: Arc<Process>,
        key: ThreadKey,
        tid: u32,
        files: Arc<FileTable>,
        signals: ThreadSignals,
        name: String,
    ) -> Self {
        Self {
            kernel: process.kernel,
            process,
            key,
            tid: AtomicU32::new(tid),
            work: AtomicU32::new(0),
            files: Mutex::new(files),
            signals: Mutex::new(signals),
            name: Mutex::new(name),
            clear_child_tid: AtomicUsize::new(0),
            futex: AtomicUsize::new(0),
            robust_list: AtomicUsize::new(0),
            user_ns: AtomicU64::new(0),
            system_ns: AtomicU64::new(0),
            reader: Reader::default(),
        }
    }

    /// `gettid(2)`.
    pub(crate) fn tid(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// Takes over the process's id, for `execve` of a thread that is not the leader.
    pub(crate) fn become_leader(&self) {
        self.tid.store(self.process.pid, Ordering::Relaxed);
    }

    /// Whether the thread has to do something before it goes back to user mode.
    pub(crate) fn work(&self) -> Work {
        Work::from_bits_retain(self.work.load(Ordering::Acquire))
    }

    /// Gives the thread something to do and wakes it.
    pub(crate) fn add_work(&self, work: Work) {
        self.work.fetch_or(work.bits(), Ordering::Release);
        self.kernel.scheduler.wake(self.key);
    }

    /// Notes that work is done.
    pub(crate) fn clear_work(&self, work: Work) {
        self.work.fetch_and(!work.bits(), Ordering::AcqRel);
    }

    /// This thread as a waiter.
    pub(crate) fn waiter(&self) -> Waiter {
        Waiter::Thread(self.key)
    }
}
