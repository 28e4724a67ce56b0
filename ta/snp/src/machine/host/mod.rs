// SPDX-License-Identifier: MIT
//! The way to the host: port 1 of a virtio console on PCI, a byte stream in both directions.
//!
//! The device is hostile. What follows from that, module by module:
//!
//! - `pci`: configuration space may say anything. Lists are bounded, BAR numbers and sizes checked,
//!   and a BAR that claims to lie in memory is refused by `memory::device`.
//! - `device`: register windows are checked when they are made; later values from registers are
//!   used for nothing that could go out of bounds.
//! - `pool`: the device reads and writes this memory only. No Rust reference into it is ever
//!   dereferenced.
//! - `link` and [`crate::link`]: what comes back through the queues is checked there.

pub(crate) mod device;
pub(crate) mod link;
pub(crate) mod pci;
pub(crate) mod pool;
pub(crate) mod port;
pub(crate) mod register;
