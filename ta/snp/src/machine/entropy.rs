// SPDX-License-Identifier: MIT
//! Randomness from the processor: `RDSEED` where it is, else `RDRAND`.
//!
//! Both say by the carry flag whether a value is good. A value that repeats the one before is the
//! sign of a broken source (some processors returned all ones forever after sleep), and is refused.

use super::Payload;
use super::cpu::features::Features;
use core::arch::asm;
use spin::Mutex;
use strongroom_south::{Entropy, EntropyFailed};

/// Tries before a source counts as failed; Intel recommends 10 for `RDRAND`, and `RDSEED` may be
/// empty for longer.
const TRIES: u32 = 128;

#[derive(Clone, Copy)]
enum Source {
    Seed,
    Random,
}

struct State {
    source: Option<Source>,
    latest: u64,
}

static STATE: Mutex<State> = Mutex::new(State { source: None, latest: 0 });

/// Chooses a source and tries it.
pub(crate) fn start(features: &Features) -> Result<(), EntropyFailed> {
    let mut state = STATE.lock();
    state.source = match (features.rdseed, features.rdrand) {
        (true, _) => Some(Source::Seed),
        (false, true) => Some(Source::Random),
        (false, false) => None,
    };
    state.word()?;
    state.word()?;
    Ok(())
}

impl State {
    fn word(&mut self) -> Result<u64, EntropyFailed> {
        let source = self.source.ok_or(EntropyFailed)?;
        for _ in 0..TRIES {
            let Some(word) = source.draw() else {
                core::hint::spin_loop();
                continue;
            };
            let stuck = word == self.latest || word == 0 || word == u64::MAX;
            self.latest = word;
            return if stuck { Err(EntropyFailed) } else { Ok(word) };
        }
        Err(EntropyFailed)
    }
}

impl Source {
    fn draw(self) -> Option<u64> {
        let (word, good): (u64, u8);
        match self {
            // SAFETY: `start` chose this source because the processor has the instruction.
            Self::Seed => unsafe {
                asm!("rdseed {}", "setc {}", out(reg) word, out(reg_byte) good,
                    options(nomem, nostack));
            },
            // SAFETY: as above.
            Self::Random => unsafe {
                asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) good,
                    options(nomem, nostack));
            },
        }
        (good != 0).then_some(word)
    }
}

impl Entropy for Payload {
    fn fill_entropy(&self, buffer: &mut [u8]) -> Result<(), EntropyFailed> {
        let mut state = STATE.lock();
        for chunk in buffer.chunks_mut(8) {
            let word = state.word()?.to_le_bytes();
            chunk.iter_mut().zip(word).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}
