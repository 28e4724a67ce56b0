// SPDX-License-Identifier: MIT
//! Address spaces: a map from pages to frames.
//!
//! In the flat form every page that is mapped can be read, written and executed, whatever the
//! kernel asks for: such a machine has no protection to change.

use crate::machine::{Machine, lock};
use crate::processor::Processor;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use strongroom_south::{
    Access, Context, Exception, Fault, Form, Frame, LOWEST, Machine as _, Mapped, OutOfMemory,
    PAGE_SIZE, Space as SouthSpace, Trap,
};

/// End of user space in the paged form: 47 bits, less one page.
const PAGED_END: usize = 0x7fff_ffff_f000;
/// End of user space in the flat form: what a trusted application can have.
const FLAT_END: usize = 1 << 32;

/// What can be mapped on a machine that has placed objects.
const ARENA: Range<usize> = 0x1000_0000..0x2000_0000;

#[derive(Clone, Copy, Debug)]
struct Page {
    frame: Frame,
    access: Access,
    dirty: bool,
}

/// One address space.
#[derive(Debug)]
pub(crate) struct Space {
    machine: &'static Machine,
    form: Form,
    pages: Mutex<BTreeMap<usize, Page>>,
}

impl Space {
    pub(crate) fn new(machine: &'static Machine, form: Form) -> Self {
        let mut pages = BTreeMap::new();
        for (number, bytes) in &*lock(&machine.placed_pages) {
            let mut frames = lock(&machine.frames);
            let frame = frames.allocate().expect("a frame for a placed page");
            frames.write(frame, 0, bytes);
            let writable = machine.is_placed_writable(number * PAGE_SIZE);
            let access = Access { read: true, write: writable, execute: true, shared: false };
            pages.insert(*number, Page { frame, access, dirty: false });
        }
        Self { machine, form, pages: Mutex::new(pages) }
    }

    pub(crate) fn machine(&self) -> &'static Machine {
        self.machine
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// A load by the program. On a flat machine only what is not there stops it.
    pub(crate) fn load(&self, from: usize, to: &mut [u8]) -> Result<(), Fault> {
        self.walk(self.by_program(), from, to.len(), false, |frame, offset, piece| {
            lock(&self.machine.frames).read(frame, offset, &mut to[piece]);
        })
    }

    /// A store by the program.
    pub(crate) fn store(&self, to: usize, from: &[u8]) -> Result<(), Fault> {
        self.walk(self.by_program(), to, from.len(), true, |frame, offset, piece| {
            lock(&self.machine.frames).write(frame, offset, &from[piece]);
        })
    }

    fn by_program(&self) -> By {
        match self.form {
            Form::Paged => By::Rights,
            Form::Flat => By::Force,
        }
    }

    /// Calls `each` with frame, offset in the frame and length for all pieces of a range.
    fn walk(
        &self,
        by: By,
        start: usize,
        length: usize,
        write: bool,
        mut each: impl FnMut(Frame, usize, Range<usize>),
    ) -> Result<(), Fault> {
        let mut pages = lock(&self.pages);
        let mut done = 0;
        while done < length {
            let fault = |address| Fault { address, write };
            let address = start.checked_add(done).ok_or(fault(start))?;
            let page = pages.get_mut(&(address / PAGE_SIZE)).ok_or(fault(address))?;
            let allowed = if write { page.access.write } else { page.access.read };
            if !allowed && by == By::Rights {
                return Err(fault(address));
            }
            page.dirty |= write;
            let within = address % PAGE_SIZE;
            let step = (PAGE_SIZE - within).min(length - done);
            each(page.frame, within, done..done + step);
            done += step;
        }
        Ok(())
    }

    /// What an instruction fetch leads to where no code is registered.
    pub(crate) fn fetch(&self, address: usize) -> Trap {
        match self.lookup(address) {
            Some(mapped) if mapped.access.execute => Trap::Exception(Exception::IllegalInstruction),
            Some(_) | None if self.form == Form::Paged => {
                Trap::PageFault { address, write: false, fetch: true }
            }
            Some(_) | None => Trap::Exception(Exception::Protection),
        }
    }

    fn aligned(address: usize, write: bool) -> Result<(), Fault> {
        if address.is_multiple_of(4) { Ok(()) } else { Err(Fault { address, write }) }
    }
}

/// How memory is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// As its protection allows.
    Rights,
    /// Whatever its protection says: nothing enforces it.
    Force,
}

fn narrowed(old: Access, new: Access) -> Access {
    Access {
        read: old.read && new.read,
        write: old.write && new.write,
        execute: old.execute && new.execute,
        shared: new.shared,
    }
}

fn numbers(range: &Range<usize>) -> Range<usize> {
    let start = range.start / PAGE_SIZE;
    start..range.end.div_ceil(PAGE_SIZE).max(start)
}

impl SouthSpace for Space {
    fn user_end(&self) -> usize {
        match self.form {
            Form::Paged => PAGED_END,
            Form::Flat => FLAT_END,
        }
    }

    fn mappable(&self) -> Range<usize> {
        match self.machine.placed() {
            Some(_) => ARENA,
            None => LOWEST..self.user_end(),
        }
    }

    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>, OutOfMemory> {
        Ok(Box::new(Processor::new(self)))
    }

