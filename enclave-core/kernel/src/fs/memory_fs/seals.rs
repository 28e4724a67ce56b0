// SPDX-License-Identifier: MIT
//! Seals of files without a name (`fcntl(F_ADD_SEALS)`): what nobody may do to a file any more.

use super::Node;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use strongroom_abi::Errno;

bitflags::bitflags! {
    /// `F_SEAL_*` of `fcntl(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Seals: u32 {
        const SEAL = 0x1;
        const SHRINK = 0x2;
        const GROW = 0x4;
        const WRITE = 0x8;
        const FUTURE_WRITE = 0x10;
        const EXEC = 0x20;
    }
}

impl Seals {
    const WRITES: Self = Self::WRITE.union(Self::FUTURE_WRITE);
}

/// Seals of a node, and what stands in the way of new ones.
#[derive(Debug)]
pub(super) struct Sealing {
    seals: AtomicU32,
    /// Shared mappings that may write, or could be made to.
    writers: AtomicUsize,
}

impl Default for Sealing {
    /// As of any file that was not made for it: no seal can be added.
    fn default() -> Self {
        Self { seals: AtomicU32::new(Seals::SEAL.bits()), writers: AtomicUsize::new(0) }
    }
}

impl Sealing {
    fn seals(&self) -> Seals {
        Seals::from_bits_retain(self.seals.load(Ordering::Relaxed))
    }

    /// `EPERM` where the contents must stay.
    pub(super) fn check_write(&self) -> Result<(), Errno> {
        if self.seals().intersects(Seals::WRITES) { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// `EPERM` where the length must stay.
    pub(super) fn check_resize(&self, old: u64, new: u64) -> Result<(), Errno> {
        let seals = self.seals();
        let sealed = (new < old && seals.contains(Seals::SHRINK))
            || (new > old && seals.contains(Seals::GROW));
        if sealed { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// `EPERM` where a change of the right to execute is sealed.
    pub(super) fn check_permissions(&self, old: u32, new: u32) -> Result<(), Errno> {
        let changes = (old ^ new) & 0o111 != 0;
        if changes && self.seals().contains(Seals::EXEC) { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Where writes must end, for a file of `size` bytes.
    pub(super) fn end_of_writes(&self, size: u64) -> u64 {
        if self.check_write().is_err() {
            0
        } else if self.seals().contains(Seals::GROW) {
            size
        } else {
            u64::MAX
        }
    }

    /// Counts shared mappings.
    pub(super) fn mapped_writable(&self, more: bool) {
        if more {
            self.writers.fetch_add(1, Ordering::Relaxed);
        } else {
            self.writers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Node {
    /// The seals, of a file that can have some.
    pub(crate) fn seals(&self) -> Option<Seals> {
        // Those of the measured image have none, like files on a disk.
        (self.contents().is_some() && self.fs.image.is_none()).then(|| self.sealing.seals())
    }

    /// Sets the seals that a new file starts with.
    pub(crate) fn set_seals(&self, seals: Seals) {
        self.sealing.seals.store(seals.bits(), Ordering::Relaxed);
    }

    /// `F_ADD_SEALS`: `EPERM` where no more are allowed, `EBUSY` where a mapping could write.
    pub(crate) fn add_seals(&self, seals: Seals) -> Result<(), Errno> {
        let present = self.seals().ok_or(Errno::EINVAL)?;
        if present.contains(Seals::SEAL) {
            return Err(Errno::EPERM);
        }
        let closes = seals.contains(Seals::WRITE) && !present.contains(Seals::WRITE);
        if closes && self.sealing.writers.load(Ordering::Relaxed) > 0 {
            return Err(Errno::EBUSY);
        }
        let mut all = present | seals;
        if seals.contains(Seals::EXEC) && self.meta.lock().permissions & 0o111 != 0 {
            // What can be executed and stays so must not change.
            all |= Seals::SHRINK | Seals::GROW | Seals::WRITES;
        }
        self.set_seals(all);
        Ok(())
    }
}
