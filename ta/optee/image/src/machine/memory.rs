// SPDX-License-Identifier: MIT
//! Memory: the arena that program and page cache share, and the writable segments of the objects.
//!
//! The arena comes from OP-TEE's System PTA (`PTA_SYSTEM_MAP_ZI`, OP-TEE 4.10,
//! `lib/libutee/include/pta_system.h`): zeroed, readable and writable, never executable.

use super::heap;
use super::package::Found;
use super::{StartError, TrustedApplication};
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use optee_utee::{ParamIndex, TaSessionBuilder, TeeParams, Uuid};
use strongroom_optee::books::{Books, Pages};
use strongroom_south::{Frame, FrameCounts, Frames, PAGE_SIZE};

/// The System PTA: `PTA_SYSTEM_UUID`.
const SYSTEM_PTA: &str = "3a2f8978-5dc0-11e8-9c2d-fa7ae01bbebc";
const MAP_ZERO_INITIALISED: u32 = 2;
/// Memory of a package that names none.
const DEFAULT: usize = 32 << 20;
/// What the library OS uses itself beside arena and heap: its image with the start heap, and its
/// stack, about.
const OVERHEAD: usize = 5 << 19;
/// Bytes that the processor copies at once.
const WORD: usize = 8;
/// The offset of a page's last byte.
const LAST: usize = PAGE_SIZE - 1;
/// A page of an object's writable segment, which is no frame of the arena.
pub(super) const PLACED_FRAME: Frame = Frame(u32::MAX);

/// Memory of the kernel's own that is copied to or from.
enum Own<'a> {
    To(&'a mut [u8]),
    From(&'a [u8]),
}

/// A range of memory that is reached by offsets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    start: usize,
    length: usize,
}

impl Window {
    /// The range's addresses.
    pub(super) const fn range(self) -> Range<usize> {
        self.start..self.start.wrapping_add(self.length)
    }

    /// A pointer, if `length` bytes from there on are inside.
    fn pointer(self, address: usize, length: usize) -> Option<*mut u8> {
        let offset = address.checked_sub(self.start)?;
        let inside = offset.checked_add(length)? <= self.length;
        inside.then(|| ptr::with_exposed_provenance_mut(address))
    }

    fn read(self, address: usize, to: &mut [u8]) {
        self.copy(address, to.len(), Own::To(to));
    }

    fn write(self, address: usize, from: &[u8]) {
        self.copy(address, from.len(), Own::From(from));
    }

    /// Copies bytes, if they are inside. An aligned word, which is what most calls copy, goes at once:
    /// the compiler's target copies it byte by byte where it does not know of the alignment.
    #[inline(always)]
    fn copy(self, address: usize, length: usize, own: Own<'_>) {
        let Some(place) = self.pointer(address, length) else { return };
        let (from, to) = match own {
            Own::To(own) => (place.cast_const(), own.as_mut_ptr()),
            Own::From(own) => (own.as_ptr(), place),
        };
        let (from_word, to_word) = (from.cast::<u64>(), to.cast::<u64>());
        if length == WORD && from_word.is_aligned() && to_word.is_aligned() {
            // SAFETY: (1) the window is mapped for ever and writable, and the bytes are inside of it;
            // (2) the other side is the kernel's own memory, as long, which no window overlaps; (3)
            // any eight bytes are a number, and both are aligned for one.
            unsafe { ptr::copy_nonoverlapping(from_word, to_word, 1) };
        } else {
            // SAFETY: (1) and (2) as above.
            unsafe { ptr::copy_nonoverlapping(from, to, length) };
        }
    }

    fn clear(self, address: usize, length: usize) {
        let Some(to) = self.pointer(address, length) else { return };
        // SAFETY: as in `copy`.
        unsafe { ptr::write_bytes(to, 0, length) };
    }
}

/// The arena's pages, for the books to move bytes in.
#[derive(Clone, Copy)]
pub(super) struct Arena(Window);

