// SPDX-License-Identifier: MIT
//! The books of the memory that program and page cache share.
//!
//! There are no page tables to be had: a page of memory has one address for ever. The kernel thinks
//! in frames that it maps where it likes. So a frame is a number here, and the page that holds its
//! bytes may change: mapping a frame at an address moves its bytes to the page there, and whatever
//! frame had that page moves out of the way. A frame that was never written has no page at all; it
//! is zeroes that are promised one.

use alloc::vec::Vec;
use strongroom_south::{Access, Frame, FrameCounts};

/// No frame, or no page.
const NONE: u32 = u32::MAX;

/// Memory that bytes are moved in, by page number.
pub trait Pages {
    /// Copies a page.
    fn copy(&mut self, from: u32, to: u32);
    /// Exchanges two pages.
    fn exchange(&mut self, one: u32, other: u32);
    /// Fills a page with zeroes.
    fn zero(&mut self, page: u32);
}

#[derive(Clone, Copy)]
struct Held {
    references: u32,
    /// The page with its bytes; [`NONE`] while it is all zeroes.
    page: u32,
    /// Whether it is mapped at its page's address.
    mapped: bool,
}

/// A page of memory.
#[derive(Clone, Copy)]
struct Place {
    /// The frame that has it.
    owner: u32,
    /// What the program said it would do there, while something is mapped.
    access: Access,
    /// Whether it was never used, and so is all zeroes.
    unused: bool,
    /// Whether it is on the list of free pages.
    listed: bool,
}

/// See the module's text.
pub struct Books {
    /// By page.
    places: Vec<Place>,
    /// Pages that may be free; those with an owner are skipped.
    free_pages: Vec<u32>,
    /// By frame. References of 0: nobody holds it.
    frames: Vec<Held>,
    free_frames: Vec<u32>,
    held: usize,
}

