// SPDX-License-Identifier: MIT
//! How long an operation on a socket may wait.

use crate::outcome::{Interrupt, Stop, SysResult};
use crate::sync::WaitQueue;
use crate::task::Call;
use strongroom_abi::Errno;

/// Not at all, for a time (`SO_RCVTIMEO`, `SO_SNDTIMEO`), or for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) nonblocking: bool,
    pub(crate) timeout_ns: Option<u64>,
    /// The answer when it is over.
    pub(crate) answer: Errno,
}

impl Patience {
    /// Whether there is none left.
    pub(crate) fn is_over(&self, call: &mut Call<'_>) -> bool {
        if let Some(timeout_ns) = self.timeout_ns {
            call.set_timeout(timeout_ns);
        }
        self.nonblocking || self.timeout_ns.is_some() && call.timed_out()
    }

    /// Sleeps until `queue` is woken; see [`Call::sleep_on`]. With a time limit a signal handler
    /// always ends the call, as `signal(7)` says.
    pub(crate) fn wait<T>(&self, call: &mut Call<'_>, queue: &WaitQueue) -> SysResult<T> {
        if self.is_over(call) {
            return Err(self.answer.into());
        }
        queue.register(&call.waiter());
        let limited = self.timeout_ns.is_some();
        Err(Stop::Sleep(if limited { Interrupt::Fail } else { Interrupt::Restart }))
    }
}