impl Arena {
    /// Where a page lies.
    pub(super) const fn address(self, page: u32) -> usize {
        self.0.start.wrapping_add((page as usize).wrapping_mul(PAGE_SIZE))
    }

    /// The page at an address.
    pub(super) fn page(self, address: usize) -> Option<u32> {
        self.0.pointer(address, 1)?;
        u32::try_from(address.wrapping_sub(self.0.start) / PAGE_SIZE).ok()
    }

    pub(super) const fn range(self) -> Range<usize> {
        self.0.range()
    }
}

impl Pages for Arena {
    fn copy(&mut self, from: u32, to: u32) {
        let pair = (
            self.0.pointer(self.address(from), PAGE_SIZE),
            self.0.pointer(self.address(to), PAGE_SIZE),
        );
        let (Some(from), Some(to)) = pair else { return };
        // SAFETY: two whole pages of the arena, which may be one and the same.
        unsafe { ptr::copy(from, to, PAGE_SIZE) };
    }

    fn exchange(&mut self, one: u32, other: u32) {
        let mut kept = [0; PAGE_SIZE];
        self.0.read(self.address(one), &mut kept);
        self.copy(other, one);
        self.0.write(self.address(other), &kept);
    }

    fn zero(&mut self, page: u32) {
        self.0.clear(self.address(page), PAGE_SIZE);
    }
}

/// A writable segment of an object, by pages.
struct Segment {
    window: Window,
    /// Whether a page is mapped, as the kernel sees it.
    present: Vec<bool>,
}

/// All memory that the kernel can be told of.
pub(super) struct Memory {
    pub(super) books: Books,
    pub(super) arena: Arena,
    segments: Vec<Segment>,
    /// What can be read and not written: text and constants of the objects.
    constant: Vec<Range<usize>>,
    /// The first address behind everything.
    pub(super) end: usize,
}

/// Where the memory's books are. A lock costs as much as ten calls that are answered at once, and
/// each copy from or to the program would take it.
struct Place {
    memory: UnsafeCell<Option<Memory>>,
    in_use: AtomicBool,
}

// SAFETY: (1) OP-TEE runs one call of an instance at a time, on one thread (GlobalPlatform TEE Internal
// Core API 1.3, 2.1.3), and nothing here interrupts it; (2) `in_use` keeps that one thread from a second
// borrow inside of the first.
unsafe impl Sync for Place {}

static MEMORY: Place = Place { memory: UnsafeCell::new(None), in_use: AtomicBool::new(false) };

/// What is done with the place of the memory; nothing inside of itself.
fn with_place<T>(absent: T, action: impl FnOnce(&mut Option<Memory>) -> T) -> T {
    if MEMORY.in_use.load(Ordering::Relaxed) {
        return absent;
    }
    MEMORY.in_use.store(true, Ordering::Relaxed);
    // SAFETY: this is the only borrow, see above; it ends with `action`, which cannot keep it.
    let memory = unsafe { &mut *MEMORY.memory.get() };
    let done = action(memory);
    MEMORY.in_use.store(false, Ordering::Relaxed);
    done
}

/// What is done with the memory; `absent` when there is none yet.
pub(super) fn with<T>(absent: T, action: impl FnOnce(&mut Memory) -> T) -> T {
    let done = with_place(None, |memory| memory.as_mut().map(action));
    done.unwrap_or(absent)
}

