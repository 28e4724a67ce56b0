// SPDX-License-Identifier: MIT
//! The kernel as the payload's workload.
#![allow(unsafe_code, reason = "the entry point that boot.s calls has to be exported and unsafe")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use strongroom_kernel::{Kernel, Outcome};
use strongroom_snp::machine::{self, Payload};
use strongroom_snp::{Progress, Workload};
use strongroom_wire::Untrusted;
use strongroom_wire::boot::Record;

struct LibraryOs(&'static Kernel);

impl Workload for LibraryOs {
    fn run(&mut self) -> Progress {
        match self.0.run() {
            Outcome::Busy => Progress::Busy,
            Outcome::Idle { until_ns } => Progress::Idle { until_ns },
            Outcome::Ended => Progress::Ended,
        }
    }

    fn take_message(&mut self) -> Option<Vec<u8>> {
        self.0.take_message()
    }

    fn receive(&mut self, message: Untrusted<'_>) {
        self.0.receive(message);
    }
}

fn build(machine: &'static Payload, record: Record) -> Option<Box<dyn Workload>> {
    let kernel = Kernel::new(machine, record).ok()?;
    Some(Box::new(LibraryOs(kernel)))
}

/// Where `boot.s` leads.
///
/// # Safety
///
/// Called once, at boot, with the address that the loader left.
#[unsafe(no_mangle)]
unsafe extern "C" fn payload_main(start_info: u64) -> ! {
    // SAFETY: called once, by `boot.s`, which is this function's own condition.
    unsafe { machine::start(start_info, build) }
}
