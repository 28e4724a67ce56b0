// SPDX-License-Identifier: MIT
//! Port input and output. On SNP each of these is an exit through the GHCB: the instruction would
//! raise an exception first.
//!
//! These functions are safe to call although a port can do anything: no device behind the ports
//! that the payload uses (PIT, PIC, PCI configuration, serial, debug exit) writes to memory.

use crate::machine::sev::{ghcb, is_protected};
use crate::sev::ghcb::Width;
use x86_64::instructions::port::Port;

/// Reads a byte.
pub(crate) fn read_u8(port: u16) -> u8 {
    if is_protected() {
        return ghcb::port(port, Width::Byte, None) as u8;
    }
    // SAFETY: reading a port has no effect on memory.
    unsafe { Port::new(port).read() }
}

/// Writes a byte.
pub(crate) fn write_u8(port: u16, value: u8) {
    if is_protected() {
        ghcb::port(port, Width::Byte, Some(u32::from(value)));
        return;
    }
    // SAFETY: see the module's documentation.
    unsafe { Port::new(port).write(value) }
}

/// Reads 32 bits.
pub(crate) fn read_u32(port: u16) -> u32 {
    if is_protected() {
        return ghcb::port(port, Width::Double, None);
    }
    // SAFETY: reading a port has no effect on memory.
    unsafe { Port::new(port).read() }
}

/// Writes 32 bits.
pub(crate) fn write_u32(port: u16, value: u32) {
    if is_protected() {
        ghcb::port(port, Width::Double, Some(value));
        return;
    }
    // SAFETY: see the module's documentation.
    unsafe { Port::new(port).write(value) }
}