/// Gets heap and arena from OP-TEE and opens the books.
pub(super) fn start(found: &Found) -> Result<(), StartError> {
    let wanted = match usize::try_from(found.package.memory) {
        Ok(0) => DEFAULT,
        Ok(bytes) => bytes,
        Err(_) => return Err(StartError::NoMemory),
    };
    let length = wanted.checked_next_multiple_of(PAGE_SIZE).ok_or(StartError::NoMemory)?;
    heap::start(length)?;
    let start = map(length).ok_or(StartError::NoMemory)?;
    let arena = Arena(Window { start, length });
    let books = Books::new(length / PAGE_SIZE).ok_or(StartError::NoMemory)?;
    let place = |distance: u64| found.load_address.wrapping_add(distance as usize);
    let (mut segments, mut constant) = (Vec::new(), Vec::new());
    let mut end = arena.range().end;
    for segment in found.package.objects.iter().flat_map(|object| &object.segments) {
        let window = Window { start: place(segment.start), length: segment.length as usize };
        end = end.max(window.range().end);
        if segment.writable {
            let pages = window.length / PAGE_SIZE;
            segments.push(Segment { window, present: alloc::vec![true; pages] });
        } else {
            constant.push(window.range());
        }
    }
    with_place((), |memory| *memory = Some(Memory { books, arena, segments, constant, end }));
    Ok(())
}

/// Maps zeroes; where they lie.
pub(super) fn map(length: usize) -> Option<usize> {
    let uuid = Uuid::parse_str(SYSTEM_PTA).ok()?;
    let mut session = TaSessionBuilder::new(uuid).build().ok()?;
    let mut parameters = TeeParams::new()
        .with_value_in(ParamIndex::Arg0, u32::try_from(length).ok()?, 0)
        .with_value_inout(ParamIndex::Arg1, 0, 0)
        .with_value_in(ParamIndex::Arg2, 0, 0);
    session.invoke_command(MAP_ZERO_INITIALISED, &mut parameters).ok()?;
    let (high, low) = parameters[ParamIndex::Arg1].output_value()?;
    Some((high as usize) << 32 | low as usize)
}

impl Memory {
    /// Whether a byte can be reached on behalf of the program, and how far from there on at least: to
    /// the end of its page or range. Inline: each copy from or to the program begins with it.
    #[inline(always)]
    pub(super) fn reach(&self, address: usize, write: bool) -> Option<(Window, usize)> {
        let page_end = (address | LAST).wrapping_add(1);
        if let Some(page) = self.arena.page(address) {
            let (_, access) = self.books.mapping_at(page)?;
            let allowed = if write { access.write } else { access.read };
            return allowed.then_some((self.arena.0, page_end));
        }
        if let Some(segment) = self.segment(address) {
            let present = segment.present.get(segment.page(address)).copied();
            return (present == Some(true)).then_some((segment.window, page_end));
        }
        let range = self.constant.iter().find(|range| range.contains(&address) && !write)?;
        let window = Window { start: range.start, length: range.len() };
        Some((window, range.end))
    }

