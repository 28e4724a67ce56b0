// SPDX-License-Identifier: MIT
//! Port input and output. On SNP each of these is an exit through the GHCB.
//!
//! These functions are safe to call although a port can do anything: no device behind the ports
//! that the payload uses (PIT, PIC, PCI configuration, serial, debug exit) writes to memory.

use x86_64::instructions::port::Port;

/// Reads a byte.
pub(crate) fn read_u8(port: u16) -> u8 {
    // SAFETY: reading a port has no effect on memory.
    unsafe { Port::new(port).read() }
}

/// Writes a byte.
pub(crate) fn write_u8(port: u16, value: u8) {
    // SAFETY: see the module's documentation.
    unsafe { Port::new(port).write(value) }
}

/// Reads 32 bits.
pub(crate) fn read_u32(port: u16) -> u32 {
    // SAFETY: reading a port has no effect on memory.
    unsafe { Port::new(port).read() }
}

/// Writes 32 bits.
pub(crate) fn write_u32(port: u16, value: u32) {
    // SAFETY: see the module's documentation.
    unsafe { Port::new(port).write(value) }
}
