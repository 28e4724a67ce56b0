// SPDX-License-Identifier: MIT
//! The behaviour behind an open file.

use crate::fs::{Attributes, OpenFile, Pages};
use crate::memory::Memory;
use crate::outcome::SysResult;
use crate::sync::Waiter;
use crate::task::{Call, Thread};
use crate::user::{Sink, Source};
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use strongroom_abi::Errno;

bitflags::bitflags! {
    /// Readiness, in the bits of `poll(2)` and `epoll(7)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(crate) struct Ready: u32 {
        const IN = 0x1;
        const PRIORITY = 0x2;
        const OUT = 0x4;
        const ERROR = 0x8;
        const HANGUP = 0x10;
        const INVALID = 0x20;
        const READ_NORMAL = 0x40;
        const READ_BAND = 0x80;
        const WRITE_NORMAL = 0x100;
        const WRITE_BAND = 0x200;
        const READ_HANGUP = 0x2000;
    }
}

impl Ready {
    /// Readable.
    pub(crate) const READ: Self = Self::IN.union(Self::READ_NORMAL);
    /// Writable.
    pub(crate) const WRITE: Self = Self::OUT.union(Self::WRITE_NORMAL);

    /// `self` where `condition` holds, else nothing.
    pub(crate) fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::empty() }
    }
}

/// The base of a seek.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whence {
    Start,
    Current,
    End,
    Data,
    Hole,
}

/// What can be done with an open file. Calls that would block register with the file's wait queue
/// and stop (see [`Call::block_on`]). Access modes were checked by the caller.
pub(crate) trait File: Send + Sync {
    /// For calls that need a particular kind of file (sockets, epoll instances).
    fn as_any(&self) -> &dyn Any;

    /// Reads at `offset`; streams ignore it.
    fn read(
        &self,
        _call: &mut Call<'_>,
        _open: &OpenFile,
        _offset: u64,
        _to: &mut Sink<'_>,
    ) -> SysResult {
        Err(Errno::EINVAL.into())
    }

    /// Writes at `offset`; streams ignore it.
    fn write(
        &self,
        _call: &mut Call<'_>,
        _open: &OpenFile,
        _offset: u64,
        _from: &mut Source<'_>,
    ) -> SysResult {
        Err(Errno::EINVAL.into())
    }

    /// Reads without an offset if that needs no more than a look: no waiting, no page to be
    /// brought in. `None` leads to [`File::read`]; nothing has changed then.
    fn read_now(&self, _memory: &Memory, _address: usize, _count: usize) -> Option<usize> {
        None
    }

    /// Writes without an offset, as [`File::read_now`] reads.
    fn write_now(&self, _memory: &Memory, _address: usize, _count: usize) -> Option<usize> {
        None
    }

    /// Whether what is written to it stays in the kernel's own memory until somebody reads it.
    fn keeps_bytes(&self) -> bool {
        false
    }

    /// Whether offsets mean anything.
    fn seekable(&self) -> bool {
        false
    }

    /// Whether its offset is always zero, as that of `/dev/null`.
    fn stays_at_zero(&self) -> bool {
        false
    }

    /// Bytes in a seekable file.
    fn size(&self, _by: &Thread) -> SysResult<u64> {
        Ok(0)
    }

    /// The next data or hole at or behind an offset; files without holes need not say.
    fn find(&self, by: &Thread, offset: u64, whence: Whence) -> SysResult<u64> {
        let size = self.size(by)?;
        if offset >= size {
            return Err(Errno::ENXIO.into());
        }
        Ok(if whence == Whence::Hole { size } else { offset })
    }

    /// What it is ready for at this moment. With a waiter, that one is registered with every queue
    /// that is woken when the answer changes.
    fn poll(&self, _open: &OpenFile, _waiter: Option<&Waiter>) -> Ready {
        Ready::READ | Ready::WRITE
    }

    /// As [`File::poll`], for files whose answer depends on who asks.
    fn poll_by(&self, _by: &Thread, open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        self.poll(open, waiter)
    }

    /// Takes a waiter out of the queues that [`File::poll`] registered it with.
    fn forget(&self, _waiter: &Waiter) {}

    /// Whether `epoll_ctl(2)` takes it.
    fn pollable(&self) -> bool {
        true
    }

    /// Device control.
    fn ioctl(
        &self,
        _call: &mut Call<'_>,
        _open: &OpenFile,
        _request: u32,
        _argument: usize,
    ) -> SysResult {
        Err(Errno::ENOTTY.into())
    }

    /// Changes the length.
    fn truncate(&self, _by: &Thread, _size: u64) -> SysResult<()> {
        Err(Errno::EINVAL.into())
    }

    /// Makes sure that a range has room; `keep` leaves the length.
    fn allocate(&self, _by: &Thread, _offset: u64, _length: u64, _keep: bool) -> SysResult<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// Frees a range, which reads as zeroes then.
    fn punch(&self, _by: &Thread, _offset: u64, _length: u64) -> SysResult<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// Brings data to where it is safe.
    fn sync(&self, _by: &Thread) -> SysResult<()> {
        Err(Errno::EINVAL.into())
    }

    /// Contents for `mmap(2)`.
    fn pages(&self) -> Option<Arc<dyn Pages>> {
        None
    }

    /// Whether a mapping of it is one of zeroes, as of `/dev/zero`.
    fn maps_zeroes(&self) -> bool {
        false
    }

    /// `fstat(2)` of files that were not opened by name.
    fn attributes(&self, by: &Thread) -> SysResult<Attributes>;

    /// What `/proc/self/fd` shows for files that were not opened by name: `pipe:[7]`.
    fn label(&self) -> String;

    /// What `/proc/self/fdinfo` adds.
    fn details(&self) -> String {
        String::new()
    }
}
