// SPDX-License-Identifier: MIT
//! Page tables as the processor reads them (AMD64 Architecture Programmer's Manual volume 2, 5.3).

use super::direct::{self, PHYSICAL_END};
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::structures::paging::PageTableFlags as Flags;

/// Bytes in a page.
pub(crate) const PAGE: u64 = 4096;
/// Entries in a table.
pub(crate) const ENTRIES: usize = 512;

pub(crate) const PRESENT: u64 = Flags::PRESENT.bits();
pub(crate) const WRITABLE: u64 = Flags::WRITABLE.bits();
pub(crate) const USER: u64 = Flags::USER_ACCESSIBLE.bits();
pub(crate) const UNCACHED: u64 = Flags::NO_CACHE.bits() | Flags::WRITE_THROUGH.bits();
pub(crate) const DIRTY: u64 = Flags::DIRTY.bits();
pub(crate) const ACCESSED: u64 = Flags::ACCESSED.bits();
pub(crate) const LARGE: u64 = Flags::HUGE_PAGE.bits();
pub(crate) const GLOBAL: u64 = Flags::GLOBAL.bits();
pub(crate) const NO_EXECUTE: u64 = Flags::NO_EXECUTE.bits();
/// A frame is behind the entry, even if it is not present. Ours; the processor ignores it.
pub(crate) const HELD: u64 = Flags::BIT_9.bits();
/// The page stays shared at fork. Ours as well.
pub(crate) const SHARED: u64 = Flags::BIT_10.bits();
/// Tables and frames lie below this; the private bit does not.
const ADDRESS: u64 = PHYSICAL_END - PAGE;

/// The bit that makes memory private, on SNP.
static PRIVATE: AtomicU64 = AtomicU64::new(0);

/// Makes all memory that is mapped from now on private. None for a bit within addresses.
pub(crate) fn set_private_bit(bit: u32) -> Option<()> {
    let mask =
        1_u64.checked_shl(bit).filter(|mask| *mask & ADDRESS == 0 && *mask >= PHYSICAL_END)?;
    PRIVATE.store(mask, Ordering::Relaxed);
    Some(())
}

/// The address of private memory as it is in an entry, or in the register of the root table.
#[inline]
pub(crate) fn private(physical: u64) -> u64 {
    physical | PRIVATE.load(Ordering::Relaxed)
}

/// The physical address in an entry.
pub(crate) const fn address(entry: u64) -> u64 {
    entry & ADDRESS
}

/// The levels of the tree, named by the address bits that they decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Level {
    /// 4 KiB pages.
    Page = 12,
    /// 2 MiB.
    Directory = 21,
    /// 1 GiB.
    Pointers = 30,
    /// 512 GiB.
    Root = 39,
}

impl Level {
    /// Bytes behind one entry.
    pub(crate) const fn span(self) -> u64 {
        1 << self as u8
    }

    /// Which entry decodes `address`.
    pub(crate) const fn index(self, address: u64) -> usize {
        ((address >> self as u8) & 511) as usize
    }

    /// The level below, if there is one.
    const fn below(self) -> Option<Self> {
        match self {
            Self::Root => Some(Self::Pointers),
            Self::Pointers => Some(Self::Directory),
            Self::Directory => Some(Self::Page),
            Self::Page => None,
        }
    }
}

/// One table, by its physical address.
///
/// Invariant: the address is that of a page that serves as a page table and nothing else, so that
/// reading and writing its entries through the direct map touches no Rust object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table(u64);

impl Table {
    /// # Safety
    ///
    /// `physical` is a page in the direct map that is a page table, for as long as copies of this
    /// value are used.
    pub(crate) const unsafe fn at(physical: u64) -> Self {
        Self(physical)
    }

    pub(crate) const fn physical(self) -> u64 {
        self.0
    }

    /// An entry; the index wraps at 512.
    #[inline]
    pub(crate) fn get(self, index: usize) -> u64 {
        let entry = direct::pointer::<u64>(self.0).wrapping_add(index & 511);
        // SAFETY: inside the page (mask), which is a table (invariant). The processor may set
        // flags in it at any time, hence volatile.
        unsafe { entry.read_volatile() }
    }

    /// Sets an entry; the index wraps at 512. What is behind the address that changes is the
    /// caller's business: entries are data until a processor uses them, and all functions that
    /// hand out user mappings keep them in the lower half.
    #[inline]
    pub(crate) fn set(self, index: usize, entry: u64) {
        let at = direct::pointer::<u64>(self.0).wrapping_add(index & 511);
        // SAFETY: as in `get`.
        unsafe { at.write_volatile(entry) }
    }

    /// The table that an entry points at.
    #[inline]
    pub(crate) fn child(self, index: usize) -> Option<Self> {
        let entry = self.get(index);
        (entry & (PRESENT | LARGE) == PRESENT).then_some(Self(address(entry)))
    }

    /// The table whose entries are of `level` for `virtual_address`; missing ones are made of
    /// zeroed pages from `allocate`, with `flags` on the way.
    pub(crate) fn make(
        self,
        virtual_address: u64,
        level: Level,
        flags: u64,
        allocate: &mut impl FnMut() -> Option<u64>,
    ) -> Option<Self> {
        let mut table = self;
        let mut at = Level::Root;
        while at != level {
            let index = at.index(virtual_address);
            table = match table.child(index) {
                Some(child) => child,
                None => {
                    let page = allocate()?;
                    table.set(index, private(page) | flags);
                    Self(page)
                }
            };
            at = at.below()?;
        }
        Some(table)
    }
}
