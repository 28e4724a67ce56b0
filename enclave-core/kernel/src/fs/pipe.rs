// SPDX-License-Identifier: MIT
//! Pipes and FIFOs (`pipe(7)`).

use crate::fs::{Attributes, File, InodeId, Kind, OpenFile, Ready};
use crate::kernel::Kernel;
use crate::memory::Memory;
use crate::outcome::SysResult;
use crate::signal::{self, SIGPIPE};
use crate::sync::{WaitQueue, Waiter};
use crate::task::{Call, Thread};
use crate::user::{Sink, Source, UserPtr};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use spin::Mutex;
use strongroom_abi::Errno;

/// Bytes that a pipe holds at first.
const CAPACITY: usize = 64 * 1024;
/// Most bytes it can be made to hold (`/proc/sys/fs/pipe-max-size`).
const CAPACITY_MAX: usize = 1 << 20;
/// Writes up to this size are not interleaved with others (`PIPE_BUF`).
const ATOMIC: usize = 4096;
/// `ioctl(FIONREAD)`.
const FIONREAD: u32 = 0x541b;

struct State {
    /// A ring: `length` bytes from `start`.
    buffer: Vec<u8>,
    start: usize,
    length: usize,
    capacity: usize,
    readers: usize,
    writers: usize,
    /// Counted up at every opening, so that a FIFO's opener sees partners that left again.
    readers_ever: usize,
    writers_ever: usize,
}

/// The buffer between readers and writers.
pub(crate) struct Pipe {
    number: u64,
    state: Mutex<State>,
    readable: WaitQueue,
    writable: WaitQueue,
}

/// An end of a pipe.
pub(crate) struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
}

impl Pipe {
    /// Nobody at either end.
    pub(crate) fn new(kernel: &'static Kernel) -> Arc<Self> {
        let state = State {
            buffer: Vec::new(),
            start: 0,
            length: 0,
            capacity: CAPACITY,
            readers: 0,
            writers: 0,
            readers_ever: 0,
            writers_ever: 0,
        };
        Arc::new(Self {
            number: kernel.next_number(),
            state: Mutex::new(state),
            readable: WaitQueue::new(kernel.scheduler),
            writable: WaitQueue::new(kernel.scheduler),
        })
    }

    /// Opens an end.
    pub(crate) fn end(self: &Arc<Self>, reads: bool, writes: bool) -> Arc<PipeEnd> {
        let mut state = self.state.lock();
        if reads {
            state.readers += 1;
            state.readers_ever += 1;
        }
        if writes {
            state.writers += 1;
            state.writers_ever += 1;
        }
        drop(state);
        self.wake_all();
        Arc::new(PipeEnd { pipe: Arc::clone(self), reads, writes })
    }

    /// Openings for reading and writing so far.
    pub(crate) fn openings(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.readers_ever, state.writers_ever)
    }

    /// Readers and writers at this moment.
    pub(crate) fn partners(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.readers, state.writers)
    }

    /// Woken when someone opens or closes an end.
    pub(crate) const fn opened(&self) -> &WaitQueue {
        &self.readable
    }

    fn wake_all(&self) {
        self.readable.wake();
        self.writable.wake();
    }
}

impl State {
    /// The two stretches that hold the bytes, in order.
    fn stretches(&self) -> (&[u8], &[u8]) {
        let end = self.start + self.length;
        if end <= self.buffer.len() {
            (self.buffer.get(self.start..end).unwrap_or_default(), &[])
        } else {
            let head = self.buffer.get(self.start..).unwrap_or_default();
            let tail = self.buffer.get(..end - self.buffer.len()).unwrap_or_default();
            (head, tail)
        }
    }

    fn consume(&mut self, count: usize) {
        self.length -= count;
        let next = self.start + count;
        let size = self.buffer.len();
        self.start = match self.length {
            0 => 0,
            _ if next >= size => next - size,
            _ => next,
        };
    }

    /// Makes the ring large enough for `wanted` bytes in all: small pipes stay small.
    fn grow(&mut self, wanted: usize) -> Result<(), Errno> {
        if wanted <= self.buffer.len() {
            return Ok(());
        }
        let size = wanted.next_power_of_two().max(ATOMIC).min(self.capacity.max(wanted));
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        let (head, tail) = self.stretches();
        buffer.extend_from_slice(head);
        buffer.extend_from_slice(tail);
        buffer.resize(size, 0);
        self.buffer = buffer;
        self.start = 0;
        Ok(())
    }

    /// Takes bytes from a writer into the ring, which has room for them.
    fn fill(&mut self, from: &mut Source<'_>, count: usize) -> SysResult {
        self.grow(self.length + count)?;
        let mut done = 0;
        while done < count {
            let size = self.buffer.len();
            let at = (self.start + self.length + done) % size;
            let step = (count - done).min(size - at);
            let Some(room) = self.buffer.get_mut(at..at + step) else { break };
            let taken = from.take(room)?;
            if taken == 0 {
                break;
            }
            done += taken;
        }
        self.length += done;
        Ok(done)
    }
}

