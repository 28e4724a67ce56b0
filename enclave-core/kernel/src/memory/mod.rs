// SPDX-License-Identifier: MIT
//! A process's address space: what is mapped where, and what happens when a page is missing.
//!
//! [`Areas`] says what should be there; the platform's [`Space`] holds what is. Pages come one by
//! one, on the first access ([`Memory::resolve`]), or all at once in a flat space, which cannot
//! fault.

mod area;
mod fault;
mod mapping;
mod neighbours;
mod placed;

pub(crate) use area::{Area, Areas, Backing, Protection, SharedWriter};
pub(crate) use fault::BadAccess;
pub(crate) use mapping::{MapRequest, Placement};
pub(crate) use neighbours::Neighbours;

use crate::fs::InodeId;
use crate::fs::text::TextUse;
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use alloc::sync::Arc;
use core::ops::Range;
use spin::{Mutex, Once};
use strongroom_abi::Errno;
use strongroom_south::{Form, Machine, PAGE_SIZE, Space};

/// Kept free between a stack that grows and what lies below it.
const STACK_GAP: usize = 256 * PAGE_SIZE;
/// Most areas of a process (`vm.max_map_count`).
const AREAS_MAX: usize = 65_530;

/// The next page boundary.
pub(crate) fn page_up(address: usize) -> Option<usize> {
    address.checked_next_multiple_of(PAGE_SIZE)
}

/// The page boundary at or below.
pub(crate) const fn page_down(address: usize) -> usize {
    address & !(PAGE_SIZE - 1)
}

/// Landmarks of a program's memory, for `brk`, `/proc` and `auxv`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    pub(crate) code: (usize, usize),
    pub(crate) data: (usize, usize),
    pub(crate) heap_start: usize,
    pub(crate) heap_end: usize,
    /// Top of the stack at the start of the program.
    pub(crate) stack_top: usize,
    pub(crate) arguments: (usize, usize),
    pub(crate) environment: (usize, usize),
    pub(crate) auxiliary: (usize, usize),
    /// Mappings are placed below this, downwards.
    pub(crate) mapping_top: usize,
    /// `AT_PAGESZ`, a multiple of the real page size: mappings start at multiples of it.
    pub(crate) page_size: usize,
}

struct State {
    areas: Areas,
    layout: Layout,
    /// Where the search for a free range starts, downwards: nothing is free between here and the
    /// top that has not been given up since.
    search_from: usize,
}

/// See the module's text. Shared by the threads of a process, and by a `vfork` child.
pub(crate) struct Memory {
    kernel: &'static Kernel,
    space: Arc<dyn Space>,
    user_end: usize,
    mappable: Range<usize>,
    state: Mutex<State>,
    /// The program is not to be written while it runs here.
    text: Once<Arc<TextUse>>,
}

impl Memory {
    /// An empty address space.
    pub(crate) fn new(kernel: &'static Kernel) -> SysResult<Arc<Self>> {
        let space = kernel.machine.new_space()?;
        let mappable = space.mappable();
        Ok(Self::within(kernel, space, mappable))
    }

    fn within(kernel: &'static Kernel, space: Arc<dyn Space>, mappable: Range<usize>) -> Arc<Self> {
        let layout =
            Layout { mapping_top: mappable.end, page_size: PAGE_SIZE, ..Layout::default() };
        let state = Mutex::new(State { areas: Areas::default(), layout, search_from: usize::MAX });
        let user_end = space.user_end();
        let memory = Arc::new(Self { kernel, space, user_end, mappable, state, text: Once::new() });
        if !memory.is_paged() {
            kernel.neighbours.add(&memory);
        }
        memory
    }

    /// The address space of a new program, beside `current`. On a flat machine all programs share
    /// one space: the first gets what the first process was made with, others a part of what is free.
    pub(crate) fn for_program(current: &Arc<Self>) -> SysResult<Arc<Self>> {
        let kernel = current.kernel;
        if current.is_paged() {
            return Self::new(kernel);
        }
        if kernel.has_started() {
            let window = kernel.neighbours.window(current.space.mappable());
            return Ok(Self::within(kernel, current.shared_space(), window));
        }
        // An earlier attempt may have stopped half-way.
        current.unmap(0, current.space.user_end())?;
        Ok(Arc::clone(current))
    }

    /// Keeps a program's file from being written as long as this lives.
    pub(crate) fn keep_text(&self, text: Arc<TextUse>) {
        self.text.call_once(|| text);
    }

    /// The platform's side of it.
    pub(crate) fn space(&self) -> &dyn Space {
        &*self.space
    }

