// SPDX-License-Identifier: MIT
//! Time, randomness and the debug log.

/// Time that only orders events. The host may set its rate, so no security decision rests on it.
pub trait Clock {
    /// Nanoseconds since the platform started. Never decreases, whatever the host does.
    fn monotonic_ns(&self) -> u64;
}

/// Randomness from hardware, inside the trust boundary.
pub trait Entropy {
    /// Fills all of `buffer`, or fails and leaves no promise about its contents.
    ///
    /// # Errors
    ///
    /// [`EntropyFailed`] when the source reports failure or repeats itself.
    fn fill_entropy(&self, buffer: &mut [u8]) -> Result<(), EntropyFailed>;
}

/// The hardware source failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyFailed;

/// The kernel's debug log. Release images drop it.
pub trait Log {
    /// Writes one line, without a line end.
    fn log(&self, line: core::fmt::Arguments<'_>);
}
