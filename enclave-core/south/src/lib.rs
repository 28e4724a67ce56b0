// SPDX-License-Identifier: MIT
//! The south contract: what a machine offers the kernel, and nothing else.
//!
//! The kernel never blocks and never calls the host. A platform crate implements these traits,
//! calls `Kernel::run`, and between two runs carries messages to and from the host. Nothing here is
//! `unsafe` to call: physical frames are numbers, user memory is reached by copying, and a
//! thread's registers are plain integers.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cpu;
mod memory;
mod placed;
mod security_processor;
mod services;

pub use cpu::{Answer, BadState, Context, Exception, Trap};
pub use memory::{
    Access, Fault, Form, Frame, FrameCounts, Frames, LOWEST, Mapped, OutOfMemory, PAGE_SIZE, Space,
};
pub use placed::PlacedObject;
pub use security_processor::{
    AttestingEnvironment, DERIVED_KEY_LEN, KeyRequest, REPORT_DATA_LEN, Report, ReportRequest,
    SecurityError, SecurityProcessor,
};
pub use services::{Clock, Entropy, EntropyFailed, Log};

use alloc::sync::Arc;

/// A whole platform.
pub trait Machine: Frames + Clock + Entropy + Log + Send + Sync {
    /// Whether address spaces are [`Form::Paged`] or [`Form::Flat`].
    fn form(&self) -> Form;

    /// An empty address space.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when no page is left for its tables, or when a flat machine has given its
    /// only space away.
    fn new_space(&self) -> Result<Arc<dyn Space>, OutOfMemory>;

    /// What the machine has mapped already, where it cannot make memory executable: then nothing
    /// else can be run. `None` where the kernel maps programs itself.
    fn placed(&self) -> Option<&[PlacedObject]> {
        None
    }

    /// Whether the memory of kernel and platform themselves is so short that no program should be
    /// given anything that takes more of it. What is left then has to last for what one call may
    /// take, since the kernel cannot go on when an allocation of its own fails.
    fn is_heap_short(&self) -> bool {
        false
    }

    /// What signs for this enclave, where the machine has it.
    fn security_processor(&self) -> Option<&dyn SecurityProcessor> {
        None
    }

    /// What vouches for this enclave, where the machine has no [`SecurityProcessor`] but this.
    fn attesting_environment(&self) -> Option<&dyn AttestingEnvironment> {
        None
    }

    /// Code that makes the system call `rt_sigreturn`, where the machine offers some: a signal
    /// handler without a return address of its own returns there.
    fn signal_return(&self) -> Option<usize> {
        None
    }
}