/// There is no frame of that number, or it is mapped elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Books {
    /// Books of `count` pages, which are all zeroes. None when there is no memory for them, or too
    /// many pages.
    pub fn new(count: usize) -> Option<Self> {
        let end = u32::try_from(count).ok().filter(|count| *count < NONE)?;
        let place = Place { owner: NONE, access: Access::default(), unused: true, listed: true };
        let mut books = Self {
            places: filled(place, count)?,
            free_pages: Vec::new(),
            frames: filled(Held { references: 0, page: NONE, mapped: false }, count)?,
            free_frames: Vec::new(),
            held: 0,
        };
        books.free_pages.try_reserve_exact(count).ok()?;
        // The last is taken first: from the middle up, where programs map last.
        let middle = end / 2;
        books.free_pages.extend((0..middle).chain((middle..end).rev()));
        books.free_frames.try_reserve_exact(count).ok()?;
        books.free_frames.extend((0..end).rev());
        Some(books)
    }

    /// A frame of zeroes with one reference.
    pub fn allocate(&mut self) -> Option<Frame> {
        let number = self.free_frames.pop()?;
        *self.slot(number)? = Held { references: 1, page: NONE, mapped: false };
        self.held = self.held.saturating_add(1);
        Some(Frame(number))
    }

    /// Adds a reference to a frame that somebody holds.
    pub fn retain(&mut self, frame: Frame) {
        if let Some(held) = self.held(frame) {
            held.references = held.references.saturating_add(1);
        }
    }

    /// Drops a reference; the last one frees frame and page.
    pub fn release(&mut self, frame: Frame) {
        let Some(held) = self.held(frame) else { return };
        held.references = held.references.saturating_sub(1);
        if held.references > 0 {
            return;
        }
        let page = held.page;
        held.mapped = false;
        held.page = NONE;
        self.give_page(page);
        self.free_frames.push(frame.0);
        self.held = self.held.saturating_sub(1);
    }

    /// References held at this moment.
    pub fn references(&self, frame: Frame) -> u32 {
        self.peek(frame).map_or(0, |held| held.references)
    }

    /// The page with a frame's bytes; none while they are all zero.
    pub fn page_of(&self, frame: Frame) -> Option<u32> {
        self.peek(frame).map(|held| held.page).filter(|page| *page != NONE)
    }

    /// The page with a frame's bytes, given to it now if it had none.
    pub fn back(&mut self, frame: Frame, pages: &mut dyn Pages) -> Option<u32> {
        let held = *self.peek(frame)?;
        if held.page != NONE {
            return Some(held.page);
        }
        let page = self.free_page()?;
        self.wipe(page, pages);
        self.assign(frame.0, page);
        Some(page)
    }

    /// Maps a frame at the address of a page and takes over one reference; a frame that was mapped
    /// there loses the reference that the mapping had.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the frame is mapped elsewhere, or not held, or there is no such page.
    pub fn map(
        &mut self,
        page: u32,
        frame: Frame,
        access: Access,
        pages: &mut dyn Pages,
    ) -> Result<(), Refused> {
        self.bring(page, frame, pages)?;
        self.protect(page, access);
        Ok(())
    }

    /// Changes what is to be done at the address of a page. Nothing keeps the program to it: it is
    /// what the kernel may do there for the program.
    pub fn protect(&mut self, page: u32, access: Access) {
        if let Some(place) = self.place_mut(page) {
            place.access = access;
        }
    }

    fn bring(&mut self, page: u32, frame: Frame, pages: &mut dyn Pages) -> Result<(), Refused> {
        let held = *self.peek(frame).ok_or(Refused)?;
        let owner = self.place(page).ok_or(Refused)?.owner;
        if owner == frame.0 {
            if held.mapped {
                // The mapping has a reference already.
                self.release(frame);
            } else if let Some(held) = self.held(frame) {
                held.mapped = true;
            }
            return Ok(());
        }
        if held.mapped {
            return Err(Refused);
        }
        self.unmap(page);
        self.settle(page, frame.0, held.page, pages)?;
        if let Some(held) = self.held(frame) {
            held.mapped = true;
        }
        Ok(())
    }

    /// Brings a frame's bytes to a page, and who has that page out of the way.
    fn settle(
        &mut self,
        page: u32,
        frame: u32,
        from: u32,
        pages: &mut dyn Pages,
    ) -> Result<(), Refused> {
        // What still holds the page after the unmapping holds it unmapped.
        let owner = self.place(page).ok_or(Refused)?.owner;
        match (owner, from) {
            (NONE, NONE) => self.wipe(page, pages),
            (NONE, from) => {
                pages.copy(from, page);
                self.take_page(from);
                self.list(from);
            }
            (owner, NONE) => {
                // The frame was promised a page, so one is free.
                let refuge = self.free_page().ok_or(Refused)?;
                pages.copy(page, refuge);
                self.assign(owner, refuge);
                pages.zero(page);
            }
            (owner, from) => {
                pages.exchange(from, page);
                self.assign(owner, from);
            }
        }
        self.assign(frame, page);
        Ok(())
    }

    /// Unmaps what is mapped at the address of a page.
    pub fn unmap(&mut self, page: u32) {
        if let Some(frame) = self.mapped_at(page) {
            if let Some(held) = self.held(frame) {
                held.mapped = false;
            }
            self.release(frame);
        }
    }

    /// Moves the mapping of a page to another that nothing is mapped at.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is no such page.
    pub fn relocate(&mut self, from: u32, to: u32, pages: &mut dyn Pages) -> Result<(), Refused> {
        let Some((frame, access)) = self.mapping_at(from) else { return Ok(()) };
        if let Some(held) = self.held(frame) {
            held.mapped = false;
        }
        self.map(to, frame, access, pages)
    }

    /// The frame that is mapped at the address of a page, and what is to be done there.
    pub fn mapping_at(&self, page: u32) -> Option<(Frame, Access)> {
        let place = self.place(page)?;
        let frame = Frame(place.owner);
        self.peek(frame)?.mapped.then_some((frame, place.access))
    }

    /// The frame that is mapped at the address of a page.
    pub fn mapped_at(&self, page: u32) -> Option<Frame> {
        self.mapping_at(page).map(|(frame, _)| frame)
    }

    /// Pages, and those that nobody holds or was promised.
    pub fn counts(&self) -> FrameCounts {
        let total = self.places.len();
        FrameCounts { total, free: total.saturating_sub(self.held) }
    }

    /// Pages with a mapping.
    pub fn resident(&self) -> usize {
        self.frames.iter().filter(|held| held.references > 0 && held.mapped).count()
    }

    fn slot(&mut self, number: u32) -> Option<&mut Held> {
        usize::try_from(number).ok().and_then(|number| self.frames.get_mut(number))
    }

    fn held(&mut self, frame: Frame) -> Option<&mut Held> {
        self.slot(frame.0).filter(|held| held.references > 0)
    }

    fn peek(&self, frame: Frame) -> Option<&Held> {
        let held = usize::try_from(frame.0).ok().and_then(|number| self.frames.get(number));
        held.filter(|held| held.references > 0)
    }

    fn place(&self, page: u32) -> Option<&Place> {
        usize::try_from(page).ok().and_then(|page| self.places.get(page))
    }

    fn place_mut(&mut self, page: u32) -> Option<&mut Place> {
        usize::try_from(page).ok().and_then(|page| self.places.get_mut(page))
    }

    /// Fills a page with zeroes, unless it is.
    fn wipe(&self, page: u32, pages: &mut dyn Pages) {
        if self.place(page).is_none_or(|place| !place.unused) {
            pages.zero(page);
        }
    }

    fn assign(&mut self, frame: u32, page: u32) {
        if let Some(place) = self.place_mut(page) {
            place.unused = false;
            place.owner = frame;
        }
        if let Some(held) = self.slot(frame) {
            held.page = page;
        }
    }

    /// Leaves a page without an owner, and not on the list.
    fn take_page(&mut self, page: u32) {
        if let Some(place) = self.place_mut(page) {
            place.owner = NONE;
        }
    }

    fn give_page(&mut self, page: u32) {
        if page != NONE {
            self.take_page(page);
            self.list(page);
        }
    }

    fn list(&mut self, page: u32) {
        if let Some(place) = self.place_mut(page).filter(|place| !place.listed) {
            place.listed = true;
            // Each page is on it once at most, so this never grows it.
            self.free_pages.push(page);
        }
    }

    fn free_page(&mut self) -> Option<u32> {
        loop {
            let page = self.free_pages.pop()?;
            let place = self.place_mut(page)?;
            place.listed = false;
            if place.owner == NONE {
                return Some(page);
            }
        }
    }
}

impl core::fmt::Debug for Books {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Books").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

fn filled<T: Copy>(value: T, count: usize) -> Option<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).ok()?;
    list.resize(count, value);
    Some(list)
}

#[cfg(test)]
mod tests;
