// SPDX-License-Identifier: MIT
//! The address space: one, flat, and shared with the library OS.

use super::context::FlatContext;
use super::memory::{Memory, PLACED_FRAME, Window, with};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;
use strongroom_south::{Access, Context, Fault, Frame, Mapped, OutOfMemory, PAGE_SIZE, Space};

/// The space. Its pages are in [`super::memory`].
#[derive(Debug)]
pub(super) struct FlatSpace;

/// Objects' variables: nothing protects them from anybody.
const ALL: Access = Access { read: true, write: true, execute: true, shared: false };
/// Text and constants of an object.
const CONSTANT: Access = Access { read: true, write: false, execute: true, shared: false };

/// The window around a range, where it is in one piece: most are.
#[inline(always)]
fn whole(memory: &Memory, start: usize, length: usize, write: bool) -> Option<Window> {
    let (window, end) = memory.reach(start, write)?;
    (length > 0 && end.checked_sub(start)? >= length).then_some(window)
}

/// Calls `each` with window, address and length of every piece of a range.
fn walk(
    memory: &Memory,
    start: usize,
    length: usize,
    write: bool,
    mut each: impl FnMut(Window, usize, Range<usize>),
) -> Result<(), Fault> {
    let mut done = 0_usize;
    while done < length {
        let fault = |address| Fault { address, write };
        let address = start.checked_add(done).ok_or(fault(start))?;
        let (window, end) = memory.reach(address, write).ok_or(fault(address))?;
        let step = end.saturating_sub(address).min(length.saturating_sub(done));
        each(window, address, done..done.saturating_add(step));
        done = done.saturating_add(step);
    }
    Ok(())
}

/// Apart, so that a copy in one piece does not save the registers that this takes.
#[inline(never)]
fn read_pieces(memory: &Memory, from: usize, to: &mut [u8]) -> Result<(), Fault> {
    walk(memory, from, to.len(), false, |window, address, piece| {
        memory.read(window, address, to.get_mut(piece).unwrap_or_default());
    })
}

/// Apart, as above.
#[inline(never)]
fn write_pieces(memory: &Memory, to: usize, from: &[u8]) -> Result<(), Fault> {
    walk(memory, to, from.len(), true, |window, address, piece| {
        memory.write(window, address, from.get(piece).unwrap_or_default());
    })
}

fn absent(address: usize, write: bool) -> Result<(), Fault> {
    Err(Fault { address, write })
}

/// Whole pages of a range, those in `parts` only.
fn pages(range: &Range<usize>, parts: &[Range<usize>]) -> impl Iterator<Item = usize> {
    parts.iter().flat_map(move |part| {
        let start = range.start.max(part.start);
        let end = range.end.min(part.end).max(start);
        (start & !PAGE_SIZE.wrapping_sub(1)..end).step_by(PAGE_SIZE)
    })
}

impl Space for FlatSpace {
    fn user_end(&self) -> usize {
        with(0, |memory| memory.end)
    }

    fn mappable(&self) -> Range<usize> {
        with(0..0, |memory| memory.arena.range())
    }

    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>, OutOfMemory> {
        Ok(Box::new(FlatContext::new()))
    }

    fn fork(&self) -> Result<Arc<dyn Space>, OutOfMemory> {
        Err(OutOfMemory)
    }

    fn map(&self, address: usize, frame: Frame, access: Access) -> Result<(), OutOfMemory> {
        with(Err(OutOfMemory), |memory| {
            let mut arena = memory.arena;
            if let Some(page) = arena.page(address) {
                return memory.books.map(page, frame, access, &mut arena).map_err(|_| OutOfMemory);
            }
            if frame == PLACED_FRAME && memory.is_placed(address) {
                return Ok(());
            }
            if !memory.fill_placed(address, frame) {
                return Err(OutOfMemory);
            }
            memory.books.release(frame);
            Ok(())
        })
    }

    fn unmap(&self, range: Range<usize>) {
        with((), |memory| {
            let parts = memory.ranges();
            for address in pages(&range, &parts) {
                match memory.arena.page(address) {
                    Some(page) => memory.books.unmap(page),
                    None => memory.forget_placed(address),
                }
            }
        });
    }

