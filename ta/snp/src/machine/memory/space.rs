// SPDX-License-Identifier: MIT
//! Address spaces: four levels of page tables, made on demand.
//!
//! An entry that holds a frame has [`HELD`] set; whether it is present depends on the access that
//! was asked for. The tables belong to the space and are reached under its lock only. The processor
//! reads them whenever the space is loaded, hence the flushes.

use super::frames::{self, Books, frame_at, physical};
use super::image;
use super::table::{
    ACCESSED, DIRTY, ENTRIES, HELD, Level, NO_EXECUTE, PAGE, PRESENT, SHARED, Table, USER, WRITABLE,
    address,
};
use super::user::{self, USER_END, reach};
use crate::machine::cpu::Cpu;
use crate::machine::cpu::context::PagedContext;
use crate::machine::memory::heap;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;
use spin::Mutex;
use strongroom_south::{
    Access, Context, Fault, Frame, Mapped, OutOfMemory, PAGE_SIZE, Space,
};

/// Flags of the entries above the last level.
const ON_THE_WAY: u64 = PRESENT | WRITABLE | USER;
/// Pages after which one flush of everything is cheaper than one a page.
const SINGLE_FLUSHES_MAX: usize = 16;

/// An address space of a guest.
#[derive(Debug)]
pub(crate) struct PagedSpace {
    root: Table,
    resident: Mutex<usize>,
}

impl PagedSpace {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        let page = frames::guest_table().ok_or(OutOfMemory)?;
        // SAFETY: a zeroed page of our own, given back in `drop`.
        let root = unsafe { Table::at(page) };
        image::share_kernel_half(root);
        Ok(Self { root, resident: Mutex::new(0) })
    }

    /// The root table's physical address.
    #[inline]
    pub(crate) const fn root(&self) -> u64 {
        self.root.physical()
    }

    /// Makes this the space that user addresses mean.
    #[inline]
    fn load(&self) {
        Cpu::current().load_root(self.root());
    }

    /// Makes the processor forget what it knows of changed pages.
    fn flush(&self, range: &Range<usize>) {
        let cpu = Cpu::current();
        if cpu.loaded_root() != self.root() {
            return;
        }
        let pages = range.end.saturating_sub(range.start).div_ceil(PAGE_SIZE);
        if pages > SINGLE_FLUSHES_MAX {
            cpu.flush_all();
        } else {
            for page in 0..pages {
                cpu.flush(range.start.wrapping_add(page.wrapping_mul(PAGE_SIZE)));
            }
        }
    }

    /// Calls `change` with every last table in the range, the entries of it that are in the range,
    /// and the address of the first one. Skips what has no table.
    fn for_tables(&self, range: Range<usize>, mut change: impl FnMut(Table, Range<usize>, usize)) {
        let end = range.end.min(USER_END) as u64;
        let mut at = range.start as u64;
        while at < end {
            let (table, span) = self.table_or_gap(at);
            let behind = (at | span.wrapping_sub(1)).wrapping_add(1).min(end);
            if let Some(table) = table {
                let first = Level::Page.index(at);
                let count = behind.wrapping_sub(at).div_ceil(PAGE) as usize;
                change(table, first..first.wrapping_add(count), at as usize);
            }
            at = behind;
        }
    }

    /// The last table for an address, or how far there is surely none.
    fn table_or_gap(&self, at: u64) -> (Option<Table>, u64) {
        let Some(pointers) = self.root.child(Level::Root.index(at)) else {
            return (None, Level::Root.span());
        };
        let Some(directory) = pointers.child(Level::Pointers.index(at)) else {
            return (None, Level::Pointers.span());
        };
        (directory.child(Level::Directory.index(at)), Level::Directory.span())
    }

    /// The last table for an address, made if need be.
    fn table_for(&self, at: usize) -> Result<Table, OutOfMemory> {
        self.root
            .make(at as u64, Level::Page, ON_THE_WAY, &mut frames::guest_table)
            .ok_or(OutOfMemory)
    }

    /// Copies one last table to a child: pages that are not shared lose their write access in both.
    fn fork_table(&self, from: Table, to: Table) {
        let mut books = Books::open();
        for index in 0..ENTRIES {
            let entry = from.get(index);
            if entry & HELD == 0 {
                continue;
            }
            books.table().retain(frame_at(address(entry)));
            let kept = if entry & (SHARED | WRITABLE) == WRITABLE {
                from.set(index, entry & !WRITABLE);
                entry & !(WRITABLE | DIRTY)
            } else {
                entry
            };
            to.set(index, kept);
        }
    }
}

