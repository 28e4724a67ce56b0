// SPDX-License-Identifier: MIT
//! The parts of a power cut during storage writes. The harness runs the first, cuts the power
//! somewhere in it, boots again with the same storage, and runs the second.

use std::io::Write as _;

use strongroom_tee::Code;

use super::{
    case,
    storage::{META, Object, READ, WRITE, session},
};
use crate::suite::{Case, Checks, Stop};

pub(super) const CASES: &[Case] = &[
    case(9001, "Power cut: writes until the machine ends", writes),
    case(9002, "Power cut: what was written is whole", is_whole),
];

const NAME: &[u8] = b"power";

/// Several blocks of the storage: a write that is not one step would show.
const SIZE: usize = 20_000;

/// Writes that are made, if nobody cuts the power.
const ROUNDS: u32 = 2000;

/// Bytes that all say the same number.
fn contents(number: u32) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(SIZE).collect()
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.first_chunk()?))
}

fn writes(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    let object = match Object::open(&session, NAME, READ | WRITE | META) {
        Err(error) if error.code == Code::ItemNotFound => {
            Object::create(&session, NAME, READ | WRITE | META, &contents(0))?
        }
        other => other?,
    };
    let first = number(&object.read(SIZE)?).ok_or(Stop)?;
    for number in (first + 1..).take(usize::try_from(ROUNDS).unwrap_or(0)) {
        object.seek(0, 0)?;
        object.write(&contents(number))?;
        println!("written {number}");
        std::io::stdout().flush()?;
    }
    checks.check(true, "");
    Ok(())
}

fn is_whole(checks: &mut Checks) -> Result<(), Stop> {
    let session = session()?;
    let object = Object::open(&session, NAME, READ | WRITE | META)?;
    let bytes = object.read(SIZE + 1)?;
    let found = number(&bytes).ok_or(Stop)?;
    println!("found {found}");
    checks.check(bytes == contents(found), "a part of one write and a part of another");
    // It can be written to again.
    object.seek(0, 0)?;
    object.write(&contents(found))?;
    Ok(())
}
