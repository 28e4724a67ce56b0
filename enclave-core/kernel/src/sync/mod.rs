// SPDX-License-Identifier: MIT
//! Who runs next, who waits for what, and until when.

mod scheduler;
mod timers;
mod wait;

pub(crate) use scheduler::{Scheduler, ThreadKey};
pub(crate) use timers::{Alarm, TimerKey, Timers};
pub(crate) use wait::{EpollWaker, WaitQueue, Waiter};
