// SPDX-License-Identifier: MIT
//! Bringing pages in.

use crate::memory::{Area, Backing, Memory, Protection, STACK_GAP, page_down};
use crate::outcome::{Stop, SysResult};
use crate::task::{Limits, Thread};
use core::ops::Range;
use strongroom_abi::Errno;
use strongroom_south::{Access, Frame, Mapped, PAGE_SIZE};

/// Pages made at once when anonymous memory is touched in order.
const FAULT_AROUND: usize = 8;

/// Why an access cannot succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadAccess {
    /// Nothing is mapped there: `SEGV_MAPERR`.
    Unmapped,
    /// Its protection forbids it: `SEGV_ACCERR`.
    Forbidden,
    /// Behind the end of a mapped file, or its bytes cannot be had: `SIGBUS`.
    NoData,
    /// No frame is left.
    NoMemory,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) write: bool,
    pub(crate) fetch: bool,
}

impl Memory {
    /// Makes an access possible, or says why it is not. Stops to wait for the host.
    pub(crate) fn resolve(
        &self,
        by: &Thread,
        address: usize,
        write: bool,
        fetch: bool,
    ) -> SysResult<Result<(), BadAccess>> {
        let attempt = Attempt { write, fetch };
        let Some((range, area)) = self.area_at(by, address) else {
            return Ok(Err(BadAccess::Unmapped));
        };
        if !allows(area.protection, attempt) {
            return Ok(Err(BadAccess::Forbidden));
        }
        match self.bring_in(by, page_down(address), &range, &area, write) {
            Ok(()) => Ok(Ok(())),
            Err(Stop::Errno(Errno::ENOMEM)) => Ok(Err(BadAccess::NoMemory)),
            Err(Stop::Errno(_)) => Ok(Err(BadAccess::NoData)),
            Err(stop) => Err(stop),
        }
    }

    /// The area at an address; a stack just above it is extended.
    fn area_at(&self, by: &Thread, address: usize) -> Option<(Range<usize>, Area)> {
        let mut state = self.state.lock();
        if let Some((range, area)) = state.areas.find(address) {
            return Some((range, area.clone()));
        }
        let (range, area) = state.areas.next_above(address)?;
        let area = area.clone();
        let start = page_down(address);
        let limit = by.process.limits.lock().soft(Limits::STACK);
        let gap = state.areas.end_below(range.start).saturating_add(STACK_GAP);
        let size = (range.end - start) as u64;
        if !area.grows_down || size > limit || start < gap {
            return None;
        }
        state.areas.grow_down(range.start, start);
        Some((start..range.end, area))
    }

    fn bring_in(
        &self,
        by: &Thread,
        page: usize,
        range: &Range<usize>,
        area: &Area,
        write: bool,
    ) -> SysResult<()> {
        if let Some(mapped) = self.space.lookup(page) {
            return if write && !mapped.access.write {
                self.make_writable(page, area, mapped)
            } else {
                // Present and good enough: another thread was faster, or the protection was
                // widened since. Mapped anew, for that takes effect on a shared frame too.
                self.kernel.machine.retain(mapped.frame);
                self.map_frame(page, mapped.frame, widened(area, mapped))
            };
        }
        match &area.backing {
            Backing::Anonymous => self.bring_in_zeroes(page, range, area),
            Backing::File { pages, offset, shared } => {
                let index = (offset + (page - range.start) as u64) / PAGE_SIZE as u64;
                // Where there are no page tables, nothing is protected, and a frame has one address:
                // what is not to be written is a copy, and what is can be mapped once.
                let copied = !self.is_paged() && (!*shared || area.never_writable());
                let common = *shared && !copied;
                let frame = pages.page(by, index, write && common)?;
                if common {
                    self.map_frame(page, frame, area.access())
                } else if write || copied {
                    self.map_copy(page, frame, area.access())
                } else {
                    self.map_frame(page, frame, Access { write: false, ..area.access() })
                }
            }
        }
    }

    fn bring_in_zeroes(&self, page: usize, range: &Range<usize>, area: &Area) -> SysResult<()> {
        let frame = self.kernel.allocate_frame()?;
        self.map_frame(page, frame, area.access())?;
        // The neighbour below is there: memory is being walked upwards.
        let walking = page > range.start && self.space.lookup(page - PAGE_SIZE).is_some();
        if !walking || self.kernel.machine.counts().free < 64 * FAULT_AROUND {
            return Ok(());
        }
        for next in (1..FAULT_AROUND).map(|step| page + step * PAGE_SIZE) {
            if next >= range.end || self.space.lookup(next).is_some() {
                break;
            }
            let Ok(frame) = self.kernel.allocate_frame() else { break };
            self.map_frame(next, frame, area.access())?;
        }
        Ok(())
    }

    fn make_writable(&self, page: usize, area: &Area, mapped: Mapped) -> SysResult<()> {
        if area.is_shared() || self.kernel.machine.references(mapped.frame) == 1 {
            self.kernel.machine.retain(mapped.frame);
            return self.map_frame(page, mapped.frame, area.access());
        }
        self.kernel.machine.retain(mapped.frame);
        self.map_copy(page, mapped.frame, area.access())
    }

    /// Maps a copy of `frame`, whose reference is given up.
    fn map_copy(&self, page: usize, frame: Frame, access: Access) -> SysResult<()> {
        let copy = self.kernel.allocate_frame();
        if let Ok(copy) = copy {
            self.kernel.machine.duplicate(frame, copy);
        }
        self.kernel.machine.release(frame);
        self.map_frame(page, copy?, access)
    }

    fn map_frame(&self, page: usize, frame: Frame, access: Access) -> SysResult<()> {
        self.space.map(page, frame, access).inspect_err(|_| self.kernel.machine.release(frame))?;
        Ok(())
    }

    /// Maps a frame whose reference is given up, at an address inside an area.
    pub(crate) fn install(
        &self,
        page: usize,
        frame: Frame,
        protection: Protection,
    ) -> SysResult<()> {
        let access = Access {
            read: !protection.is_empty(),
            write: protection.contains(Protection::WRITE),
            execute: protection.contains(Protection::EXECUTE),
            shared: false,
        };
        self.map_frame(page, frame, access)
    }

    /// Makes all pages of a range present, for flat spaces and `MAP_POPULATE`.
    pub(crate) fn populate(&self, by: &Thread, range: Range<usize>) -> SysResult<()> {
        for page in range.step_by(PAGE_SIZE) {
            let Some((area_range, area)) = self.area_at(by, page) else { continue };
            // What nobody may touch needs no page, unless its protection cannot change.
            let wanted = !area.protection.is_empty() || !self.is_paged();
            if wanted && self.space.lookup(page).is_none() && self.can_map(page) {
                // A flat machine protects nothing: no program may get at a page of the cache.
                let write = area.protection.contains(Protection::WRITE) || !self.is_paged();
                self.bring_in(by, page, &area_range, &area, write)?;
            }
        }
        Ok(())
    }
}

fn allows(protection: Protection, attempt: Attempt) -> bool {
    if attempt.fetch {
        protection.contains(Protection::EXECUTE)
    } else if attempt.write {
        protection.contains(Protection::WRITE)
    } else {
        !protection.is_empty()
    }
}

/// The area's access for a page that is present, without a right to write it does not have yet.
fn widened(area: &Area, mapped: Mapped) -> Access {
    Access { write: mapped.access.write && area.access().write, ..area.access() }
}
