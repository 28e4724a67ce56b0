// SPDX-License-Identifier: MIT
//! Randomness from OP-TEE, whose generator is seeded from hardware where the board has some.

use super::TrustedApplication;
use optee_utee::Random;
use strongroom_south::{Entropy, EntropyFailed};

/// Bytes below which all zeroes can be chance.
const CHANCE: usize = 8;

impl Entropy for TrustedApplication {
    fn fill_entropy(&self, buffer: &mut [u8]) -> Result<(), EntropyFailed> {
        // A generator that fails panics the TA (GlobalPlatform TEE Internal Core API 1.3, 6.12.1).
        Random::generate(buffer);
        let stuck =
            buffer.len() >= CHANCE && buffer.windows(2).all(|pair| pair.first() == pair.last());
        if stuck { Err(EntropyFailed) } else { Ok(()) }
    }
}
