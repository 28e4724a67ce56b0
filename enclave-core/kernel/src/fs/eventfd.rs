// SPDX-License-Identifier: MIT
//! Counters with a descriptor (`eventfd(2)`).

use crate::fs::{Attributes, File, InodeId, Kind, OpenFile, Ready};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::sync::{WaitQueue, Waiter};
use crate::task::{Call, Thread};
use crate::user::{Sink, Source};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use spin::Mutex;
use strongroom_abi::Errno;

/// The highest count.
const COUNT_MAX: u64 = u64::MAX - 1;
/// Bytes of a count.
const SIZE: usize = 8;

/// See the module's text.
pub(crate) struct EventFd {
    number: u64,
    /// Reads take one instead of all.
    semaphore: bool,
    count: Mutex<u64>,
    readable: WaitQueue,
    writable: WaitQueue,
}

impl EventFd {
    /// A counter.
    pub(crate) fn new(kernel: &'static Kernel, count: u64, semaphore: bool) -> Arc<Self> {
        Arc::new(Self {
            number: kernel.next_number(),
            semaphore,
            count: Mutex::new(count),
            readable: WaitQueue::new(kernel.scheduler),
            writable: WaitQueue::new(kernel.scheduler),
        })
    }
}

impl File for EventFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        to: &mut Sink<'_>,
    ) -> SysResult {
        if to.room() < SIZE {
            return Err(Errno::EINVAL.into());
        }
        let mut count = self.count.lock();
        if *count == 0 {
            return call.block_on(open, &self.readable);
        }
        let taken = if self.semaphore { 1 } else { *count };
        to.put(&taken.to_ne_bytes())?;
        *count -= taken;
        drop(count);
        self.writable.wake();
        Ok(SIZE)
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        if from.left() < SIZE {
            return Err(Errno::EINVAL.into());
        }
        let mut bytes = [0; SIZE];
        from.take(&mut bytes)?;
        let added = u64::from_ne_bytes(bytes);
        if added > COUNT_MAX {
            return Err(Errno::EINVAL.into());
        }
        let mut count = self.count.lock();
        if added > COUNT_MAX - *count {
            return call.block_on(open, &self.writable);
        }
        *count += added;
        drop(count);
        self.readable.wake();
        Ok(SIZE)
    }

    fn poll(&self, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        let count = self.count.lock();
        if let Some(waiter) = waiter {
            self.readable.register(waiter);
            self.writable.register(waiter);
        }
        Ready::IN.when(*count > 0) | Ready::OUT.when(*count < COUNT_MAX)
    }

    fn forget(&self, waiter: &Waiter) {
        self.readable.deregister(waiter);
        self.writable.deregister(waiter);
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: self.number };
        Ok(Attributes::anonymous(Kind::CharacterDevice, id, 0o600))
    }

    fn label(&self) -> String {
        String::from("anon_inode:[eventfd]")
    }

    fn details(&self) -> String {
        format!("eventfd-count: {:16x}\neventfd-id: {}\n", *self.count.lock(), self.number)
    }
}
