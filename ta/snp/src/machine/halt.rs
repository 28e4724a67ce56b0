// SPDX-License-Identifier: MIT
//! The end of the machine, and the code it leaves behind.
//!
//! The code goes to QEMU's `isa-debug-exit` device, where there is one: QEMU ends with exit status
//! `2 * code + 1`. Elsewhere the write does nothing and the processor halts for good.

use crate::link::LAST_WORDS_MAX;
use crate::machine::host::link;
use crate::machine::host::port;
use crate::machine::{log, sev};
use core::fmt::Write;
use core::panic::PanicInfo;
use strongroom_wire::message::{Ask, ToHost};
use x86_64::instructions::{hlt, interrupts};

/// Port of `isa-debug-exit`.
const EXIT_PORT: u16 = 0xf4;

/// Why the machine stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The session is over.
    Ended = 0x10,
    /// The start information cannot be used.
    BadStart = 0x20,
    /// The processor lacks what the payload needs.
    BadProcessor = 0x21,
    /// Too little memory to start.
    NoMemory = 0x22,
    /// No source of randomness.
    NoEntropy = 0x23,
    /// No clock.
    NoClock = 0x24,
    /// No device to the host.
    NoHost = 0x25,
    /// The boot record does not decode, or the kernel refuses it.
    BadRecord = 0x26,
    /// A release image found no secure nested paging, or was not launched as what was measured.
    NotProtected = 0x27,
    /// The CPUID page contradicts the launch page, or the host speaks no protocol of ours.
    BadLaunch = 0x28,
    /// A page could not be validated or shared, or had a mark against the books.
    BadPages = 0x29,
    /// In the simulation: a page was to be validated that is the host's.
    ForeignPage = 0x2a,
    /// The hypervisor switches vector registers off that the payload switched on.
    LostVectors = 0x2b,
    /// The host broke the transport's rules.
    HostBroken = 0x30,
    /// An exception in the payload itself.
    Trap = 0x40,
    /// A broken invariant that Rust code noticed.
    Panic = 0x41,
    /// The kernel's last reserve of memory is used up.
    HeapExhausted = 0x42,
    /// The kernel named a frame that nobody holds.
    BadFrame = 0x43,
}

/// Stops the machine.
pub fn halt(code: Code) -> ! {
    sev::terminate(code as u8);
    port::write_u8(EXIT_PORT, code as u8);
    loop {
        interrupts::disable();
        hlt();
    }
}

/// A broken invariant: the reason goes to the host if that is still possible, then the machine
/// stops.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    log::line(format_args!("{info}"));
    let mut text = Text { bytes: [0; TEXT_MAX], length: 0 };
    // What does not fit is left out.
    let _ = write!(text, "{info}");
    let last = ToHost { ticket: 0, ask: Ask::Abort { reason: text.as_str() } };
    let mut message = [0; LAST_WORDS_MAX];
    if let Ok(message) = postcard::to_slice(&last, &mut message) {
        link::send_last_words(message);
    }
    halt(Code::Panic)
}

const TEXT_MAX: usize = LAST_WORDS_MAX - 32;

/// Text in a fixed place: a panic may come from the allocator.
struct Text {
    bytes: [u8; TEXT_MAX],
    length: usize,
}

impl Text {
    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or(&[]);
        bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.bytes.iter_mut().skip(self.length);
        let written = room.zip(text.bytes()).map(|(to, from)| *to = from).count();
        self.length = self.length.saturating_add(written);
        Ok(())
    }
}