impl File for PipeEnd {
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
        let mut state = self.pipe.state.lock();
        if to.room() == 0 {
            return Ok(0);
        }
        if state.length == 0 {
            return if state.writers == 0 {
                Ok(0)
            } else {
                call.block_on(open, &self.pipe.readable)
            };
        }
        let (head, tail) = state.stretches();
        let mut count = to.put(head)?;
        if count == head.len() {
            count += to.put(tail)?;
        }
        state.consume(count);
        drop(state);
        self.pipe.writable.wake();
        Ok(count)
    }

    fn keeps_bytes(&self) -> bool {
        true
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        let before = call.progress.done;
        let total = from.left();
        from.skip(before);
        let mut state = self.pipe.state.lock();
        if state.readers == 0 {
            drop(state);
            signal::send_to_thread(call.thread, signal::info_from(SIGPIPE, 0, 0, 0));
            return Err(Errno::EPIPE.into());
        }
        let room = state.capacity.saturating_sub(state.length);
        let left = from.left();
        let step = if total <= ATOMIC && room < left { 0 } else { room.min(left) };
        if step > 0 {
            let done = state.fill(from, step)?;
            call.progress.done += done;
            self.pipe.readable.wake();
        }
        if from.left() == 0 {
            return Ok(total);
        }
        if open.nonblocking() && call.progress.done > 0 {
            return Ok(call.progress.done);
        }
        call.block_on(open, &self.pipe.writable)
    }

    fn read_now(&self, memory: &Memory, address: usize, count: usize) -> Option<usize> {
        let mut state = self.pipe.state.lock();
        let (head, _) = state.stretches();
        let step = head.len().min(count);
        // The end, the wait, and bytes on both sides of the ring's seam go the long way.
        if step == 0 || (step < count && step < state.length) {
            return None;
        }
        memory.space().copy_out(address, head.get(..step)?).ok()?;
        state.consume(step);
        drop(state);
        self.pipe.writable.wake();
        Some(step)
    }

    fn write_now(&self, memory: &Memory, address: usize, count: usize) -> Option<usize> {
        let mut state = self.pipe.state.lock();
        let size = state.buffer.len();
        let at = state.start + state.length;
        let at = if at >= size { at - size } else { at };
        let fits = count > 0 && state.readers > 0 && state.length + count <= size;
        if !fits || state.length + count > state.capacity {
            return None;
        }
        let room = state.buffer.get_mut(at..at + count)?;
        memory.space().copy_in(address, room).ok()?;
        state.length += count;
        drop(state);
        self.pipe.readable.wake();
        Some(count)
    }

    fn poll(&self, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        let state = self.pipe.state.lock();
        let mut ready = Ready::empty();
        if self.reads {
            if let Some(waiter) = waiter {
                self.pipe.readable.register(waiter);
            }
            ready |= Ready::READ.when(state.length > 0);
            ready |= Ready::HANGUP.when(state.writers == 0 && state.writers_ever > 0);
        }
        if self.writes {
            if let Some(waiter) = waiter {
                self.pipe.writable.register(waiter);
            }
            ready |= Ready::WRITE.when(state.capacity - state.length.min(state.capacity) >= ATOMIC);
            ready |= Ready::ERROR.when(state.readers == 0);
        }
        ready
    }

    fn forget(&self, waiter: &Waiter) {
        self.pipe.readable.deregister(waiter);
        self.pipe.writable.deregister(waiter);
    }

    fn ioctl(
        &self,
        call: &mut Call<'_>,
        _open: &OpenFile,
        request: u32,
        argument: usize,
    ) -> SysResult {
        if request != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let length = self.pipe.state.lock().length as u32;
        UserPtr::<u32>::at(argument).write(call.memory, &length)?;
        Ok(0)
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: self.pipe.number };
        Ok(Attributes::anonymous(Kind::Fifo, id, 0o600))
    }

    fn label(&self) -> String {
        format!("pipe:[{}]", self.pipe.number)
    }
}

impl PipeEnd {
    /// Opens an end of the same pipe, whichever this one is.
    pub(crate) fn another(&self, reads: bool, writes: bool) -> Arc<Self> {
        self.pipe.end(reads, writes)
    }

    /// `fcntl(F_GETPIPE_SZ)`.
    pub(crate) fn capacity(&self) -> usize {
        self.pipe.state.lock().capacity
    }

    /// `fcntl(F_SETPIPE_SZ)`.
    pub(crate) fn set_capacity(&self, wanted: usize) -> SysResult {
        if wanted > CAPACITY_MAX {
            return Err(Errno::EPERM.into());
        }
        let mut state = self.pipe.state.lock();
        let capacity = wanted.max(ATOMIC).next_power_of_two();
        if capacity < state.length {
            return Err(Errno::EBUSY.into());
        }
        state.capacity = capacity;
        Ok(capacity)
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.readers -= usize::from(self.reads);
        state.writers -= usize::from(self.writes);
        drop(state);
        self.pipe.wake_all();
    }
}
