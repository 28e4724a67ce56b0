// SPDX-License-Identifier: MIT
//! A system call in progress.

use crate::exec::NewImage;
use crate::fs::pipe::PipeEnd;
use crate::fs::{FileTable, OpenFile};
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::sync::{WaitQueue, Waiter};
use crate::task::Thread;
use alloc::boxed::Box;
use alloc::sync::Arc;
use strongroom_abi::Errno;
use strongroom_south::Context;

/// What a call keeps between its attempts.
#[derive(Default)]
pub(crate) struct Progress {
    /// When it gives up, on the monotonic clock. Set at the first attempt.
    pub(crate) deadline_ns: Option<u64>,
    /// Bytes that a blocking write has handed over so far; a signal makes them the result.
    pub(crate) done: usize,
    /// What calls of several steps have finished.
    pub(crate) items: usize,
    /// An address in user memory that cannot be reached, found out by an earlier attempt.
    pub(crate) bad_address: Option<usize>,
    /// Whether the thread was put into a futex's queue: taken out of it, the call has succeeded
    /// with 0 and need not be attempted again.
    pub(crate) queued: bool,
    /// Whether it slept already and was woken.
    pub(crate) woken: bool,
    /// Whether a handler is about to end it: this attempt is the last one.
    pub(crate) interrupted: bool,
    /// The end of a FIFO that waits for a partner.
    pub(crate) fifo: Option<Arc<PipeEnd>>,
    /// What `execve` has made ready.
    pub(crate) image: Option<Box<NewImage>>,
}

impl Progress {
    /// For the next call.
    pub(crate) fn reset(&mut self) {
        // Few calls leave either: no destructor runs for the others.
        if self.fifo.is_some() || self.image.is_some() {
            (self.fifo, self.image) = (None, None);
        }
        (self.deadline_ns, self.bad_address) = (None, None);
        (self.done, self.items) = (0, 0);
        (self.queued, self.woken, self.interrupted) = (false, false, false);
    }
}

/// What a call that is answered at once may look at.
pub(crate) struct Quick<'a> {
    pub(crate) thread: &'a Thread,
    pub(crate) memory: &'a Memory,
    pub(crate) files: &'a FileTable,
}

/// The view that a system call has of its thread and of the kernel.
pub(crate) struct Call<'a> {
    pub(crate) kernel: &'static Kernel,
    pub(crate) thread: &'a Arc<Thread>,
    pub(crate) memory: &'a Arc<Memory>,
    pub(crate) files: &'a Arc<FileTable>,
    /// Absent where the call is answered before user mode is left.
    pub(crate) context: Option<&'a mut dyn Context>,
    pub(crate) progress: &'a mut Progress,
    pub(crate) number: usize,
    pub(crate) arguments: [usize; 6],
}

impl Call<'_> {
    /// The open file behind a descriptor.
    pub(crate) fn file(&self, descriptor: i32) -> Result<Arc<OpenFile>, Errno> {
        self.files.file(descriptor)
    }

    /// The thread's processor state. Asked for before the call has changed anything.
    pub(crate) fn context(&mut self) -> SysResult<&mut dyn Context> {
        match &mut self.context {
            Some(context) => Ok(&mut **context),
            None => Err(Stop::Context),
        }
    }

    /// This thread as a waiter.
    pub(crate) fn waiter(&self) -> Waiter {
        Waiter::Thread(self.thread.key)
    }

    /// Sleeps until `queue` is woken, then the call is attempted again. Register while the state
    /// that the queue belongs to is locked, after seeing that it does not suit.
    pub(crate) fn sleep_on<T>(&self, queue: &WaitQueue) -> SysResult<T> {
        queue.register(&self.waiter());
        Err(Stop::Sleep(Interrupt::Restart))
    }

    /// As [`Call::sleep_on`], or `EAGAIN` where the open file does not block.
    pub(crate) fn block_on<T>(&self, open: &OpenFile, queue: &WaitQueue) -> SysResult<T> {
        if open.nonblocking() { Err(Errno::EAGAIN.into()) } else { self.sleep_on(queue) }
    }

    /// How much of a buffer can be reached: a transfer stops where its buffer stops.
    pub(crate) fn reachable(&self, buffer: usize, count: usize) -> usize {
        match self.progress.bad_address.and_then(|bad| bad.checked_sub(buffer)) {
            Some(good) if good > 0 => count.min(good),
            Some(_) | None => count,
        }
    }

    /// Sets the deadline at the first attempt: `timeout_ns` from then.
    pub(crate) fn set_timeout(&mut self, timeout_ns: u64) {
        if self.progress.deadline_ns.is_none() {
            self.progress.deadline_ns = Some(self.kernel.now_ns().saturating_add(timeout_ns));
        }
    }

    /// Whether the deadline has passed.
    pub(crate) fn timed_out(&self) -> bool {
        self.progress.deadline_ns.is_some_and(|deadline| deadline <= self.kernel.now_ns())
    }
}
