// SPDX-License-Identifier: MIT
//! Asks the security processor, and prints what it answers: a workload for tests of reports and
//! keys, from the payload's side of the kernel.
//!
//! It speaks as the kernel does, so that a launcher can run it like any program: as `/evidence`,
//! with the report data in hexadecimal as its argument. Each line is a word and what came of it.

use crate::program::{space, thread};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use strongroom_snp::machine::Payload;
use strongroom_snp::{Progress, Workload};
use strongroom_south::{
    Clock as _, Context, KeyRequest, Machine as _, REPORT_DATA_LEN, ReportRequest,
    SecurityProcessor, Trap,
};
use strongroom_wire::Untrusted;
use strongroom_wire::boot::Record;
use strongroom_wire::message::{Ask, Stream, ToHost, VERSION};

/// The name under which this runs.
pub(crate) const PROGRAM: &str = "/evidence";

/// The program that counts.
const COUNTS: usize = 7;
/// `GUEST_FIELD_SELECT`: the launch digest.
const MEASUREMENT: u64 = 1 << 3;

pub(crate) struct Evidence {
    machine: &'static Payload,
    data: [u8; REPORT_DATA_LEN],
    messages: VecDeque<Vec<u8>>,
    welcome: bool,
    ended: bool,
}

impl Evidence {
    pub(crate) fn new(machine: &'static Payload, record: &Record) -> Self {
        let mut data = [0; REPORT_DATA_LEN];
        let digits = record.manifest.arguments.get(1).map_or(&[][..], |digits| digits.as_bytes());
        for (byte, pair) in data.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
        let messages = VecDeque::from([encoded(1, Ask::Hello { version: VERSION })]);
        Self { machine, data, messages, welcome: false, ended: false }
    }

    fn ask_all(&mut self) {
        let boot_ns = self.machine.monotonic_ns();
        self.messages.push_back(encoded(0, Ask::Started { boot_ns }));
        let text = match self.machine.security_processor() {
            Some(processor) => self.answers(processor),
            None => String::from("no security processor\n"),
        };
        let text = text + &interruptions(self.machine) + &crate::intercepts::run(self.machine);
        let write = Ask::ConsoleWrite { stream: Stream::Output, bytes: text.as_bytes() };
        self.messages.push_back(encoded(2, write));
        self.messages.push_back(encoded(0, Ask::Exit { status: 0, peak_kib: 0, kernel_kib: 0 }));
    }

    fn answers(&self, processor: &dyn SecurityProcessor) -> String {
        let request =
            ReportRequest { data: self.data, vmpl: 0, key_selection: 0, certificates: true };
        let no_such_level = ReportRequest { vmpl: 4, ..request };
        let lower = ReportRequest { vmpl: 2, certificates: false, ..request };
        let plain = KeyRequest { root_key: 0, fields: 0, vmpl: 0, guest_svn: 0, tcb_version: 0 };
        let mut text = String::new();
        match processor.report(&request) {
            Ok(report) => {
                text += &format!("report {}\n", hex(&report.bytes));
                text += &format!("certificates {}\n", hex(&report.certificates));
            }
            Err(error) => text += &format!("report {error:?}\n"),
        }
        let refused = processor.report(&no_such_level).map(|_| ());
        text += &format!("no-such-level {refused:?}\n");
        match processor.report(&lower) {
            Ok(report) => text += &format!("lower {}\n", hex(&report.bytes)),
            Err(error) => text += &format!("lower {error:?}\n"),
        }
        for (name, request) in [
            ("key", plain),
            ("key-again", plain),
            ("key-measured", KeyRequest { fields: MEASUREMENT, ..plain }),
        ] {
            match processor.derive_key(&request) {
                Ok(key) => text += &format!("{name} {}\n", hex(&key)),
                Err(error) => text += &format!("{name} {error:?}\n"),
            }
        }
        text
    }
}

/// A program that only counts is interrupted again and again.
fn interruptions(machine: &'static Payload) -> String {
    let space = space(machine);
    let mut thread = thread(&space, COUNTS);
    let interrupted = |thread: &mut Box<dyn Context>| {
        assert_eq!(thread.enter(&mut |_| false).0, Trap::Interrupt);
        thread.registers().rbx
    };
    let last = (0..6).map(|_| interrupted(&mut thread)).last();
    format!("interrupted {}\n", last > Some(1000))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(ticket: u64, ask: Ask<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    let length = postcard::to_slice(&ToHost { ticket, ask }, &mut bytes).unwrap().len();
    bytes.truncate(length);
    bytes
}

impl Workload for Evidence {
    fn run(&mut self) -> Progress {
        if self.welcome && !self.ended {
            self.ask_all();
            self.ended = true;
        }
        if self.ended { Progress::Ended } else { Progress::Idle { until_ns: None } }
    }

    fn take_message(&mut self) -> Option<Vec<u8>> {
        self.messages.pop_front()
    }

    fn receive(&mut self, _: Untrusted<'_>) {
        self.welcome = true;
    }
}
