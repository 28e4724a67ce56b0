// SPDX-License-Identifier: MIT
//! A platform for tests: the real kernel on a machine, with a host and with programs that are all
//! made up, and all deterministic. It offers no security at all and is never shipped.
//!
//! A [`System`] boots a kernel on a [`Machine`] of either [`Form`](strongroom_south::Form) and
//! pumps it against a [`Host`] that serves an [`Image`]. A guest program is a Rust closure over a
//! [`Guest`], registered under the entry address of an ELF file of the image: no instruction is
//! executed, but everything a processor does in between is real. Memory is reached through the
//! address space and faults, system calls trap with their arguments in registers, signal handlers
//! are entered where the kernel's frame says.
//!
//! Only one thing runs at a time. Time passes when guests do something, or when nothing is left
//! to do; interrupts come after a number of operations that the seed decides. So a seed gives the
//! same run each time.
#![forbid(unsafe_code)]
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test equipment: where one of its expectations is wrong, the test shall end"
)]

mod calls;
mod elf;
mod frames;
mod guest;
mod host;
mod image;
mod machine;
mod numbers;
mod processor;
mod registers;
mod space;
mod system;
mod visitors;

pub use calls::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED};
pub use calls::{OPEN_APPEND, OPEN_CREATE, OPEN_EXCLUSIVE, OPEN_NONBLOCK, OPEN_READ};
pub use calls::{OPEN_READ_WRITE, OPEN_TRUNCATE, OPEN_WRITE};
pub use calls::{PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE};
pub use elf::{Elf, Segment};
pub use guest::{Guest, Signalled};
pub use host::{Host, Manner};
pub use image::{Image, ImageBuilder};
pub use machine::{Configuration, Machine};
pub use numbers::Numbers;
pub use registers::RESTART_LENGTH;
pub use system::{ENTRY, Ending, Report, System, SystemBuilder};
