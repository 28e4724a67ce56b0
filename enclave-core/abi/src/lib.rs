// SPDX-License-Identifier: MIT
//! The north contract: Linux's binary interface as programs see it, per architecture.
//!
//! Types and constants only. Layouts follow Linux UAPI headers (6.1) and the processor-specific
//! supplements of the System V ABI.
#![no_std]
#![forbid(unsafe_code)]
#![expect(
    missing_debug_implementations,
    reason = "the layout derive makes helper types; the structures themselves have Debug"
)]

extern crate alloc;

mod errno;
mod number;

pub mod arch;
pub mod sev_guest;

pub use errno::Errno;
pub use number::{NUMBER_END, Sysno};

mod structs;
pub use structs::*;
