// SPDX-License-Identifier: MIT
//! The bare machine: everything that touches the processor, physical memory or a device.
//!
//! [`boot`] is where control arrives; [`memory`] has page tables, frames, heap and address spaces;
//! [`cpu`] enters user mode and comes back; [`sev`] is what an SNP guest does, and [`simulation`] what
//! an emulated processor lacks for it; [`time`] and [`entropy`] are the other services of the
//! south contract; [`host`] is the way to the host; [`pump`] is the main loop.
//!
//! One processor runs, with interrupts off except in user mode and while it waits for one. State
//! of a processor is in `cpu::Cpu`; state of the machine is behind spin locks.
#![allow(
    clippy::as_conversions,
    reason = "usize and u64 are the same here, and addresses become pointers in this module only"
)]
#![allow(unsafe_code, reason = "this is the code that drives the hardware")]

pub mod boot;
pub(crate) mod cpu;
pub(crate) mod entropy;
pub mod halt;
pub(crate) mod host;
pub mod log;
pub(crate) mod memory;
pub(crate) mod pump;
pub(crate) mod sev;
pub mod simulation;
pub(crate) mod time;

pub use boot::{Arrival, Image, StandIn, start};
pub use cpu::trap::{Handler, Trapped};
pub use sev::injection::Deliver;

use alloc::sync::Arc;
use strongroom_south::{Form, Machine, OutOfMemory, SecurityProcessor, Space};

/// The machine, as the kernel sees it. All its state is the processor's and the memory's.
#[derive(Debug)]
pub struct Payload(());

/// There is one machine.
pub(crate) static PAYLOAD: Payload = Payload(());

impl Machine for Payload {
    fn form(&self) -> Form {
        Form::Paged
    }

    fn new_space(&self) -> Result<Arc<dyn Space>, OutOfMemory> {
        let space = memory::space::PagedSpace::new()?;
        Ok(memory::heap::try_arc(space)?)
    }

    fn security_processor(&self) -> Option<&dyn SecurityProcessor> {
        sev::security::is_there().then_some(self)
    }
}
