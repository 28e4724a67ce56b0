// SPDX-License-Identifier: MIT
//! The page tables of one address space, and the list that finds them without walking.
//!
//! The processor walks four levels. For us a *leaf* is a last table, 2 MiB of addresses; leaves are
//! kept sorted, and each remembers which groups of its entries were ever used. So fork, exit and
//! unmapping cost what is mapped, not what could be.

use super::spare;
use super::table::{HELD, Level, PAGE, PRESENT, Table, USER, WRITABLE, private};
use super::user::USER_END;
use alloc::vec::Vec;
use core::ops::Range;
use strongroom_south::OutOfMemory;

/// Flags of the entries above the last level.
const ON_THE_WAY: u64 = PRESENT | WRITABLE | USER;
/// Bytes of a leaf.
const SPAN: usize = Level::Directory.span() as usize;
/// Entries in a group: 64 groups in a leaf.
const GROUP: usize = 8;

/// A last table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    base: usize,
    table: Table,
    /// The table above.
    parent: Table,
    /// Groups with entries that may not be zero.
    used: u64,
}

impl Leaf {
    /// Address of its first page.
    pub(crate) const fn base(&self) -> usize {
        self.base
    }

    /// The entry for an address in the leaf.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> u64 {
        self.table.get(Level::Page.index(at as u64))
    }

    /// Sets the entry for an address in the leaf.
    #[inline]
    pub(crate) fn set(&mut self, at: usize, entry: u64) {
        let index = Level::Page.index(at as u64);
        self.used |= 1 << (index / GROUP);
        self.table.set(index, entry);
    }

    /// Replaces every entry that holds a frame and lies in `range`; `change` is given address and
    /// entry.
    #[inline]
    pub(crate) fn update(
        &mut self,
        range: &Range<usize>,
        mut change: impl FnMut(usize, u64) -> u64,
    ) {
        let start = range.start.saturating_sub(self.base) >> Level::Page as u8;
        let behind = range.end.saturating_sub(self.base).min(SPAN).div_ceil(PAGE as usize);
        let mut groups = self.used;
        while groups != 0 {
            let group = groups.trailing_zeros() as usize;
            groups &= groups.wrapping_sub(1);
            let first = group.wrapping_mul(GROUP);
            let last = first.wrapping_add(GROUP);
            let mut left = 0;
            for index in first.max(start)..last.min(behind) {
                let entry = self.table.get(index);
                if entry & HELD == 0 {
                    continue;
                }
                let at = self.base.wrapping_add(index.wrapping_mul(PAGE as usize));
                let next = change(at, entry);
                left |= next;
                if next != entry {
                    self.table.set(index, next);
                }
            }
            if left == 0 && start <= first && last <= behind {
                self.used &= !(1_u64.wrapping_shl(group as u32));
            }
        }
    }
}

/// A table between root and leaves, and the entry that leads to it.
#[derive(Clone, Copy, Debug)]
struct Branch {
    parent: Table,
    index: usize,
    table: Table,
}

/// All tables of a space.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Table,
    leaves: Vec<Leaf>,
    branches: Vec<Branch>,
    /// Pages that are mapped.
    pub(crate) resident: usize,
}

impl Tree {
    /// Of an empty space.
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        let root = spare::take_root().ok_or(OutOfMemory)?;
        Ok(Self { root, leaves: Vec::new(), branches: Vec::new(), resident: 0 })
    }

    /// The root table.
    pub(crate) const fn root(&self) -> Table {
        self.root
    }

    /// The entry for an address; 0 where there is no table.
    pub(crate) fn entry(&self, at: usize) -> u64 {
        let number = self.position(at);
        self.leaves.get(number).filter(|leaf| leaf.base <= at).map_or(0, |leaf| leaf.get(at))
    }

    /// The leaf for an address, made if need be.
    pub(crate) fn leaf(&mut self, at: usize) -> Result<&mut Leaf, OutOfMemory> {
        if at >= USER_END {
            return Err(OutOfMemory);
        }
        let number = self.position(at);
        if self.leaves.get(number).is_none_or(|leaf| leaf.base > at) {
            let leaf = self.grow(at)?;
            self.leaves.insert(number, leaf);
        }
        self.leaves.get_mut(number).ok_or(OutOfMemory)
    }

    /// The leaves that a range touches.
    pub(crate) fn leaves(&mut self, range: &Range<usize>) -> impl Iterator<Item = &mut Leaf> {
        let first = self.position(range.start);
        let end = range.end;
        self.leaves.iter_mut().skip(first).take_while(move |leaf| leaf.base < end)
    }

    /// Gives back the leaves that lie in a range as a whole; all of their entries are zero. Says
    /// whether there were any.
    pub(crate) fn prune(&mut self, range: &Range<usize>) -> bool {
        let before = self.leaves.len();
        self.leaves.retain(|leaf| {
            let inside = range.start <= leaf.base && leaf.base.saturating_add(SPAN) <= range.end;
            if inside {
                leaf.parent.set(Level::Directory.index(leaf.base as u64), 0);
                spare::give_table(leaf.table);
            }
            !inside
        });
        self.leaves.len() < before
    }

    /// Number of the leaf for an address, or of the next one.
    #[inline]
    fn position(&self, at: usize) -> usize {
        self.leaves.partition_point(|leaf| leaf.base.wrapping_add(SPAN) <= at)
    }

    #[cold]
    fn grow(&mut self, at: usize) -> Result<Leaf, OutOfMemory> {
        self.leaves.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.branches.try_reserve(2).map_err(|_| OutOfMemory)?;
        let mut parent = self.root;
        for level in [Level::Root, Level::Pointers] {
            let index = level.index(at as u64);
            parent = match parent.child(index) {
                Some(table) => table,
                None => {
                    let table = spare::take_table().ok_or(OutOfMemory)?;
                    parent.set(index, private(table.physical()) | ON_THE_WAY);
                    self.branches.push(Branch { parent, index, table });
                    table
                }
            };
        }
        let table = spare::take_table().ok_or(OutOfMemory)?;
        parent.set(Level::Directory.index(at as u64), private(table.physical()) | ON_THE_WAY);
        Ok(Leaf { base: at & !(SPAN.wrapping_sub(1)), table, parent, used: 0 })
    }
}

impl Drop for Tree {
    /// All entries are zero by now, and the root is not loaded.
    fn drop(&mut self) {
        self.prune(&(0..usize::MAX));
        while let Some(branch) = self.branches.pop() {
            branch.parent.set(branch.index, 0);
            spare::give_table(branch.table);
        }
        spare::give_root(self.root);
    }
}
