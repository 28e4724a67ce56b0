// SPDX-License-Identifier: MIT
//! A short sorted list of disjoint address ranges, without an allocator behind it.

use core::ops::Range;

/// Most ranges of a list. Firmware reports about ten.
pub const RANGES_MAX: usize = 64;

/// The list is full, or ranges overlap that must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Disjoint, not empty, sorted ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    list: [(u64, u64); RANGES_MAX],
    count: usize,
}

impl Default for Ranges {
    fn default() -> Self {
        Self::new()
    }
}

impl Ranges {
    /// None.
    pub const fn new() -> Self {
        Self { list: [(0, 0); RANGES_MAX], count: 0 }
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.list.iter().take(self.count).map(|(start, end)| *start..*end)
    }

    /// Sum of the lengths.
    pub fn total(&self) -> u64 {
        self.iter().fold(0, |sum, range| sum.saturating_add(range.end.saturating_sub(range.start)))
    }

    /// Whether any address of `range` is in the list.
    pub fn overlaps(&self, range: &Range<u64>) -> bool {
        self.iter().any(|own| own.start < range.end && range.start < own.end)
    }

    /// Adds a range; an empty one is none.
    ///
    /// # Errors
    ///
    /// [`Refused`] when it overlaps another one or the list is full.
    pub fn insert(&mut self, range: Range<u64>) -> Result<(), Refused> {
        if range.is_empty() {
            return Ok(());
        }
        if self.overlaps(&range) || self.count == RANGES_MAX {
            return Err(Refused);
        }
        let at = self.iter().take_while(|own| own.start < range.start).count();
        let grown = self.count.saturating_add(1);
        let tail = self.list.get_mut(at..grown).ok_or(Refused)?;
        tail.rotate_right(1);
        *tail.first_mut().ok_or(Refused)? = (range.start, range.end);
        self.count = grown;
        Ok(())
    }

    /// Adds a range; neighbours become one.
    ///
    /// # Errors
    ///
    /// As for [`Ranges::insert`].
    pub fn merge(&mut self, range: Range<u64>) -> Result<(), Refused> {
        if self.overlaps(&range) {
            return Err(Refused);
        }
        let before = self.iter().find(|own| own.end == range.start);
        let after = self.iter().find(|own| own.start == range.end);
        for neighbour in before.iter().chain(&after) {
            self.remove(neighbour)?;
        }
        let start = before.map_or(range.start, |before| before.start);
        let end = after.map_or(range.end, |after| after.end);
        self.insert(start..end)
    }

    /// Takes a range out, which may split one of the list in two.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the list has no room for the second part.
    pub fn remove(&mut self, hole: &Range<u64>) -> Result<(), Refused> {
        if hole.is_empty() {
            return Ok(());
        }
        let mut rest = Self::new();
        for own in self.iter() {
            rest.insert(own.start..own.end.min(hole.start))?;
            rest.insert(own.start.max(hole.end)..own.end)?;
        }
        *self = rest;
        Ok(())
    }

    /// Shrinks every range to whole units of `1 << shift` bytes, and counts in such units.
    ///
    /// # Errors
    ///
    /// [`Refused`] never in practice: shrinking makes no overlap.
    pub fn whole_units(&self, shift: u32) -> Result<Self, Refused> {
        let mut units = Self::new();
        let unit = 1_u64.checked_shl(shift).ok_or(Refused)?;
        for own in self.iter() {
            let start = own.start.div_ceil(unit);
            let end = own.end.checked_div(unit).ok_or(Refused)?;
            if start < end {
                units.insert(start..end)?;
            }
        }
        Ok(units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn list(ranges: &Ranges) -> Vec<Range<u64>> {
        ranges.iter().collect()
    }

    #[test]
    fn ranges_are_sorted_and_never_overlap() {
        let mut ranges = Ranges::new();
        ranges.insert(20..30).unwrap();
        ranges.insert(0..10).unwrap();
        ranges.insert(10..20).unwrap();
        ranges.insert(5..5).unwrap();
        assert_eq!(ranges.insert(29..40), Err(Refused));
        assert_eq!(ranges.insert(0..100), Err(Refused));
        assert_eq!(list(&ranges), [0..10, 10..20, 20..30]);
        assert_eq!(ranges.total(), 30);
    }

    #[test]
    fn neighbours_become_one() {
        let mut ranges = Ranges::new();
        ranges.merge(0..10).unwrap();
        ranges.merge(20..30).unwrap();
        ranges.merge(40..50).unwrap();
        ranges.merge(10..20).unwrap();
        assert_eq!(list(&ranges), [0..30, 40..50]);
        assert_eq!(ranges.merge(49..60), Err(Refused));
        ranges.merge(7..7).unwrap_err();
        ranges.merge(35..40).unwrap();
        assert_eq!(list(&ranges), [0..30, 35..50]);
    }

    #[test]
    fn holes_split_trim_and_swallow() {
        let mut ranges = Ranges::new();
        ranges.insert(0..10).unwrap();
        ranges.insert(20..30).unwrap();
        ranges.remove(&(3..5)).unwrap();
        assert_eq!(list(&ranges), [0..3, 5..10, 20..30]);
        ranges.remove(&(8..22)).unwrap();
        assert_eq!(list(&ranges), [0..3, 5..8, 22..30]);
        ranges.remove(&(0..25)).unwrap();
        assert_eq!(list(&ranges), [25..30]);
        ranges.remove(&(27..27)).unwrap();
        ranges.remove(&(90..95)).unwrap();
        assert_eq!(list(&ranges), [25..30]);
    }

    #[test]
    fn units_lie_inside() {
        let mut ranges = Ranges::new();
        ranges.insert(1..4096).unwrap();
        ranges.insert(5000..20000).unwrap();
        assert_eq!(list(&ranges.whole_units(12).unwrap()), [2..4]);
    }

    #[test]
    fn a_full_list_refuses() {
        let mut ranges = Ranges::new();
        for index in 0..64 {
            ranges.insert(index * 10..index * 10 + 5).unwrap();
        }
        assert_eq!(ranges.insert(1000..1001), Err(Refused));
        assert_eq!(ranges.remove(&(11..12)), Err(Refused));
        assert_eq!(ranges.iter().count(), 64);
    }
}
