// SPDX-License-Identifier: MIT
//! What should be mapped: ranges with a protection and a backing.

use crate::fs::Pages;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use strongroom_south::Access;

bitflags::bitflags! {
    /// `PROT_*` of `mmap(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Protection: u32 {
        const READ = 1;
        const WRITE = 2;
        const EXECUTE = 4;
    }
}

/// Where the pages of an area come from.
#[derive(Clone)]
pub(crate) enum Backing {
    /// Zeroes, private.
    Anonymous,
    /// A file, or a nameless one for shared anonymous memory.
    File {
        pages: Arc<dyn Pages>,
        /// Byte offset of the area's start, page-aligned.
        offset: u64,
        shared: bool,
    },
}

/// A mapped range's properties.
#[derive(Clone)]
pub(crate) struct Area {
    pub(crate) protection: Protection,
    pub(crate) backing: Backing,
    /// A stack: it is extended when the page below it is touched.
    pub(crate) grows_down: bool,
    /// `MADV_DONTFORK`.
    pub(crate) dont_fork: bool,
    /// `/proc/self/maps`: `[heap]`, `[stack]`, or the file's path.
    pub(crate) name: Option<Arc<String>>,
    /// Counts it with the file, where it is shared and may write, or could be made to.
    pub(crate) writer: Option<SharedWriter>,
}

/// A shared mapping that may write, as long as it lives: what is cut off counts of its own.
pub(crate) struct SharedWriter(Arc<dyn Pages>);

impl SharedWriter {
    /// Counts a mapping of `pages`.
    pub(crate) fn new(pages: Arc<dyn Pages>) -> Self {
        pages.mapped_writable(true);
        Self(pages)
    }
}

impl Clone for SharedWriter {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for SharedWriter {
    fn drop(&mut self) {
        self.0.mapped_writable(false);
    }
}

impl Area {
    /// What the hardware may allow on a page of its own.
    pub(crate) const fn access(&self) -> Access {
        Access {
            read: !self.protection.is_empty(),
            write: self.protection.contains(Protection::WRITE),
            execute: self.protection.contains(Protection::EXECUTE),
            shared: self.is_shared(),
        }
    }

    /// Whether writes are seen by others.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self.backing, Backing::File { shared: true, .. })
    }

    /// A shared mapping of a file that was not opened for writing: `PROT_WRITE` is refused.
    pub(crate) const fn never_writable(&self) -> bool {
        self.is_shared() && self.writer.is_none()
    }

    /// The same area from `by` bytes further on.
    fn advanced(&self, by: usize) -> Self {
        let mut area = self.clone();
        if let Backing::File { offset, .. } = &mut area.backing {
            *offset += by as u64;
        }
        area
    }

    /// Whether `next`, which starts `length` bytes behind this one's start, continues it.
    fn continues_as(&self, length: usize, next: &Self) -> bool {
        let backing = match (&self.backing, &next.backing) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (
                Backing::File { pages, offset, shared },
                Backing::File { pages: other, offset: next_offset, shared: other_shared },
            ) => {
                pages.id() == other.id()
                    && shared == other_shared
                    && offset + length as u64 == *next_offset
            }
            (Backing::Anonymous, Backing::File { .. })
            | (Backing::File { .. }, Backing::Anonymous) => false,
        };
        backing
            && self.protection == next.protection
            && self.grows_down == next.grows_down
            && self.dont_fork == next.dont_fork
            && self.writer.is_some() == next.writer.is_some()
            && self.name == next.name
    }
}

#[derive(Clone)]
struct Entry {
    end: usize,
    area: Area,
}

/// All areas of an address space, by start; they do not overlap.
#[derive(Clone, Default)]
pub(crate) struct Areas {
    entries: BTreeMap<usize, Entry>,
    total: usize,
}

impl Areas {
    /// Bytes in all areas.
    pub(crate) const fn total(&self) -> usize {
        self.total
    }

    /// Number of areas.
    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The area that holds an address.
    pub(crate) fn find(&self, address: usize) -> Option<(Range<usize>, &Area)> {
        let (start, entry) = self.entries.range(..=address).next_back()?;
        (address < entry.end).then_some((*start..entry.end, &entry.area))
    }

