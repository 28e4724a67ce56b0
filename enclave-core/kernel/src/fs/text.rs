// SPDX-License-Identifier: MIT
//! Files that are written, and files that are run: no file is both (`ETXTBSY`).

use crate::fs::InodeId;
use crate::kernel::Kernel;
use alloc::collections::BTreeMap;
use spin::Mutex;
use strongroom_abi::Errno;

/// How often a file is open for writing or, below zero, is being run.
type Uses = BTreeMap<InodeId, isize>;

/// All such uses of the kernel. Files of neither kind are not in it.
#[derive(Default)]
pub(crate) struct TextUses {
    uses: Mutex<Uses>,
}

impl TextUses {
    fn take(&self, file: InodeId, step: isize) -> Result<(), Errno> {
        let mut uses = self.uses.lock();
        let count = uses.get(&file).copied().unwrap_or(0);
        if count.signum() == -step {
            return Err(Errno::ETXTBSY);
        }
        uses.insert(file, count + step);
        Ok(())
    }

    fn give_back(&self, file: InodeId, step: isize) {
        let mut uses = self.uses.lock();
        let Some(count) = uses.get_mut(&file) else { return };
        *count -= step;
        if *count == 0 {
            uses.remove(&file);
        }
    }
}

/// Keeps a file from being used the other way for as long as it lives.
pub(crate) struct TextUse {
    kernel: &'static Kernel,
    file: InodeId,
    step: isize,
}

impl TextUse {
    /// The file is written; `ETXTBSY` while it is run.
    pub(crate) fn write(kernel: &'static Kernel, file: InodeId) -> Result<Self, Errno> {
        Self::take(kernel, file, 1)
    }

    /// The file is run; `ETXTBSY` while it is open for writing.
    pub(crate) fn run(kernel: &'static Kernel, file: InodeId) -> Result<Self, Errno> {
        Self::take(kernel, file, -1)
    }

    fn take(kernel: &'static Kernel, file: InodeId, step: isize) -> Result<Self, Errno> {
        kernel.text_uses.take(file, step)?;
        Ok(Self { kernel, file, step })
    }
}

impl Drop for TextUse {
    fn drop(&mut self) {
        self.kernel.text_uses.give_back(self.file, self.step);
    }
}
