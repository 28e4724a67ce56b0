// SPDX-License-Identifier: MIT
//! Questions to the host within one system call.
//!
//! A call that stops is made again from its beginning, and then asks the host the same questions
//! in the same order. The reader remembers the answers: a question is sent once, and repeated
//! attempts get the recorded answer until they come to the first question that is new.

use crate::host::{Reply, Ticket};
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::task::Thread;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;
use strongroom_wire::message::Ask;

#[derive(Default)]
struct Log {
    replies: Vec<Arc<Reply>>,
    /// Answers that this attempt has used.
    used: usize,
    pending: Option<Ticket>,
}

/// See the module's text; one a thread.
#[derive(Default)]
pub(crate) struct Reader {
    /// Whether there is anything to forget: spares the lock in calls that ask nothing.
    touched: AtomicBool,
    log: Mutex<Log>,
}

impl Thread {
    /// Asks the host; stops until the answer is there.
    pub(crate) fn ask_host(&self, ask: Ask<'_>) -> SysResult<Arc<Reply>> {
        self.reader.touched.store(true, Ordering::Relaxed);
        let mut log = self.reader.log.lock();
        if let Some(reply) = log.replies.get(log.used).map(Arc::clone) {
            log.used += 1;
            return Ok(reply);
        }
        if log.pending.is_none() {
            log.pending = Some(self.kernel.host.ask(ask));
        }
        let Some(ticket) = &log.pending else { return Err(Stop::Turn) };
        if let Some(reply) = ticket.take() {
            let reply = Arc::new(reply);
            log.replies.push(Arc::clone(&reply));
            log.used += 1;
            log.pending = None;
            return Ok(reply);
        }
        ticket.register(&self.waiter());
        Err(Stop::Sleep(Interrupt::Never))
    }
}

impl Reader {
    /// The call is attempted again from its beginning.
    pub(crate) fn rewind(&self) {
        if self.touched.load(Ordering::Relaxed) {
            self.log.lock().used = 0;
        }
    }

    /// The call has ended.
    pub(crate) fn forget(&self) {
        if self.touched.load(Ordering::Relaxed) {
            self.touched.store(false, Ordering::Relaxed);
            *self.log.lock() = Log::default();
        }
    }
}