    /// The platform's side, shared.
    pub(crate) fn shared_space(&self) -> Arc<dyn Space> {
        Arc::clone(&self.space)
    }

    /// First address behind user space.
    pub(crate) const fn user_end(&self) -> usize {
        self.user_end
    }

    /// Where pages can be mapped.
    pub(crate) fn mappable(&self) -> Range<usize> {
        self.mappable.clone()
    }

    /// A number unlike that of any other address space that lives at the same time.
    pub(crate) fn identity(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// The machine's frames.
    pub(crate) fn frames(&self) -> &'static dyn Machine {
        self.kernel.machine
    }

    /// Whether pages appear on demand.
    pub(crate) fn is_paged(&self) -> bool {
        self.kernel.machine.form() == Form::Paged
    }

    /// A copy for `fork`.
    pub(crate) fn fork(&self) -> SysResult<Self> {
        let state = self.state.lock();
        let space = self.space.fork()?;
        let mut areas = state.areas.clone();
        for range in areas.take_unforked() {
            space.unmap(range);
        }
        let layout = state.layout;
        let state = Mutex::new(State { areas, layout, search_from: state.search_from });
        let text =
            self.text.get().map_or_else(Once::new, |text| Once::initialized(Arc::clone(text)));
        let (user_end, mappable) = (self.user_end, self.mappable.clone());
        Ok(Self { kernel: self.kernel, space, user_end, mappable, state, text })
    }

    /// Landmarks.
    pub(crate) fn layout(&self) -> Layout {
        self.state.lock().layout
    }

    /// Changes landmarks.
    pub(crate) fn change_layout(&self, change: impl FnOnce(&mut Layout)) {
        change(&mut self.state.lock().layout);
    }

    /// Shows every area, lowest first.
    pub(crate) fn for_each_area(&self, mut each: impl FnMut(&Range<usize>, &Area)) {
        let state = self.state.lock();
        state.areas.iter().for_each(|(range, area)| each(&range, area));
    }

    /// A file has shrunk to `size` bytes: pages behind it go.
    pub(crate) fn unmap_file_beyond(&self, id: InodeId, size: u64) {
        let state = self.state.lock();
        for (range, area) in state.areas.iter() {
            let Backing::File { pages, offset, .. } = &area.backing else { continue };
            if pages.id() != id {
                continue;
            }
            let keep = size.next_multiple_of(PAGE_SIZE as u64).saturating_sub(*offset);
            let keep = usize::try_from(keep).unwrap_or(usize::MAX);
            let start = range.start.saturating_add(keep).min(range.end);
            self.space.unmap(start..range.end);
        }
    }

    /// What a shared futex at an address belongs to: the file and offset, or `None` where the
    /// memory is private.
    pub(crate) fn shared_object(&self, address: usize) -> Option<(InodeId, u64)> {
        let state = self.state.lock();
        let (range, area) = state.areas.find(address)?;
        match &area.backing {
            Backing::File { pages, offset, shared: true } => {
                Some((pages.id(), offset + (address - range.start) as u64))
            }
            Backing::File { .. } | Backing::Anonymous => None,
        }
    }

    /// `brk(2)`: moves the end of the heap, or leaves it; returns where it is.
    pub(crate) fn set_break(&self, end: usize, data_limit: u64, space_limit: u64) -> usize {
        let Layout { heap_start, heap_end, .. } = self.layout();
        let fits = end.checked_sub(heap_start).is_some_and(|size| size as u64 <= data_limit);
        if end < heap_start || !fits {
            return heap_end;
        }
        let (Some(old), Some(new)) = (page_up(heap_end), page_up(end)) else { return heap_end };
        if new < old {
            self.unmap(new, old - new).ok();
        } else if new > old {
            let request = MapRequest {
                length: new - old,
                protection: Protection::READ | Protection::WRITE,
                backing: Backing::Anonymous,
                placement: Placement::FixedFree(old),
                grows_down: false,
            };
            if self.map(request, space_limit).is_err() {
                return heap_end;
            }
        }
        self.change_layout(|layout| layout.heap_end = end);
        end
    }
}

/// `EFAULT`, `ENOMEM` and the like for bad ranges.
fn checked_range(space: &dyn Space, start: usize, length: usize) -> Result<Range<usize>, Errno> {
    if !start.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let length = page_up(length).ok_or(Errno::ENOMEM)?;
    let end = start.checked_add(length).ok_or(Errno::ENOMEM)?;
    if end > space.user_end() { Err(Errno::ENOMEM) } else { Ok(start..end) }
}
