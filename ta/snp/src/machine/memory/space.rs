// SPDX-License-Identifier: MIT
//! Address spaces: four levels of page tables, made on demand.
//!
//! An entry that holds a frame has [`HELD`] set; whether it is present depends on the access that
//! was asked for. The tables belong to the space and are reached under its lock only. The processor
//! reads them whenever the space is loaded, hence the flushes.

use super::frames::{Books, frame_at, physical};
use super::heap;
use super::table::{
    ACCESSED, DIRTY, HELD, NO_EXECUTE, PRESENT, SHARED, USER, WRITABLE, address, private,
};
use super::tree::Tree;
use super::user::{self, USER_END, reach};
use crate::machine::cpu::Cpu;
use crate::machine::cpu::context::PagedContext;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;
use spin::Mutex;
use strongroom_south::{Access, Context, Fault, Frame, Mapped, OutOfMemory, PAGE_SIZE, Space};

/// Pages after which one flush of everything is cheaper than one a page.
const SINGLE_FLUSHES_MAX: usize = 16;

/// An address space of a guest.
#[derive(Debug)]
pub(crate) struct PagedSpace {
    /// Physical address of the root table.
    root: u64,
    tree: Mutex<Tree>,
}

impl PagedSpace {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        let tree = Tree::new()?;
        Ok(Self { root: tree.root().physical(), tree: Mutex::new(tree) })
    }

    /// The root table's physical address.
    #[inline]
    pub(crate) const fn root(&self) -> u64 {
        self.root
    }

    /// Makes this the space that user addresses mean.
    #[inline]
    fn load(&self) {
        Cpu::current().load_root(self.root);
    }

    /// Makes the processor forget what it knows of changed pages.
    fn flush(&self, range: &Range<usize>) {
        let cpu = Cpu::current();
        if cpu.loaded_root() != self.root {
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
}

/// The entry for a frame with an access.
fn entry_for(frame: Frame, access: Access) -> u64 {
    private(physical(frame)) | HELD | rights(access)
}

const fn rights(access: Access) -> u64 {
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
        let mut tree = self.tree.lock();
        let mut copy = child.tree.lock();
        let mut copied = 0_usize;
        let mut result = Ok(());
        for from in tree.leaves(&(0..USER_END)) {
            let to = match copy.leaf(from.base()) {
                Ok(to) => to,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            // Not earlier: making the leaf takes frames.
            let mut books = Books::open();
            let table = books.table();
            from.update(&(0..USER_END), |at, entry| {
                table.retain(frame_at(address(entry)));
                copied = copied.wrapping_add(1);
                let copied = entry & (SHARED | WRITABLE) == WRITABLE;
                let kept = if copied { entry & !WRITABLE } else { entry };
                to.set(at, if copied { kept & !DIRTY } else { kept });
                kept
            });
        }
        copy.resident = copied;
        self.flush(&(0..USER_END));
        drop(copy);
        result?;
        Ok(child)
    }

    fn map(&self, at: usize, frame: Frame, access: Access) -> Result<(), OutOfMemory> {
        let mut tree = self.tree.lock();
        let leaf = tree.leaf(at)?;
        let before = leaf.get(at);
        let mut books = Books::open();
        // The guest may look at all of it: what is nobody's yet becomes zero now.
        books.contents(frame);
        leaf.set(at, entry_for(frame, access));
        if before & HELD == 0 {
            tree.resident = tree.resident.wrapping_add(1);
            return Ok(());
        }
        self.flush(&(at..at.wrapping_add(1)));
        books.table().release(frame_at(address(before)));
        Ok(())
    }

    fn unmap(&self, range: Range<usize>) {
        let range = range.start..range.end.min(USER_END);
        let mut tree = self.tree.lock();
        let mut books = Books::open();
        let table = books.table();
        let mut unmapped = 0_usize;
        for leaf in tree.leaves(&range) {
            leaf.update(&range, |_, entry| {
                table.release(frame_at(address(entry)));
                unmapped = unmapped.wrapping_add(1);
                0
            });
        }
        drop(books);
        tree.resident = tree.resident.saturating_sub(unmapped);
        // Nothing else runs between the release of the frames and the flush: one processor, and
        // interrupts are off. Several processors have to flush first.
        if range.end.saturating_sub(range.start) > PAGE_SIZE && tree.prune(&range) {
            self.flush(&(0..USER_END));
        } else if unmapped > 0 {
            self.flush(&range);
        }
    }

    fn protect(&self, range: Range<usize>, access: Access) {
        let range = range.start..range.end.min(USER_END);
        let mut tree = self.tree.lock();
        let mut books = Books::open();
        let table = books.table();
        let mut changed = false;
        for leaf in tree.leaves(&range) {
            leaf.update(&range, |_, entry| {
                let frame = frame_at(address(entry));
                let alone = table.references(frame) == 1;
                let effective = if alone { access } else { narrowed(entry, access) };
                let next = entry_for(frame, effective) | entry & DIRTY;
                changed |= next != entry;
                next
            });
        }
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
        let mut tree = self.tree.lock();
        let mut result = Ok(());
        let mut offset = 0;
        while offset < length {
            let source = from.start.wrapping_add(offset);
            // A range may be far larger than what is there: over to the next leaf.
            let Some(base) = tree.leaves(&(source..from.end)).next().map(|leaf| leaf.base()) else {
                break;
            };
            if base > source {
                offset = base.wrapping_sub(from.start);
                continue;
            }
            let here = offset;
            offset = offset.wrapping_add(PAGE_SIZE);
            let entry = tree.entry(source);
            if entry & HELD == 0 {
                continue;
            }
            let target = to.wrapping_add(here);
            result = tree.leaf(target).map(|leaf| leaf.set(target, entry));
            if result.is_err() {
                break;
            }
            // It exists: the entry came from it.
            if let Ok(leaf) = tree.leaf(source) {
                leaf.set(source, 0);
            }
        }
        self.flush(&from);
        result
    }

    fn lookup(&self, at: usize) -> Option<Mapped> {
        let entry = self.tree.lock().entry(at);
        (entry & HELD != 0).then(|| Mapped {
            frame: frame_at(address(entry)),
            access: access_of(entry),
            dirty: entry & DIRTY != 0,
        })
    }

    fn resident(&self) -> usize {
        self.tree.lock().resident
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
        Cpu::current().leave_root(self.root);
        let mut books = Books::open();
        let table = books.table();
        for leaf in self.tree.get_mut().leaves(&(0..USER_END)) {
            leaf.update(&(0..USER_END), |_, entry| {
                table.release(frame_at(address(entry)));
                0
            });
        }
    }
}