    /// The first area that starts at or above an address.
    pub(crate) fn next_above(&self, address: usize) -> Option<(Range<usize>, &Area)> {
        let (start, entry) = self.entries.range(address..).next()?;
        Some((*start..entry.end, &entry.area))
    }

    /// The end of the last area that starts below an address, 0 if there is none.
    pub(crate) fn end_below(&self, address: usize) -> usize {
        self.entries.range(..address).next_back().map_or(0, |(_, entry)| entry.end)
    }

    /// The last area that reaches into a range.
    pub(crate) fn last_in(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let (start, entry) = self.entries.range(..range.end).next_back()?;
        (entry.end > range.start).then_some(*start..entry.end)
    }

    /// Whether nothing is mapped in a range.
    pub(crate) fn is_free(&self, range: &Range<usize>) -> bool {
        self.end_below(range.end) <= range.start
    }

    /// Whether all of a range is mapped.
    pub(crate) fn covers(&self, range: &Range<usize>) -> bool {
        self.covered_from(range.start) >= range.end
    }

    /// Where the first hole at or behind an address starts.
    pub(crate) fn covered_from(&self, address: usize) -> usize {
        let mut at = address;
        while let Some((found, _)) = self.find(at) {
            at = found.end;
        }
        at
    }

    /// All areas, lowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Range<usize>, &Area)> {
        self.entries.iter().map(|(start, entry)| (*start..entry.end, &entry.area))
    }

    /// Pieces of areas within a range, lowest first.
    pub(crate) fn within(&self, range: &Range<usize>) -> Vec<(Range<usize>, Area)> {
        let first = self.find(range.start).map_or(range.start, |(found, _)| found.start);
        let entries = self.entries.range(first..range.end.max(first));
        entries
            .map(|(start, entry)| {
                let cut = range.start.max(*start)..range.end.min(entry.end);
                let area = entry.area.advanced(cut.start - start);
                (cut, area)
            })
            .filter(|(cut, _)| !cut.is_empty())
            .collect()
    }

    /// Adds an area to a free range, joining it with its neighbours where they continue it.
    pub(crate) fn insert(&mut self, range: Range<usize>, area: Area) {
        self.total += range.len();
        let (mut range, mut area) = (range, area);
        if let Some((start, entry)) = self.entries.range(..range.start).next_back()
            && entry.end == range.start
            && entry.area.continues_as(range.start - start, &area)
        {
            range.start = *start;
            area = entry.area.clone();
        }
        if let Some(next) = self.entries.get(&range.end)
            && area.continues_as(range.end - range.start, &next.area)
        {
            let end = next.end;
            self.entries.remove(&range.end);
            range.end = end;
        }
        self.entries.insert(range.start, Entry { end: range.end, area });
    }

    /// Takes a range out, splitting what reaches over it; returns the pieces.
    pub(crate) fn remove(&mut self, range: &Range<usize>) -> Vec<(Range<usize>, Area)> {
        self.split(range.start);
        self.split(range.end);
        let starts: Vec<usize> =
            self.entries.range(range.clone()).map(|(start, _)| *start).collect();
        let mut removed = Vec::with_capacity(starts.len());
        for start in starts {
            if let Some(entry) = self.entries.remove(&start) {
                self.total -= entry.end - start;
                removed.push((start..entry.end, entry.area));
            }
        }
        removed
    }

    /// Extends the area that starts at `start` downwards.
    pub(crate) fn grow_down(&mut self, start: usize, new_start: usize) {
        if let Some(entry) = self.entries.remove(&start) {
            self.total += start - new_start;
            self.entries.insert(new_start, entry);
        }
    }

    /// Takes out what a forked child does not get.
    pub(crate) fn take_unforked(&mut self) -> Vec<Range<usize>> {
        let ranges: Vec<_> =
            self.iter().filter(|(_, area)| area.dont_fork).map(|(range, _)| range).collect();
        for range in &ranges {
            self.remove(range);
        }
        ranges
    }

    fn split(&mut self, at: usize) {
        let Some((start, entry)) = self.entries.range_mut(..at).next_back() else { return };
        if entry.end <= at {
            return;
        }
        let tail = Entry { end: entry.end, area: entry.area.advanced(at - start) };
        entry.end = at;
        self.entries.insert(at, tail);
    }
}

#[cfg(test)]
mod tests;
