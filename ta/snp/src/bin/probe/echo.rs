// SPDX-License-Identifier: MIT
//! Entry, and the workload that echoes.

use crate::evidence::{self, Evidence};
use crate::{checks, costs};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use strongroom_snp::machine::{Image, Payload, log, simulation};
use strongroom_snp::{Progress, Workload};
use strongroom_south::Clock as _;
use strongroom_wire::Untrusted;
use strongroom_wire::boot::Record;

strongroom_snp::payload_entry!(Image::Simulation(simulation::STAND_IN), build);

fn build(machine: &'static Payload, record: Record) -> Option<Box<dyn Workload>> {
    if record.manifest.program == evidence::PROGRAM {
        return Some(Box::new(Evidence::new(machine, &record)));
    }
    log::line(format_args!(
        "probe: {} after {} ns",
        record.manifest.program,
        machine.monotonic_ns()
    ));
    checks::run(machine);
    costs::run(machine);
    Some(Box::new(Echo { messages: VecDeque::new(), ended: false }))
}

struct Echo {
    messages: VecDeque<Vec<u8>>,
    ended: bool,
}

impl Workload for Echo {
    fn run(&mut self) -> Progress {
        if self.ended { Progress::Ended } else { Progress::Idle { until_ns: None } }
    }

    fn take_message(&mut self) -> Option<Vec<u8>> {
        self.messages.pop_front()
    }

    fn receive(&mut self, message: Untrusted<'_>) {
        let bytes = message.reveal();
        self.ended |= bytes == b"end";
        self.messages.push_back(bytes.to_vec());
    }
}
