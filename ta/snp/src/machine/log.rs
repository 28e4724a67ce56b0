// SPDX-License-Identifier: MIT
//! The serial log, which release images do not have.
//!
//! It is compiled in by setting `STRONGROOM_SERIAL_LOG` in the environment of the build; such an
//! image has another measurement. Everybody else's log lines go to the host as messages, by the
//! kernel's choice, and nowhere else.

use super::Payload;
use super::host::port;
use core::fmt::{Arguments, Write};
use strongroom_south::Log;

/// Whether this image writes to the serial port.
pub const SERIAL: bool = option_env!("STRONGROOM_SERIAL_LOG").is_some();

/// Data register of the first serial port.
const COM1: u16 = 0x3f8;

/// Writes one line.
pub fn line(text: Arguments<'_>) {
    if SERIAL {
        // Writing to a port cannot fail.
        let _ = writeln!(Serial, "{text}");
    }
}

impl Log for Payload {
    fn log(&self, text: Arguments<'_>) {
        line(text);
    }
}

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        text.bytes().for_each(|byte| port::write_u8(COM1, byte));
        Ok(())
    }
}
