// SPDX-License-Identifier: MIT
//! Open file descriptions (`open(2)`): what descriptors share after `dup` and `fork`.

use crate::fs::text::TextUse;
use crate::fs::{Attributes, File, Place};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::task::Thread;
use crate::user::FromArgument;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use strongroom_abi::{Errno, arch};

bitflags::bitflags! {
    /// `O_*` of `open(2)`. Four of them differ between processors.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(crate) struct OpenFlags: u32 {
        const WRITE_ONLY = 0o1;
        const READ_WRITE = 0o2;
        const CREATE = 0o100;
        const EXCLUSIVE = 0o200;
        const NO_TERMINAL = 0o400;
        const TRUNCATE = 0o1000;
        const APPEND = 0o2000;
        const NONBLOCK = 0o4000;
        const DATA_SYNC = 0o10000;
        const ASYNC = 0o20000;
        const DIRECT = arch::O_DIRECT;
        const LARGE_FILE = arch::O_LARGEFILE;
        const DIRECTORY = arch::O_DIRECTORY;
        const NO_FOLLOW = arch::O_NOFOLLOW;
        const NO_ACCESS_TIME = 0o1_000_000;
        const CLOSE_ON_EXEC = 0o2_000_000;
        const SYNC = 0o4_000_000;
        const PATH = 0o10_000_000;
        const TEMPORARY = 0o20_000_000;
    }
}

impl FromArgument for OpenFlags {
    fn from_argument(raw: usize) -> Result<Self, Errno> {
        // Unknown bits are ignored, as open(2) does.
        Ok(Self::from_bits_truncate(raw as u32))
    }
}

impl OpenFlags {
    /// Flags that `fcntl(F_SETFL)` can change.
    pub(crate) const CHANGEABLE: Self =
        Self::APPEND.union(Self::NONBLOCK).union(Self::ASYNC).union(Self::DIRECT);
    /// Flags that matter only while opening.
    const OPENING: Self = Self::CREATE
        .union(Self::EXCLUSIVE)
        .union(Self::NO_TERMINAL)
        .union(Self::TRUNCATE)
        .union(Self::CLOSE_ON_EXEC);

    /// Whether reading is allowed.
    pub(crate) const fn readable(self) -> bool {
        self.bits() & 3 != 1 && !self.contains(Self::PATH)
    }

    /// Whether writing is allowed.
    pub(crate) const fn writable(self) -> bool {
        self.bits() & 3 != 0 && !self.contains(Self::PATH)
    }
}

/// See the module's text.
pub(crate) struct OpenFile {
    pub(crate) file: Arc<dyn File>,
    /// Where it was found, if it was opened by name.
    pub(crate) place: Option<Place>,
    /// Keeps a file that is open for writing from being run.
    _writing: Option<TextUse>,
    flags: AtomicU32,
    offset: AtomicU64,
    /// Unlike any other of this kernel: names the owner of `flock(2)` and OFD locks.
    pub(crate) number: u64,
    kernel: &'static Kernel,
    /// Process or group that gets `SIGIO` (`F_SETOWN`).
    pub(crate) owner: AtomicI32,
}

impl OpenFile {
    /// Opens; opening-time flags are dropped.
    pub(crate) fn new(
        kernel: &'static Kernel,
        file: Arc<dyn File>,
        place: Option<Place>,
        flags: OpenFlags,
    ) -> Arc<Self> {
        Self::writing(kernel, file, place, flags, None)
    }

    /// As [`OpenFile::new`], for a file that was found by its name.
    pub(crate) fn writing(
        kernel: &'static Kernel,
        file: Arc<dyn File>,
        place: Option<Place>,
        flags: OpenFlags,
        writing: Option<TextUse>,
    ) -> Arc<Self> {
        Arc::new(Self {
            file,
            place,
            _writing: writing,
            flags: AtomicU32::new((flags - OpenFlags::OPENING).bits()),
            offset: AtomicU64::new(0),
            number: kernel.next_number(),
            kernel,
            owner: AtomicI32::new(0),
        })
    }

    /// Flags at this moment.
    pub(crate) fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// `fcntl(F_SETFL)`.
    pub(crate) fn set_flags(&self, flags: OpenFlags) {
        let kept = self.flags() - OpenFlags::CHANGEABLE;
        let flags = kept | (flags & OpenFlags::CHANGEABLE);
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Whether calls fail with `EAGAIN` instead of blocking.
    pub(crate) fn nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// `EBADF` unless it was opened for reading.
    pub(crate) fn check_readable(&self) -> Result<(), Errno> {
        if self.flags().readable() { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// `EBADF` unless it was opened for writing.
    pub(crate) fn check_writable(&self) -> Result<(), Errno> {
        if self.flags().writable() { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// The file offset.
    pub(crate) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Sets the file offset.
    pub(crate) fn set_offset(&self, offset: u64) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// `fstat(2)`.
    pub(crate) fn attributes(&self, by: &Thread) -> SysResult<Attributes> {
        match &self.place {
            Some(place) => place.inode.attributes(by),
            None => self.file.attributes(by),
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            self.kernel.locks.release_open_file(place.inode.id(), self.number);
        }
    }
}
