// SPDX-License-Identifier: MIT
//! Waits for exits of an emulated processor.

use crate::exits::Exits;
use crate::{GuestMemory, OutOfReach};
use std::io::Read;
use strongroom_snp_layout::simulation::{DONE, EXIT, MAILBOX, REGISTER};

/// Has `exits` answer until the bell's stream ends or the memory is gone.
pub fn attend(mut bell: impl Read, memory: &impl GuestMemory, exits: &mut impl Exits) {
    let mut latest = 0;
    // How often it rang does not matter: the number says what there is to do.
    let mut rings = [0; 64];
    while let Ok(1..) = bell.read(&mut rings) {
        match answer(memory, exits, latest) {
            Ok(exit) => latest = exit,
            Err(OutOfReach) => return,
        }
    }
}

/// Answers the latest exit, unless it was answered before, and returns its number.
fn answer(
    memory: &impl GuestMemory,
    exits: &mut impl Exits,
    latest: u64,
) -> Result<u64, OutOfReach> {
    let place = |word: u64| MAILBOX.saturating_add(word);
    let exit = memory.read_word(place(EXIT))?;
    if exit != latest {
        let register = exits.exit(memory.read_word(place(REGISTER))?);
        memory.write_word(place(REGISTER), register)?;
        memory.write_word(place(DONE), exit)?;
    }
    Ok(exit)
}
