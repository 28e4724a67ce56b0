// SPDX-License-Identifier: MIT
//! Changing what is mapped: `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`.

use crate::memory::{
    AREAS_MAX, Area, Backing, Memory, Protection, SharedWriter, checked_range, page_up,
};
use crate::outcome::SysResult;
use alloc::string::String;
use alloc::sync::Arc;
use core::ops::Range;
use strongroom_abi::Errno;
use strongroom_south::PAGE_SIZE;

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Anywhere, at the hint if it is free.
    Anywhere(usize),
    /// There, replacing what is there.
    Fixed(usize),
    /// There, or `EEXIST`.
    FixedFree(usize),
}

/// A mapping to make.
pub(crate) struct MapRequest {
    pub(crate) length: usize,
    pub(crate) protection: Protection,
    pub(crate) backing: Backing,
    pub(crate) placement: Placement,
    pub(crate) grows_down: bool,
}

impl Memory {
    /// Makes a mapping; returns its address. `limit` is `RLIMIT_AS`.
    pub(crate) fn map(&self, request: MapRequest, limit: u64) -> SysResult {
        self.map_named(request, limit, false, None)
    }

    /// As [`Memory::map`], with what only files have.
    pub(crate) fn map_named(
        &self,
        request: MapRequest,
        limit: u64,
        never_writable: bool,
        name: Option<Arc<String>>,
    ) -> SysResult {
        let length = page_up(request.length).filter(|length| *length > 0).ok_or(Errno::ENOMEM)?;
        let range = self.place(length, request.placement)?;
        let mut state = self.state.lock();
        if (state.areas.total() + length) as u64 > limit || state.areas.count() >= AREAS_MAX {
            return Err(Errno::ENOMEM.into());
        }
        let start = range.start;
        self.clear(&mut state.areas, &range);
        let writer = match &request.backing {
            Backing::File { pages, shared: true, .. } if !never_writable => {
                Some(SharedWriter::new(Arc::clone(pages)))
            }
            Backing::File { .. } | Backing::Anonymous => None,
        };
        let area = Area {
            protection: request.protection,
            backing: request.backing,
            grows_down: request.grows_down,
            dont_fork: false,
            name,
            writer,
        };
        state.areas.insert(range, area);
        Ok(start)
    }

    /// `munmap(2)`.
    pub(crate) fn unmap(&self, start: usize, length: usize) -> SysResult<()> {
        if length == 0 {
            return Err(Errno::EINVAL.into());
        }
        let range = checked_range(self.space(), start, length).map_err(|_| Errno::EINVAL)?;
        let mut state = self.state.lock();
        self.clear(&mut state.areas, &range);
        state.search_from = state.search_from.max(range.end);
        Ok(())
    }

    fn clear(&self, areas: &mut super::Areas, range: &Range<usize>) {
        let removed = areas.remove(range);
        if removed.is_empty() {
            return;
        }
        if self.is_paged() {
            self.space.unmap(range.clone());
        } else {
            // What lies in between may be another program's.
            removed.into_iter().for_each(|(piece, _)| self.space.unmap(piece));
        }
    }

    /// `mprotect(2)`.
    pub(crate) fn protect(
        &self,
        start: usize,
        length: usize,
        protection: Protection,
    ) -> SysResult<()> {
        let range = checked_range(self.space(), start, length)?;
        let mut state = self.state.lock();
        // What lies before a hole is changed, as on Linux.
        let covered = state.areas.covered_from(range.start).min(range.end);
        let complete = covered == range.end;
        let range = range.start..covered;
        let forbidden =
            |area: &Area| area.never_writable() && protection.contains(Protection::WRITE);
        if state.areas.within(&range).iter().any(|(_, area)| forbidden(area))
            || protection.contains(Protection::EXECUTE) && !self.may_execute(&range)
        {
            return Err(Errno::EACCES.into());
        }
        for (piece, mut area) in state.areas.remove(&range) {
            area.protection = protection;
            self.space.protect(piece.clone(), area.access());
            state.areas.insert(piece, area);
        }
        if complete { Ok(()) } else { Err(Errno::ENOMEM.into()) }
    }

    /// `madvise(MADV_DONTNEED)` and `MADV_FREE`: private pages go, and come back as they were at
    /// first.
    pub(crate) fn discard(&self, start: usize, length: usize) -> SysResult<()> {
        let range = checked_range(self.space(), start, length)?;
        let state = self.state.lock();
        let complete = state.areas.covers(&range);
        for (piece, _) in state.areas.within(&range) {
            self.space.unmap(piece);
        }
        if complete { Ok(()) } else { Err(Errno::ENOMEM.into()) }
    }

    /// `ENOMEM` unless all of a range is mapped.
    pub(crate) fn check_mapped(&self, start: usize, length: usize) -> SysResult<()> {
        let range = checked_range(self.space(), start, length)?;
        if self.state.lock().areas.covers(&range) { Ok(()) } else { Err(Errno::ENOMEM.into()) }
    }

    /// `madvise(MADV_DONTFORK)` and back.
    pub(crate) fn set_dont_fork(&self, start: usize, length: usize, value: bool) -> SysResult<()> {
        let range = checked_range(self.space(), start, length)?;
        let mut state = self.state.lock();
        for (piece, mut area) in state.areas.remove(&range) {
            area.dont_fork = value;
            state.areas.insert(piece, area);
        }
        Ok(())
    }

