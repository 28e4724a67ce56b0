// SPDX-License-Identifier: MIT
//! Guest threads on a processor: entering user mode, and why it ended.

use strongroom_abi::arch::Registers;

/// The processor state of one guest thread in one address space.
pub trait Context: Send {
    /// The general registers, as they were when the thread last trapped.
    fn registers(&mut self) -> &mut Registers;

    /// Runs the thread in user mode until it traps, and lends its registers.
    ///
    /// `answer` is called for every system call first. Where it says true, the result is in the
    /// registers, nothing else of them has changed, and the thread goes on without a return.
    ///
    /// A resume address outside user space never reaches the processor: it is reported as
    /// [`Exception::Protection`].
    fn enter(&mut self, answer: Answer<'_>) -> (Trap, &mut Registers);

    /// The thread pointer: `fs` base on `x86_64`, `TPIDR_EL0` on `aarch64`.
    fn thread_pointer(&mut self) -> u64;

    /// Sets the thread pointer. Addresses outside user space are stored as zero.
    fn set_thread_pointer(&mut self, address: u64);

    /// Floating-point and vector state in the layout of the machine's signal frames: the `XSAVE`
    /// standard format on `x86_64` (AMD64 Architecture Programmer's Manual volume 2, 11.5.2).
    fn extended_state(&mut self) -> &[u8];

    /// Replaces the floating-point and vector state.
    ///
    /// # Errors
    ///
    /// [`BadState`] when `state` has the wrong length or sets reserved bits; nothing changes then.
    fn set_extended_state(&mut self, state: &[u8]) -> Result<(), BadState>;
}

/// What [`Context::enter`] asks first about a system call.
pub type Answer<'a> = &'a mut dyn FnMut(&mut Registers) -> bool;

/// Processor state that the machine would refuse to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadState;

/// Why user mode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// A system call; number and arguments are in the registers.
    SystemCall,
    /// A memory access without a mapping, or against its permissions.
    PageFault {
        /// The address accessed.
        address: usize,
        /// Whether it was a write.
        write: bool,
        /// Whether it was an instruction fetch.
        fetch: bool,
    },
    /// The processor refused an instruction.
    Exception(Exception),
    /// The tick, or a sign from the host. The platform wants to be returned to soon.
    Interrupt,
}

/// What the processor refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// Integer division by zero or overflow.
    IntegerDivide,
    /// A breakpoint instruction.
    Breakpoint,
    /// A single step.
    Step,
    /// An unknown or forbidden instruction encoding.
    IllegalInstruction,
    /// A privileged instruction or an address that is not canonical.
    Protection,
    /// An unmasked floating-point exception.
    FloatingPoint,
    /// A misaligned access where alignment is required.
    Alignment,
}
