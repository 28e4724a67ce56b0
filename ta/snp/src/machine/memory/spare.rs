// SPDX-License-Identifier: MIT
//! Page tables that are known to be zero, kept for the next address space.
//!
//! A space clears the entries that it used before it gives its tables back, which is far less work
//! than to zero whole pages: fork and exit are made of this.

use super::{frames, image, table::Table};
use spin::Mutex;

/// Most tables that are kept.
const TABLES_MAX: usize = 64;
/// Most roots, whose upper half is the kernel's.
const ROOTS_MAX: usize = 8;

struct Spare<const MAX: usize> {
    pages: [u64; MAX],
    count: usize,
}

impl<const MAX: usize> Spare<MAX> {
    const fn new() -> Self {
        Self { pages: [0; MAX], count: 0 }
    }

    fn take(&mut self) -> Option<u64> {
        let last = self.count.checked_sub(1)?;
        self.count = last;
        self.pages.get(last).copied()
    }

    /// Says whether there was room.
    fn give(&mut self, page: u64) -> bool {
        let Some(slot) = self.pages.get_mut(self.count) else { return false };
        *slot = page;
        self.count = self.count.wrapping_add(1);
        true
    }
}

static TABLES: Mutex<Spare<TABLES_MAX>> = Mutex::new(Spare::new());
static ROOTS: Mutex<Spare<ROOTS_MAX>> = Mutex::new(Spare::new());

/// A zeroed table.
pub(crate) fn take_table() -> Option<Table> {
    let spare = TABLES.lock().take();
    let page = spare.or_else(frames::guest_table)?;
    // SAFETY: a page that was allocated as a guest's table, and is in no space and no list now.
    Some(unsafe { Table::at(page) })
}

/// Takes a table back, all of whose entries are zero.
pub(crate) fn give_table(table: Table) {
    if !TABLES.lock().give(table.physical()) {
        frames::release_table(table.physical());
    }
}

/// A root with the kernel's half and nothing else.
pub(crate) fn take_root() -> Option<Table> {
    if let Some(page) = ROOTS.lock().take() {
        // SAFETY: as in `take_table`.
        return Some(unsafe { Table::at(page) });
    }
    let root = take_table()?;
    image::share_kernel_half(root);
    Some(root)
}

/// Takes a root back, whose lower half is zero and which is not loaded.
pub(crate) fn give_root(root: Table) {
    if !ROOTS.lock().give(root.physical()) {
        frames::release_table(root.physical());
    }
}