    /// `mremap(2)`; `to` is a fixed new address.
    pub(crate) fn remap(
        &self,
        start: usize,
        old_length: usize,
        new_length: usize,
        may_move: bool,
        to: Option<usize>,
        limit: u64,
    ) -> SysResult {
        let new_length = page_up(new_length).filter(|length| *length > 0).ok_or(Errno::EINVAL)?;
        let old = checked_range(self.space(), start, old_length)
            .map_err(|errno| if errno == Errno::EINVAL { errno } else { Errno::EFAULT })?;
        let (found, area) = {
            let state = self.state.lock();
            let (found, area) = state.areas.find(start).ok_or(Errno::EFAULT)?;
            (found, area.clone())
        };
        if old.end > found.end {
            return Err(Errno::EFAULT.into());
        }
        if old.is_empty() && !area.is_shared() {
            return Err(Errno::EINVAL.into());
        }
        if let Some(to) = to {
            let target = checked_range(self.space(), to, new_length).map_err(|_| Errno::EINVAL)?;
            if target.start < old.end && old.start < target.end {
                return Err(Errno::EINVAL.into());
            }
            self.clear(&mut self.state.lock().areas, &target);
            return self.relocate(old, target);
        }
        if new_length <= old.len() {
            if new_length < old.len() {
                self.unmap(start + new_length, old.len() - new_length)?;
            }
            return Ok(start);
        }
        self.grow(old, new_length, may_move, limit)
    }

    fn grow(&self, old: Range<usize>, length: usize, may_move: bool, limit: u64) -> SysResult {
        let more = length - old.len();
        let wanted = old.end..old.end.checked_add(more).ok_or(Errno::ENOMEM)?;
        {
            let mut state = self.state.lock();
            if (state.areas.total() + more) as u64 > limit {
                return Err(Errno::ENOMEM.into());
            }
            let whole = old.start..wanted.end;
            let free = state.areas.is_free(&wanted) && self.taken_by_others(&wanted).is_none();
            if wanted.end <= self.mappable.end && free {
                let start = old.start;
                if let Some((_, area)) = state.areas.remove(&old).pop() {
                    state.areas.insert(whole, area);
                }
                return Ok(start);
            }
        }
        if !may_move {
            return Err(Errno::ENOMEM.into());
        }
        let target = self.place(length, Placement::Anywhere(0))?;
        self.relocate(old, target)
    }

    /// Moves the area at `old` to the free range `target`, with as many pages as fit.
    fn relocate(&self, old: Range<usize>, target: Range<usize>) -> SysResult {
        let mut state = self.state.lock();
        let Some((_, area)) = state.areas.remove(&old).into_iter().next() else {
            return Err(Errno::EFAULT.into());
        };
        let moved = old.start..old.start + old.len().min(target.len());
        self.space.relocate(moved.clone(), target.start)?;
        self.space.unmap(moved.end..old.end);
        let start = target.start;
        state.areas.insert(target, area);
        Ok(start)
    }

    /// Finds a range for a mapping.
    fn place(&self, length: usize, placement: Placement) -> SysResult<Range<usize>> {
        let mut state = self.state.lock();
        match placement {
            Placement::Fixed(start) => {
                let range = checked_range(self.space(), start, length)?;
                let taken = self.taken_by_others(&range).is_some();
                if taken { Err(Errno::ENOMEM.into()) } else { Ok(range) }
            }
            Placement::FixedFree(start) => {
                let range = checked_range(self.space(), start, length)?;
                let free = state.areas.is_free(&range) && self.taken_by_others(&range).is_none();
                if free { Ok(range) } else { Err(Errno::EEXIST.into()) }
            }
            Placement::Anywhere(hint) => {
                let hint = hint & !(PAGE_SIZE - 1);
                let step = state.layout.page_size;
                if hint >= self.mappable.start
                    && hint.is_multiple_of(step)
                    && let Ok(range) = checked_range(self.space(), hint, length)
                    && range.end <= self.mappable.end
                    && state.areas.is_free(&range)
                    && self.taken_by_others(&range).is_none()
                {
                    return Ok(range);
                }
                let top = state.layout.mapping_top;
                // Below the last one found there is room, usually; else from the top again.
                let hint = state.search_from.min(top);
                let gap = |top| self.gap_below(&state.areas, top, length, step);
                let found = gap(hint).or_else(|| gap(top));
                let found = found.ok_or(Errno::ENOMEM)?;
                state.search_from = found.end;
                Ok(found)
            }
        }
    }
}

impl super::Areas {
    /// The highest free range of a length below an address, not under `lowest`, that starts at a
    /// multiple of `step`, a power of two.
    pub(super) fn gap_below(
        &self,
        top: usize,
        length: usize,
        lowest: usize,
        step: usize,
    ) -> Option<Range<usize>> {
        let mut end = top;
        loop {
            let start = end.checked_sub(length)? & !(step - 1);
            if start < lowest {
                return None;
            }
            let below = self.end_below(end);
            if below <= start {
                return Some(start..start + length);
            }
            // The area that is in the way; go on below it.
            let (range, _) = self.find(below - 1)?;
            end = range.start;
        }
    }
}
