// SPDX-License-Identifier: MIT
//! Mappings of device registers.

use super::table::{ACCESSED, DIRTY, GLOBAL, Level, NO_EXECUTE, PAGE, PRESENT, UNCACHED, WRITABLE};
use super::{frames, image};
use crate::ranges::Ranges;
use core::ops::Range;
use spin::Mutex;

/// Where device registers appear.
pub(crate) const START: u64 = 0xffff_c000_0000_0000;
/// Most bytes in all.
const LENGTH_MAX: u64 = 1 << 30;

struct Devices {
    next: u64,
    memory: Ranges,
}

static DEVICES: Mutex<Devices> = Mutex::new(Devices { next: START, memory: Ranges::new() });

/// Tells where memory is: no device may claim to sit there.
pub(crate) fn keep_off(memory: &Ranges) {
    DEVICES.lock().memory = memory.clone();
}

/// Maps the pages around a physical range, uncached, and returns where the range appears. None
/// when it touches memory, is longer than makes sense, or no table is left.
pub(crate) fn map(physical: Range<u64>) -> Option<usize> {
    let mut devices = DEVICES.lock();
    let first = physical.start & !PAGE.wrapping_sub(1);
    let end = physical.end.checked_next_multiple_of(PAGE)?;
    let length = end.checked_sub(first)?;
    let used = devices.next.wrapping_sub(START);
    let fits = used.checked_add(length).is_some_and(|sum| sum <= LENGTH_MAX);
    if !fits || end > 1 << 51 || devices.memory.overlaps(&(first..end)) {
        return None;
    }
    let base = devices.next;
    let mut offset = 0;
    while offset < length {
        let at = base.wrapping_add(offset);
        let table = image::root().make(at, Level::Page, PRESENT | WRITABLE, &mut frames::table)?;
        let flags = PRESENT | WRITABLE | NO_EXECUTE | UNCACHED | GLOBAL | ACCESSED | DIRTY;
        table.set(Level::Page.index(at), first.wrapping_add(offset) | flags);
        offset = offset.wrapping_add(PAGE);
    }
    devices.next = base.wrapping_add(length);
    Some(base.wrapping_add(physical.start.wrapping_sub(first)) as usize)
}
