// SPDX-License-Identifier: MIT
//! Programs beside each other in the one space of a flat machine.
//!
//! Each has areas of its own, and what belongs to one is not given to another. When the last who
//! uses an address space lets go of it, its pages go, and the objects placed there can be used again.

use crate::memory::{Areas, Memory, page_down};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ops::Range;
use spin::Mutex;

/// The address spaces of a flat machine. Empty on others.
#[derive(Default)]
pub(crate) struct Neighbours {
    memories: Mutex<Vec<Weak<Memory>>>,
}

impl Neighbours {
    pub(super) fn add(&self, memory: &Arc<Memory>) {
        let mut memories = self.memories.lock();
        memories.retain(|memory| memory.strong_count() > 0);
        memories.push(Arc::downgrade(memory));
    }

    fn all(&self) -> Vec<Arc<Memory>> {
        self.memories.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Where a program that starts beside others gets its memory: the upper half of the largest
    /// free range, so that the heap below can go on to grow.
    pub(super) fn window(&self, whole: Range<usize>) -> Range<usize> {
        let all = self.all();
        let mut used: Vec<Range<usize>> = Vec::new();
        for memory in &all {
            memory.for_each_area(|range, _| used.push(range.clone()));
        }
        used.sort_by_key(|range| range.start);
        used.push(whole.end..whole.end);
        let (mut best, mut free_from) = (0..0, whole.start);
        for range in used {
            let gap = free_from..range.start.min(whole.end).max(free_from);
            if gap.len() > best.len() {
                best = gap;
            }
            free_from = free_from.max(range.end);
        }
        page_down(best.start + best.len() / 2)..best.end
    }
}

impl Memory {
    /// The highest area of another program in a range.
    pub(super) fn taken_by_others(&self, range: &Range<usize>) -> Option<Range<usize>> {
        if self.is_paged() {
            return None;
        }
        let others = self.kernel.neighbours.all();
        let others = others.iter().filter(|other| !core::ptr::eq(Arc::as_ptr(other), self));
        others.filter_map(|other| other.state.lock().areas.last_in(range)).max_by_key(|it| it.end)
    }

    /// The highest range of a length that is free for this program, below an address.
    pub(super) fn gap_below(
        &self,
        areas: &Areas,
        top: usize,
        length: usize,
        step: usize,
    ) -> Option<Range<usize>> {
        let mut top = top;
        loop {
            let found = areas.gap_below(top, length, self.mappable.start, step)?;
            match self.taken_by_others(&found) {
                Some(other) => top = other.start,
                None => return Some(found),
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Elsewhere the space goes, with all that is in it.
        if !self.is_paged() {
            let areas = core::mem::take(&mut self.state.get_mut().areas);
            areas.iter().for_each(|(range, _)| self.space.unmap(range));
        }
    }
}
