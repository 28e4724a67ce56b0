// SPDX-License-Identifier: MIT
//! The kernel's half of the address space, built once at boot.

use super::direct::{DIRECT_MAP, PHYSICAL_END};
use super::table::{
    ACCESSED, DIRTY, ENTRIES, GLOBAL, LARGE, Level, NO_EXECUTE, PAGE, PRESENT, Table, WRITABLE,
    private,
};
use super::{device, heap};
use crate::ranges::Ranges;
use core::ops::Range;
use spin::Once;

/// Distance between where the image is linked and where it is loaded.
const KERNEL_OFFSET: u64 = 0xffff_ffff_8000_0000;
/// Where the image begins in physical memory.
const IMAGE_START: u64 = 0x20_0000;

unsafe extern "C" {
    static text_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static stack_guard: u8;
    static stack_bottom: u8;
    static image_end: u8;
}

static ROOT: Once<Table> = Once::new();

/// The root table with the kernel's half alone.
pub(crate) fn root() -> Table {
    match ROOT.get() {
        Some(root) => *root,
        None => super::super::halt::halt(super::super::halt::Code::Panic),
    }
}

/// Where the image lies in physical memory, boot code and stack included.
pub(crate) fn physical() -> Range<u64> {
    IMAGE_START..((&raw const image_end).addr() as u64).wrapping_sub(KERNEL_OFFSET)
}

/// Instructions of the image at an address; none where not all of them are there.
pub(crate) fn code<const LENGTH: usize>(at: u64) -> Option<[u8; LENGTH]> {
    let text = (&raw const text_start).addr() as u64..(&raw const text_end).addr() as u64;
    if !text.contains(&at) || at.wrapping_add(LENGTH as u64) > text.end {
        return None;
    }
    let from = core::ptr::with_exposed_provenance::<[u8; LENGTH]>(at as usize);
    // SAFETY: inside the image's code, which is mapped and never changes.
    Some(unsafe { from.read() })
}

/// Builds the tables. `memory` is what the direct map has to reach; `shared`, whole pages, is what
/// the host may read of it; `allocate` gives zeroed pages.
pub(crate) fn build(
    memory: &Ranges,
    shared: &Range<u64>,
    gigabyte_pages: bool,
    allocate: &mut impl FnMut() -> Option<u64>,
) -> Option<Table> {
    let page = allocate()?;
    // SAFETY: a fresh page, in the direct map that the boot tables provide.
    let root = unsafe { Table::at(page) };
    map_sections(root, allocate)?;
    for range in memory.iter() {
        map_memory(root, &range, shared, gigabyte_pages, allocate)?;
    }
    // These two grow later. Their root entries exist from the start, because every address space
    // copies the upper half of the root when it is made.
    for start in [device::START, heap::START] {
        root.make(start, Level::Pointers, PRESENT | WRITABLE, allocate)?;
    }
    Some(*ROOT.call_once(|| root))
}

/// Copies the kernel's half into another root.
pub(crate) fn share_kernel_half(to: Table) {
    let root = root();
    for index in ENTRIES / 2..ENTRIES {
        to.set(index, root.get(index));
    }
}

fn map_sections(root: Table, allocate: &mut impl FnMut() -> Option<u64>) -> Option<()> {
    let text = (&raw const text_start).addr() as u64;
    let read_only = (&raw const text_end).addr() as u64;
    let data = (&raw const rodata_end).addr() as u64;
    let guard = (&raw const stack_guard).addr() as u64;
    let stack = (&raw const stack_bottom).addr() as u64;
    let end = (&raw const image_end).addr() as u64;
    let sections = [
        (text..read_only, 0),
        (read_only..data, NO_EXECUTE),
        (data..guard, WRITABLE | NO_EXECUTE),
        (stack..end, WRITABLE | NO_EXECUTE),
    ];
    for (section, flags) in sections {
        let mut at = section.start;
        while at < section.end {
            let table = root.make(at, Level::Page, PRESENT | WRITABLE, allocate)?;
            let page = private(at.wrapping_sub(KERNEL_OFFSET));
            let entry = page | PRESENT | GLOBAL | ACCESSED | flags;
            table.set(Level::Page.index(at), entry);
            at = at.wrapping_add(PAGE);
        }
    }
    Some(())
}

/// Maps a range of memory with the largest pages that fit; the ends are rounded to 2 MiB.
fn map_memory(
    root: Table,
    range: &Range<u64>,
    shared: &Range<u64>,
    gigabyte_pages: bool,
    allocate: &mut impl FnMut() -> Option<u64>,
) -> Option<()> {
    let step = Level::Directory.span();
    let end = range.end.min(PHYSICAL_END);
    let mut at = range.start & !step.wrapping_sub(1);
    while at < end {
        let whole = at.is_multiple_of(Level::Pointers.span())
            && at.saturating_add(Level::Pointers.span()) <= end;
        let mixed =
            |level: Level| shared.start < at.saturating_add(level.span()) && at < shared.end;
        let level = match (gigabyte_pages && whole, mixed(Level::Directory)) {
            (true, _) if !mixed(Level::Pointers) => Level::Pointers,
            (_, false) => Level::Directory,
            (_, true) => {
                map_small(root, at..at.saturating_add(step), shared, allocate)?;
                at = at.saturating_add(step);
                continue;
            }
        };
        let address = DIRECT_MAP.wrapping_add(at);
        let table = root.make(address, level, PRESENT | WRITABLE, allocate)?;
        table.set(level.index(address), private(at) | LARGE | MEMORY);
        at = at.saturating_add(level.span());
    }
    Some(())
}

/// Rights of memory in the direct map.
const MEMORY: u64 = PRESENT | WRITABLE | NO_EXECUTE | GLOBAL | ACCESSED | DIRTY;

/// Maps memory of which some is shared.
fn map_small(
    root: Table,
    range: Range<u64>,
    shared: &Range<u64>,
    allocate: &mut impl FnMut() -> Option<u64>,
) -> Option<()> {
    let table =
        root.make(DIRECT_MAP.wrapping_add(range.start), Level::Page, PRESENT | WRITABLE, allocate)?;
    let pages = (range.start..range.end).step_by(PAGE as usize);
    for at in pages {
        let page = if shared.contains(&at) { at } else { private(at) };
        table.set(Level::Page.index(DIRECT_MAP.wrapping_add(at)), page | MEMORY);
    }
    Some(())
}
