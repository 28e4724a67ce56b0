// SPDX-License-Identifier: MIT
//! The random number generator: ChaCha20, seeded and reseeded from the platform's hardware source.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use spin::Mutex;
use strongroom_south::{EntropyFailed, Machine};

/// Bytes handed out between two reseedings.
const RESEED_AFTER: usize = 1 << 20;

struct State {
    generator: ChaCha20Rng,
    served: usize,
}

/// The kernel's only source of random bytes.
pub(crate) struct Random {
    machine: &'static dyn Machine,
    state: Mutex<State>,
}

impl Random {
    /// Seeds the generator.
    ///
    /// # Errors
    ///
    /// [`EntropyFailed`] without a source: then nothing starts.
    pub(crate) fn new(machine: &'static dyn Machine) -> Result<Self, EntropyFailed> {
        let generator = seeded(machine, [0; 32])?;
        Ok(Self { machine, state: Mutex::new(State { generator, served: 0 }) })
    }

    /// Fills `buffer`. When the source fails at a reseeding the generator goes on with its state.
    pub(crate) fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.state.lock();
        state.served = state.served.saturating_add(buffer.len());
        if state.served > RESEED_AFTER {
            let mut carry = [0; 32];
            state.generator.fill_bytes(&mut carry);
            if let Ok(generator) = seeded(self.machine, carry) {
                state.generator = generator;
            }
            state.served = 0;
        }
        state.generator.fill_bytes(buffer);
    }

    /// A random number.
    pub(crate) fn next(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

fn seeded(machine: &dyn Machine, carry: [u8; 32]) -> Result<ChaCha20Rng, EntropyFailed> {
    let mut seed = [0; 32];
    machine.fill_entropy(&mut seed)?;
    seed.iter_mut().zip(carry).for_each(|(byte, old)| *byte ^= old);
    Ok(ChaCha20Rng::from_seed(seed))
}