    /// Of the arena's pages. The program may do what it likes all the same; what the kernel does in
    /// its name fails as on Linux.
    fn protect(&self, range: Range<usize>, access: Access) {
        with((), |memory| {
            for address in pages(&range, &[memory.arena.range()]) {
                memory.arena.page(address).into_iter().for_each(|page| {
                    memory.books.protect(page, access);
                });
            }
        });
    }

    fn relocate(&self, from: Range<usize>, to: usize) -> Result<(), OutOfMemory> {
        with(Err(OutOfMemory), |memory| {
            let mut arena = memory.arena;
            for address in from.clone().step_by(PAGE_SIZE) {
                let target = to.wrapping_add(address.wrapping_sub(from.start));
                let (Some(page), Some(target)) = (arena.page(address), arena.page(target)) else {
                    return Err(OutOfMemory);
                };
                memory.books.relocate(page, target, &mut arena).map_err(|_| OutOfMemory)?;
            }
            Ok(())
        })
    }

    fn lookup(&self, address: usize) -> Option<Mapped> {
        with(None, |memory| {
            if let Some(page) = memory.arena.page(address) {
                let (frame, access) = memory.books.mapping_at(page)?;
                return Some(Mapped { frame, access, dirty: true });
            }
            if memory.is_placed(address) {
                return Some(Mapped { frame: PLACED_FRAME, access: ALL, dirty: true });
            }
            let constant = memory.is_constant(address);
            constant.then_some(Mapped { frame: PLACED_FRAME, access: CONSTANT, dirty: false })
        })
    }

    fn resident(&self) -> usize {
        with(0, |memory| memory.books.resident())
    }

    fn copy_in(&self, from: usize, to: &mut [u8]) -> Result<(), Fault> {
        with(absent(from, false), |memory| {
            if let Some(window) = whole(memory, from, to.len(), false) {
                memory.read(window, from, to);
                return Ok(());
            }
            read_pieces(memory, from, to)
        })
    }

    fn copy_out(&self, to: usize, from: &[u8]) -> Result<(), Fault> {
        with(absent(to, true), |memory| {
            if let Some(window) = whole(memory, to, from.len(), true) {
                memory.write(window, to, from);
                return Ok(());
            }
            write_pieces(memory, to, from)
        })
    }

    fn zero(&self, to: usize, length: usize) -> Result<(), Fault> {
        with(absent(to, true), |memory| {
            walk(memory, to, length, true, |window, address, piece| {
                memory.clear(window, address, piece.len());
            })
        })
    }

    fn copy_out_frame(
        &self,
        to: usize,
        frame: Frame,
        offset: usize,
        length: usize,
    ) -> Result<(), Fault> {
        if offset.checked_add(length).is_none_or(|end| end > PAGE_SIZE) {
            return absent(to, true);
        }
        let mut bytes = [0; PAGE_SIZE];
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        with((), |memory| memory.read_frame(frame, offset, bytes));
        self.copy_out(to, bytes)
    }

    fn copy_in_frame(
        &self,
        from: usize,
        frame: Frame,
        offset: usize,
        length: usize,
    ) -> Result<(), Fault> {
        if offset.checked_add(length).is_none_or(|end| end > PAGE_SIZE) {
            return absent(from, false);
        }
        let mut bytes = [0; PAGE_SIZE];
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        self.copy_in(from, bytes)?;
        with((), |memory| memory.write_frame(frame, offset, bytes));
        Ok(())
    }

    fn load_u32(&self, from: usize) -> Result<u32, Fault> {
        if !from.is_multiple_of(4) {
            return Err(Fault { address: from, write: false });
        }
        let mut bytes = [0; 4];
        self.copy_in(from, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// One thread runs, and not while the kernel does: nothing can come in between.
    fn compare_exchange_u32(&self, at: usize, old: u32, new: u32) -> Result<u32, Fault> {
        let writing = |fault: Fault| Fault { write: true, ..fault };
        let held = self.load_u32(at).map_err(writing)?;
        if held == old {
            self.copy_out(at, &new.to_le_bytes())?;
        }
        Ok(held)
    }
}
