// SPDX-License-Identifier: MIT
//! From counter ticks to nanoseconds without a division.

/// Ticks of one frequency in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timescale {
    /// Nanoseconds a tick, in 2⁻³².
    factor: u64,
    ticks_per_second: u64,
}

/// Frequencies that a counter may plausibly have: 1 MHz to 100 GHz.
const PLAUSIBLE: core::ops::RangeInclusive<u64> = 1_000_000..=100_000_000_000;

impl Timescale {
    /// For a counter of so many hertz; none when that is not plausible.
    pub fn new(ticks_per_second: u64) -> Option<Self> {
        if !PLAUSIBLE.contains(&ticks_per_second) {
            return None;
        }
        let factor = (1_000_000_000_u64 << 32).checked_div(ticks_per_second)?;
        Some(Self { factor, ticks_per_second })
    }

    /// Nanoseconds that `ticks` take; about 580 years fit.
    #[expect(clippy::as_conversions, reason = "the lower half of the product is what is wanted")]
    pub const fn nanoseconds(&self, ticks: u64) -> u64 {
        ((ticks as u128).wrapping_mul(self.factor as u128) >> 32) as u64
    }

    /// Ticks in so many nanoseconds, rounded up, at most `u64::MAX`.
    pub fn ticks(&self, nanoseconds: u64) -> u64 {
        let product = u128::from(nanoseconds).saturating_mul(u128::from(self.ticks_per_second));
        u64::try_from(product.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gigahertz_counts_nanoseconds() {
        let scale = Timescale::new(1_000_000_000).unwrap();
        assert_eq!(scale.nanoseconds(123_456_789_012), 123_456_789_012);
        assert_eq!(scale.ticks(4_000_000), 4_000_000);
    }

    #[test]
    fn odd_rates_are_close_over_years() {
        let scale = Timescale::new(2_599_998_123).unwrap();
        let year = 365 * 24 * 3600;
        let error = scale.nanoseconds(2_599_998_123 * year).abs_diff(year * 1_000_000_000);
        assert!(error < year, "{error} ns a year");
        assert_eq!(scale.ticks(1_000_000_000), 2_599_998_123);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Timescale::new(0), None);
        assert_eq!(Timescale::new(u64::MAX), None);
    }
}