    fn fork(&self) -> Result<Arc<dyn SouthSpace>, OutOfMemory> {
        if self.form == Form::Flat {
            return Err(OutOfMemory);
        }
        let mut pages = lock(&self.pages);
        let mut frames = lock(&self.machine.frames);
        for page in pages.values_mut() {
            page.access.write &= page.access.shared;
            frames.retain(page.frame);
        }
        let child = Self::new(self.machine, self.form);
        *lock(&child.pages) = pages.clone();
        Ok(Arc::new(child))
    }

    fn map(&self, address: usize, frame: Frame, access: Access) -> Result<(), OutOfMemory> {
        assert!(address < self.user_end(), "the kernel maps only user addresses");
        let possible =
            self.mappable().contains(&address) || self.machine.is_placed_writable(address);
        assert!(possible, "the kernel maps only what can be mapped: {address:#x}");
        if self.machine.refuses_map() {
            return Err(OutOfMemory);
        }
        let page = Page { frame, access, dirty: false };
        let mut pages = lock(&self.pages);
        let number = address / PAGE_SIZE;
        let taken = |(other, page): (&usize, &Page)| page.frame == frame && *other != number;
        if self.form == Form::Flat && pages.iter().any(taken) {
            // A frame's bytes lie where it is mapped.
            return Err(OutOfMemory);
        }
        let old = pages.insert(number, page);
        if let Some(old) = old {
            lock(&self.machine.frames).release(old.frame);
        }
        Ok(())
    }

    fn unmap(&self, range: Range<usize>) {
        assert!(range.start.is_multiple_of(PAGE_SIZE), "ranges are page-aligned");
        let mut pages = lock(&self.pages);
        let gone: Vec<usize> = pages
            .range(numbers(&range))
            .map(|(number, _)| *number)
            .filter(|number| {
                self.mappable().contains(&(number * PAGE_SIZE))
                    || self.machine.is_placed_writable(number * PAGE_SIZE)
            })
            .collect();
        let mut frames = lock(&self.machine.frames);
        for page in gone.iter().filter_map(|number| pages.remove(number)) {
            frames.release(page.frame);
        }
    }

    fn protect(&self, range: Range<usize>, access: Access) {
        let mut pages = lock(&self.pages);
        let mut frames = lock(&self.machine.frames);
        for (_, page) in pages.range_mut(numbers(&range)) {
            let alone = frames.references(page.frame) == 1;
            let given = alone || self.form == Form::Flat;
            page.access = if given { access } else { narrowed(page.access, access) };
        }
    }

    fn relocate(&self, from: Range<usize>, to: usize) -> Result<(), OutOfMemory> {
        let mut pages = lock(&self.pages);
        for (index, number) in numbers(&from).enumerate() {
            if let Some(page) = pages.remove(&number) {
                let old = pages.insert(to / PAGE_SIZE + index, page);
                assert!(old.is_none(), "the target of a move is free");
            }
        }
        Ok(())
    }

    fn lookup(&self, address: usize) -> Option<Mapped> {
        let pages = lock(&self.pages);
        let Page { frame, access, dirty } = *pages.get(&(address / PAGE_SIZE))?;
        Some(Mapped { frame, access, dirty })
    }

    fn resident(&self) -> usize {
        lock(&self.pages).len()
    }

    fn copy_in(&self, from: usize, to: &mut [u8]) -> Result<(), Fault> {
        self.walk(By::Rights, from, to.len(), false, |frame, offset, piece| {
            lock(&self.machine.frames).read(frame, offset, &mut to[piece]);
        })
    }

    fn copy_out(&self, to: usize, from: &[u8]) -> Result<(), Fault> {
        self.walk(By::Rights, to, from.len(), true, |frame, offset, piece| {
            lock(&self.machine.frames).write(frame, offset, &from[piece]);
        })
    }

    fn zero(&self, to: usize, length: usize) -> Result<(), Fault> {
        self.walk(By::Rights, to, length, true, |frame, offset, piece| {
            lock(&self.machine.frames).clear(frame, offset..offset + piece.len());
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
            return Err(Fault { address: to, write: true });
        }
        let mut bytes = vec![0; length];
        lock(&self.machine.frames).read(frame, offset, &mut bytes);
        self.copy_out(to, &bytes)
    }

    fn copy_in_frame(
        &self,
        from: usize,
        frame: Frame,
        offset: usize,
        length: usize,
    ) -> Result<(), Fault> {
        if offset.checked_add(length).is_none_or(|end| end > PAGE_SIZE) {
            return Err(Fault { address: from, write: false });
        }
        let mut bytes = vec![0; length];
        self.copy_in(from, &mut bytes)?;
        lock(&self.machine.frames).write(frame, offset, &bytes);
        Ok(())
    }

    fn load_u32(&self, from: usize) -> Result<u32, Fault> {
        Self::aligned(from, false)?;
        let mut bytes = [0; 4];
        self.copy_in(from, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn compare_exchange_u32(&self, at: usize, old: u32, new: u32) -> Result<u32, Fault> {
        Self::aligned(at, true)?;
        let mut bytes = [0; 4];
        self.copy_in(at, &mut bytes).map_err(|fault| Fault { write: true, ..fault })?;
        let held = u32::from_le_bytes(bytes);
        let stored = if held == old { new } else { held };
        self.copy_out(at, &stored.to_le_bytes())?;
        Ok(held)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let mut frames = lock(&self.machine.frames);
        for page in lock(&self.pages).values() {
            frames.release(page.frame);
        }
    }
}
