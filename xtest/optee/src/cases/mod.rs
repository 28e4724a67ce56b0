// SPDX-License-Identifier: MIT
//! All cases. A file has one thousand.

mod attestation;
mod cancellation;
mod clients;
mod faults;
mod foreign;
mod limits;
mod parameters;
mod power;
pub(crate) mod ring;
mod sessions;
mod storage;

use crate::suite::Case;

/// All of them, by number.
pub(crate) fn all() -> Vec<Case> {
    [
        sessions::CASES,
        parameters::CASES,
        cancellation::CASES,
        faults::CASES,
        clients::CASES,
        storage::CASES,
        limits::CASES,
        attestation::CASES,
        power::CASES,
        ring::CASES,
        foreign::CASES,
    ]
    .concat()
}

/// A case of the table.
const fn case(
    number: u32,
    title: &'static str,
    run: fn(&mut crate::suite::Checks) -> Result<(), crate::suite::Stop>,
) -> Case {
    Case { number, title, run }
}
