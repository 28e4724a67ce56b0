// SPDX-License-Identifier: MIT
//! The library OS: a sans-I/O state machine that serves Linux system calls.
//!
//! A platform makes a [`Kernel`] from a measured boot record, then pumps it: [`Kernel::run`] runs
//! guest threads until none is ready, [`Kernel::take_message`] hands out what the host is to be
//! told, [`Kernel::receive`] takes what it answers. The kernel never blocks and never calls the
//! host.
//!
//! A system call is a synchronous function that finishes, fails with an errno, or stops with a
//! reason to wait ([`outcome::Stop`]) before it has changed anything; then it is called again.
//! [`task::run`] is the one asynchronous function: a guest thread's life.
//!
//! What leads where: [`table`] lists the calls, [`calls`] holds their families, [`memory`] the
//! address spaces, [`fs`] the files, [`task`] processes and threads, [`signal`] signals, [`exec`]
//! the loader, [`host`] the requests to the host, [`evidence`] those to the security processor.
#![no_std]
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "sums of guest numbers use checked or wrapping operators where they can overflow; the \
              rest is bounded by named limits, and release images wrap, so nothing here can panic"
)]

extern crate alloc;

mod calls;
mod evidence;
mod exec;
mod fs;
mod host;
mod kernel;
mod memory;
mod net;
mod outcome;
mod random;
mod signal;
mod sync;
pub mod table;
mod task;
mod time;
mod user;

pub use kernel::{BootError, Kernel, Outcome};
