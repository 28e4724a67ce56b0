// SPDX-License-Identifier: MIT
//! Processes and threads.
//!
//! A [`Process`] is what has a pid, children, signal dispositions and limits; a [`Thread`] is what
//! runs, has a signal mask and an alternate stack. [`run`] is a thread's life, [`Call`] the view
//! that a system call has of it.

mod call;
mod credentials;
mod limits;
mod process;
mod run;
mod thread;

pub(crate) mod clone;
pub(crate) mod exit;
pub(crate) mod futex;

pub(crate) use call::{Call, Progress, Quick};
pub(crate) use credentials::Credentials;
pub(crate) use limits::{Limit, Limits, UNLIMITED};
pub(crate) use process::{ExitStatus, Inherited, Process, ProcessState, Processes, Usage};
pub(crate) use run::run;
pub(crate) use thread::{Thread, Work};
