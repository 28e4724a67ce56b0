// SPDX-License-Identifier: MIT
//! Programs start, speak and end; files that are no programs are refused.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use strongroom_abi::{Errno, Sysno};
use strongroom_fake::{ENTRY, Elf, Ending, Guest, Machine, Report, System, SystemBuilder};
use strongroom_south::{Exception, Form};

const FORMS: [Form; 2] = [Form::Paged, Form::Flat];

fn hello(guest: &mut Guest) -> u8 {
    guest.say("hello, world");
    7
}

#[test]
fn a_program_says_hello_and_its_status_arrives() {
    for form in FORMS {
        let report = System::run_program(form, hello);
        assert_eq!(report.output, "hello, world\n", "{form:?}");
        assert_eq!(report.ending, Ending::Exit(7), "{form:?}");
        assert!(report.errors.is_empty() && report.log.is_empty(), "{report:?}");
    }
}
