// SPDX-License-Identifier: MIT
//! File descriptors of a process.

use crate::fs::OpenFile;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;
use strongroom_abi::Errno;

/// Most descriptors of a process, whatever `RLIMIT_NOFILE` says (`fs.nr_open`).
const DESCRIPTORS_MAX: usize = 1 << 20;

/// A descriptor's open file and its own flag.
#[derive(Clone)]
pub(crate) struct Descriptor {
    pub(crate) open: Arc<OpenFile>,
    pub(crate) close_on_exec: bool,
}

/// The table of a process, or of several that share it.
#[derive(Default)]
pub(crate) struct FileTable {
    slots: Mutex<Vec<Option<Descriptor>>>,
}

impl FileTable {
    /// The open file behind a descriptor.
    pub(crate) fn file(&self, number: i32) -> Result<Arc<OpenFile>, Errno> {
        let index = usize::try_from(number).map_err(|_| Errno::EBADF)?;
        match self.slots.lock().get(index) {
            Some(Some(descriptor)) => Ok(Arc::clone(&descriptor.open)),
            Some(None) | None => Err(Errno::EBADF),
        }
    }

    /// Looks at the open file behind a descriptor while the table is locked: nothing in `look` may
    /// use the table, or drop an open file.
    #[inline]
    pub(crate) fn with<T>(
        &self,
        number: usize,
        look: impl FnOnce(&OpenFile) -> Option<T>,
    ) -> Option<T> {
        let slots = self.slots.lock();
        look(&slots.get(number)?.as_ref()?.open)
    }

    /// A descriptor with its flag.
    pub(crate) fn descriptor(&self, number: i32) -> Result<Descriptor, Errno> {
        let index = usize::try_from(number).map_err(|_| Errno::EBADF)?;
        self.slots.lock().get(index).cloned().flatten().ok_or(Errno::EBADF)
    }

    /// Puts an open file at the lowest free number that is at least `from` and below `limit`.
    pub(crate) fn insert(
        &self,
        open: Arc<OpenFile>,
        close_on_exec: bool,
        from: usize,
        limit: u64,
    ) -> Result<usize, Errno> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(DESCRIPTORS_MAX);
        let mut slots = self.slots.lock();
        let free = slots.iter().skip(from).position(Option::is_none);
        let number = free.map_or_else(|| slots.len().max(from), |at| at + from);
        if number >= limit {
            return Err(Errno::EMFILE);
        }
        grow(&mut slots, number)?;
        if let Some(slot) = slots.get_mut(number) {
            *slot = Some(Descriptor { open, close_on_exec });
        }
        Ok(number)
    }

    /// `EMFILE` unless there is a free number below `limit`.
    pub(crate) fn check_room(&self, limit: u64) -> Result<(), Errno> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(DESCRIPTORS_MAX);
        let slots = self.slots.lock();
        let free = slots.len() < limit || slots.iter().take(limit).any(Option::is_none);
        if free { Ok(()) } else { Err(Errno::EMFILE) }
    }

    /// Puts an open file at a given number; returns what was there.
    pub(crate) fn replace(
        &self,
        number: usize,
        open: Arc<OpenFile>,
        close_on_exec: bool,
        limit: u64,
    ) -> Result<Option<Descriptor>, Errno> {
        if number as u64 >= limit || number >= DESCRIPTORS_MAX {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.lock();
        grow(&mut slots, number)?;
        let slot = slots.get_mut(number).ok_or(Errno::EBADF)?;
        Ok(slot.replace(Descriptor { open, close_on_exec }))
    }

    /// Takes a descriptor out. The caller drops it outside the lock.
    pub(crate) fn remove(&self, number: i32) -> Result<Descriptor, Errno> {
        let index = usize::try_from(number).map_err(|_| Errno::EBADF)?;
        self.slots.lock().get_mut(index).and_then(Option::take).ok_or(Errno::EBADF)
    }

    /// Sets a descriptor's flag.
    pub(crate) fn set_close_on_exec(&self, number: i32, value: bool) -> Result<(), Errno> {
        let index = usize::try_from(number).map_err(|_| Errno::EBADF)?;
        match self.slots.lock().get_mut(index) {
            Some(Some(descriptor)) => {
                descriptor.close_on_exec = value;
                Ok(())
            }
            Some(None) | None => Err(Errno::EBADF),
        }
    }

    /// A copy for `fork`.
    pub(crate) fn duplicate(&self) -> Self {
        Self { slots: Mutex::new(self.slots.lock().clone()) }
    }

    /// Takes out what `execve` closes.
    pub(crate) fn take_close_on_exec(&self) -> Vec<Descriptor> {
        let mut slots = self.slots.lock();
        let closing =
            slots.iter_mut().filter_map(|slot| slot.take_if(|descriptor| descriptor.close_on_exec));
        closing.collect()
    }

    /// Takes out a range, for `close_range` and for the end of a process.
    pub(crate) fn take_range(&self, first: usize, last: usize) -> Vec<Descriptor> {
        let mut slots = self.slots.lock();
        let count = last.saturating_sub(first).saturating_add(1);
        slots.iter_mut().skip(first).take(count).filter_map(Option::take).collect()
    }

    /// The numbers in use.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        let slots = self.slots.lock();
        let used = slots.iter().enumerate().filter(|(_, slot)| slot.is_some());
        used.map(|(number, _)| number).collect()
    }
}

fn grow(slots: &mut Vec<Option<Descriptor>>, number: usize) -> Result<(), Errno> {
    if number >= slots.len() {
        slots.try_reserve(number + 1 - slots.len()).map_err(|_| Errno::ENOMEM)?;
        slots.resize(number + 1, None);
    }
    Ok(())
}
