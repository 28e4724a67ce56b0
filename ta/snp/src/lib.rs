// SPDX-License-Identifier: MIT
//! The platform crate of the SNP guest payload: the kernel's machine on bare `x86_64`.
//!
//! The top modules are pure: they parse what the loader and the host hand over and keep the books,
//! and are tested on any computer. `machine` is the rest: it boots, implements the traits of
//! `strongroom-south`, and carries messages between a [`Workload`] and the host.
//!
//! As an SNP guest:
//!
//! - [`sev`] has the formats and the books, `machine::sev` what drives them: pages are validated or
//!   shared when `machine::boot` takes memory into use, the CPUID page replaces the instruction in
//!   `machine::cpu::features`.
//! - `machine::host`: port, MSR and MMIO accesses that end at the host are GHCB exits there.
//! - `machine::host::pool`: the only memory that a host may read, one range, made shared as a whole.
//! - `#VC` has a gate and a stack in `machine::cpu::descriptors`, and ends the guest: exits that a
//!   program in user mode meets (CPUID above all) are not emulated yet.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::single_range_in_vec_init,
        reason = "a test that overflows fails; lists of one range are meant"
    )
)]

extern crate alloc;

pub mod deframe;
pub mod extended;
pub mod frame_table;
pub mod link;
pub mod ranges;
pub mod sev;
pub mod start_info;
pub mod timescale;

#[cfg(target_os = "none")]
pub mod machine;

use strongroom_wire::Untrusted;

/// What the payload drives: the kernel, or a self-test in its place. Never blocks.
pub trait Workload {
    /// Runs guest threads until somebody has to be waited for, or the platform wants a turn.
    fn run(&mut self) -> Progress;

    /// The next message for the host, without its length.
    fn take_message(&mut self) -> Option<alloc::vec::Vec<u8>>;

    /// Takes one message from the host.
    fn receive(&mut self, message: Untrusted<'_>);
}

/// How far a [`Workload`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to run.
    Busy,
    /// Nothing to do until the host says something or, if given, until this monotonic time.
    Idle {
        /// Nanoseconds on the platform's clock.
        until_ns: Option<u64>,
    },
    /// The session is over once outgoing messages are out.
    Ended,
}