/// The entry for a frame with an access.
fn entry_for(frame: Frame, access: Access) -> u64 {
    physical(frame) | HELD | rights(access)
}

fn rights(access: Access) -> u64 {
    let mut flags = if access.shared { SHARED } else { 0 };
    if access.read || access.write || access.execute {
        flags |= PRESENT | USER | ACCESSED;
        flags |= if access.write { WRITABLE } else { 0 };
        flags |= if access.execute { 0 } else { NO_EXECUTE };
    }
    flags
}

const fn access_of(entry: u64) -> Access {
    let present = entry & PRESENT != 0;
    Access {
        read: present,
        write: present && entry & WRITABLE != 0,
        execute: present && entry & NO_EXECUTE == 0,
        shared: entry & SHARED != 0,
    }
}

/// What is left of the rights of `entry` when `access` is all that is allowed.
fn narrowed(entry: u64, access: Access) -> Access {
    let now = access_of(entry);
    Access {
        read: now.read && access.read,
        write: now.write && access.write,
        execute: now.execute && access.execute,
        shared: access.shared,
    }
}

impl Space for PagedSpace {
    fn user_end(&self) -> usize {
        USER_END
    }

    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>, OutOfMemory> {
        Ok(heap::try_box(PagedContext::new(self))?)
    }

    fn fork(&self) -> Result<Arc<dyn Space>, OutOfMemory> {
        let child = heap::try_arc(Self::new()?)?;
        let resident = self.resident.lock();
        let mut result = Ok(());
        self.for_tables(0..USER_END, |from, _, at| {
            if result.is_ok() {
                result = child.table_for(at).map(|to| self.fork_table(from, to));
            }
        });
        self.flush(&(0..USER_END));
        result?;
        *child.resident.lock() = *resident;
        Ok(child)
    }

    fn map(&self, at: usize, frame: Frame, access: Access) -> Result<(), OutOfMemory> {
        if at >= USER_END {
            return Err(OutOfMemory);
        }
        let mut resident = self.resident.lock();
        let table = self.table_for(at)?;
        let index = Level::Page.index(at as u64);
        let before = table.get(index);
        let mut books = Books::open();
        // The guest may look at all of it: what is nobody's yet becomes zero now.
        books.contents(frame);
        table.set(index, entry_for(frame, access));
        if before & HELD == 0 {
            *resident = resident.wrapping_add(1);
            return Ok(());
        }
        self.flush(&(at..at.wrapping_add(1)));
        books.table().release(frame_at(address(before)));
        Ok(())
    }

    fn unmap(&self, range: Range<usize>) {
        let mut resident = self.resident.lock();
        let mut books = Books::open();
        let mut unmapped = 0_usize;
        self.for_tables(range.clone(), |table, entries, _| {
            for index in entries {
                let entry = table.get(index);
                if entry & HELD != 0 {
                    table.set(index, 0);
                    books.table().release(frame_at(address(entry)));
                    unmapped = unmapped.wrapping_add(1);
                }
            }
        });
        *resident = resident.saturating_sub(unmapped);
        // Nothing else runs between the release of the frames and the flush: one processor, and
        // interrupts are off. Several processors have to flush first.
        if unmapped > 0 {
            self.flush(&range);
        }
    }

    fn protect(&self, range: Range<usize>, access: Access) {
        let _resident = self.resident.lock();
        let mut books = Books::open();
        let mut changed = false;
        self.for_tables(range.clone(), |table, entries, _| {
            for index in entries {
                let entry = table.get(index);
                if entry & HELD == 0 {
                    continue;
                }
                let frame = frame_at(address(entry));
                let alone = books.table().references(frame) == 1;
                let effective = if alone { access } else { narrowed(entry, access) };
                let next = entry_for(frame, effective) | entry & DIRTY;
                changed |= next != entry;
                table.set(index, next);
            }
        });
        if changed {
            self.flush(&range);
        }
    }

    fn relocate(&self, from: Range<usize>, to: usize) -> Result<(), OutOfMemory> {
        let length = from.end.saturating_sub(from.start);
        let inside = to.checked_add(length).is_some_and(|end| end <= USER_END);
        if !inside || from.end > USER_END {
            return Err(OutOfMemory);
        }
        let _resident = self.resident.lock();
        let mut result = Ok(());
        self.for_tables(from.clone(), |table, entries, first| {
            for (number, index) in entries.enumerate() {
                let entry = table.get(index);
                if entry & HELD == 0 || result.is_err() {
                    continue;
                }
                let offset = first.wrapping_add(number.wrapping_mul(PAGE_SIZE)) & !(PAGE_SIZE - 1);
                let target = to.wrapping_add(offset.wrapping_sub(from.start));
                result = self.table_for(target).map(|new_table| {
                    table.set(index, 0);
                    new_table.set(Level::Page.index(target as u64), entry);
                });
            }
        });
        self.flush(&from);
        result
    }

