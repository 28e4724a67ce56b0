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
mod services;

pub use cpu::{Answer, BadState, Context, Exception, Trap};
pub use memory::{
    Access, Fault, Form, Frame, FrameCounts, Frames, Mapped, OutOfMemory, PAGE_SIZE, Space,
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
}