    fn segment(&self, address: usize) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.window.range().contains(&address))
    }

    fn segment_mut(&mut self, address: usize) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.window.range().contains(&address))
    }

    /// Whether an address lies in a part of an object that cannot be written.
    pub(super) fn is_constant(&self, address: usize) -> bool {
        self.constant.iter().any(|range| range.contains(&address))
    }

    /// Whether a page of an object can be written, and is there.
    pub(super) fn is_placed(&self, address: usize) -> bool {
        self.segment(address)
            .is_some_and(|segment| segment.present.get(segment.page(address)) == Some(&true))
    }

    /// Fills the page of an object with a frame's bytes; says whether there is such a page.
    pub(super) fn fill_placed(&mut self, address: usize, frame: Frame) -> bool {
        let from = self.books.page_of(frame).map(|page| self.arena.address(page));
        let arena = self.arena.0;
        let Some(segment) = self.segment_mut(address) else { return false };
        let page = segment.page(address);
        let to = segment.window.start.wrapping_add(page.wrapping_mul(PAGE_SIZE));
        match from {
            Some(from) => {
                let mut bytes = [0; PAGE_SIZE];
                arena.read(from, &mut bytes);
                segment.window.write(to, &bytes);
            }
            None => segment.window.clear(to, PAGE_SIZE),
        }
        if let Some(present) = segment.present.get_mut(page) {
            *present = true;
        }
        true
    }

    /// The kernel unmaps a page of an object.
    pub(super) fn forget_placed(&mut self, address: usize) {
        if let Some(segment) = self.segment_mut(address) {
            let page = segment.page(address);
            if let Some(present) = segment.present.get_mut(page) {
                *present = false;
            }
        }
    }

    /// The ranges with pages in them: the arena, and the objects' writable segments.
    pub(super) fn ranges(&self) -> Vec<Range<usize>> {
        let segments = self.segments.iter().map(|segment| segment.window.range());
        segments.chain([self.arena.range()]).collect()
    }

    pub(super) fn read(&self, window: Window, address: usize, to: &mut [u8]) {
        debug_assert!(window.pointer(address, to.len()).is_some());
        window.read(address, to);
    }

    pub(super) fn write(&self, window: Window, address: usize, from: &[u8]) {
        debug_assert!(window.pointer(address, from.len()).is_some());
        window.write(address, from);
    }

    pub(super) fn clear(&self, window: Window, address: usize, length: usize) {
        debug_assert!(window.pointer(address, length).is_some());
        window.clear(address, length);
    }

    /// Copies out of a frame, as far as it goes.
    pub(super) fn read_frame(&mut self, frame: Frame, offset: usize, to: &mut [u8]) {
        if let Some((address, length)) = self.bytes_of(frame, offset, to.len()) {
            self.arena.0.read(address, to.get_mut(..length).unwrap_or_default());
        }
    }

    /// Copies into a frame, as far as it goes.
    pub(super) fn write_frame(&mut self, frame: Frame, offset: usize, from: &[u8]) {
        if let Some((address, length)) = self.bytes_of(frame, offset, from.len()) {
            self.arena.0.write(address, from.get(..length).unwrap_or_default());
        }
    }

    /// Where a frame's bytes are, from an offset on, and how many of `length` are in the frame.
    fn bytes_of(&mut self, frame: Frame, offset: usize, length: usize) -> Option<(usize, usize)> {
        let mut arena = self.arena;
        let page = self.books.back(frame, &mut arena)?;
        let length = length.min(PAGE_SIZE.checked_sub(offset)?);
        Some((arena.address(page).wrapping_add(offset), length))
    }
}

impl Segment {
    const fn page(&self, address: usize) -> usize {
        address.wrapping_sub(self.window.start) / PAGE_SIZE
    }
}

impl Frames for TrustedApplication {
    fn allocate(&self) -> Option<Frame> {
        with(None, |memory| memory.books.allocate())
    }

    fn retain(&self, frame: Frame) {
        with((), |memory| memory.books.retain(frame));
    }

    fn release(&self, frame: Frame) {
        with((), |memory| memory.books.release(frame));
    }

    fn references(&self, frame: Frame) -> u32 {
        with(0, |memory| memory.books.references(frame))
    }

    fn read(&self, frame: Frame, offset: usize, to: &mut [u8]) {
        with((), |memory| memory.read_frame(frame, offset, to));
    }

    fn write(&self, frame: Frame, offset: usize, from: &[u8]) {
        with((), |memory| memory.write_frame(frame, offset, from));
    }

    fn clear(&self, frame: Frame, range: Range<usize>) {
        with((), |memory| {
            let length = range.end.saturating_sub(range.start);
            if let Some((address, length)) = memory.bytes_of(frame, range.start, length) {
                memory.arena.0.clear(address, length);
            }
        });
    }

    fn duplicate(&self, from: Frame, to: Frame) {
        with((), |memory| {
            let mut arena = memory.arena;
            let from = memory.books.back(from, &mut arena);
            let to = memory.books.back(to, &mut arena);
            if let (Some(from), Some(to)) = (from, to) {
                arena.copy(from, to);
            }
        });
    }

    fn counts(&self) -> FrameCounts {
        with(FrameCounts { total: 0, free: 0 }, |memory| memory.books.counts())
    }

    fn overhead(&self) -> usize {
        heap::added().saturating_add(OVERHEAD)
    }
}