    fn lookup(&self, at: usize) -> Option<Mapped> {
        if at >= USER_END {
            return None;
        }
        let _resident = self.resident.lock();
        let entry = self.root.find(at as u64)?.get(Level::Page.index(at as u64));
        (entry & HELD != 0).then(|| Mapped {
            frame: frame_at(address(entry)),
            access: access_of(entry),
            dirty: entry & DIRTY != 0,
        })
    }

    fn resident(&self) -> usize {
        *self.resident.lock()
    }

    fn copy_in(&self, from: usize, to: &mut [u8]) -> Result<(), Fault> {
        self.load();
        let range = reach(from, to.len(), false);
        // SAFETY: the target is a whole slice of at least as many bytes.
        range.outcome(unsafe { range.copy_in(to.as_mut_ptr()) })
    }

    fn copy_out(&self, to: usize, from: &[u8]) -> Result<(), Fault> {
        self.load();
        let range = reach(to, from.len(), true);
        // SAFETY: the source is a whole slice of at least as many bytes.
        range.outcome(unsafe { range.copy_out(from.as_ptr()) })
    }

    fn zero(&self, to: usize, length: usize) -> Result<(), Fault> {
        self.load();
        let range = reach(to, length, true);
        range.outcome(range.zero())
    }

    fn copy_out_frame(
        &self,
        to: usize,
        frame: Frame,
        offset: usize,
        length: usize,
    ) -> Result<(), Fault> {
        if !in_frame(offset, length) {
            return Err(Fault { address: to, write: true });
        }
        self.load();
        let range = reach(to, length, true);
        let contents = Books::open().contents(frame).wrapping_add(offset);
        // SAFETY: offset and length lie within the frame. The target may be the same frame: the
        // copy then moves bytes onto themselves or onto their neighbours, all of them plain data.
        range.outcome(unsafe { range.copy_out(contents) })
    }

    fn copy_in_frame(
        &self,
        from: usize,
        frame: Frame,
        offset: usize,
        length: usize,
    ) -> Result<(), Fault> {
        if !in_frame(offset, length) {
            return Err(Fault { address: from, write: false });
        }
        self.load();
        let range = reach(from, length, false);
        let mut books = Books::open();
        if length < PAGE_SIZE {
            let contents = books.contents(frame).wrapping_add(offset);
            // SAFETY: offset and length lie within the frame, which holds no Rust object.
            return range.outcome(unsafe { range.copy_in(contents) });
        }
        let (contents, stale) = books.overwritten(frame);
        // SAFETY: the range is a page at most and the frame is one.
        let left = unsafe { range.copy_in(contents) };
        let missing = left.saturating_add(PAGE_SIZE.saturating_sub(range.within()));
        if stale && missing > 0 {
            let rest = contents.wrapping_add(PAGE_SIZE.saturating_sub(missing));
            // SAFETY: the last `missing` bytes of the frame; nobody has seen what is in them.
            unsafe { core::ptr::write_bytes(rest, 0, missing) };
        }
        range.outcome(left)
    }

    fn load_u32(&self, from: usize) -> Result<u32, Fault> {
        self.load();
        user::load(from)
    }

    fn compare_exchange_u32(&self, at: usize, old: u32, new: u32) -> Result<u32, Fault> {
        self.load();
        user::compare_exchange(at, old, new)
    }
}

const fn in_frame(offset: usize, length: usize) -> bool {
    match offset.checked_add(length) {
        Some(end) => end <= PAGE_SIZE,
        None => false,
    }
}

impl Drop for PagedSpace {
    fn drop(&mut self) {
        Cpu::current().leave_root(self.root());
        let mut books = Books::open();
        for_children(self.root, ENTRIES / 2, |pointers| {
            for_children(pointers, ENTRIES, |directory| {
                for_children(directory, ENTRIES, |table| {
                    for index in 0..ENTRIES {
                        let entry = table.get(index);
                        if entry & HELD != 0 {
                            books.table().release(frame_at(address(entry)));
                        }
                    }
                    books.table().release(frame_at(table.physical()));
                });
                books.table().release(frame_at(directory.physical()));
            });
            books.table().release(frame_at(pointers.physical()));
        });
        books.table().release(frame_at(self.root()));
    }
}

fn for_children(table: Table, entries: usize, mut visit: impl FnMut(Table)) {
    for index in 0..entries {
        if let Some(child) = table.child(index) {
            visit(child);
        }
    }
}
