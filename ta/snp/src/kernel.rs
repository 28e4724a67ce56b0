// SPDX-License-Identifier: MIT
//! The kernel as the payload's workload.

use alloc::boxed::Box;
use alloc::vec::Vec;
use strongroom_kernel::{Kernel, Outcome};
use strongroom_snp::machine::Payload;
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

/// Makes the kernel; for `machine::start`.
pub(crate) fn build(machine: &'static Payload, record: Record) -> Option<Box<dyn Workload>> {
    let kernel = Kernel::new(machine, record).ok()?;
    Some(Box::new(LibraryOs(kernel)))
}
