// SPDX-License-Identifier: MIT
//! Messages to and from the host, over the queues of the console's port 1.
//!
//! Port 0 would need no control messages, but QEMU takes it for a terminal and drops what a slow
//! reader has no room for. Control messages go one way: what the device has to say about its ports
//! is of no interest, so the queue for it is never set up.
//!
//! The device is hostile. A used buffer counts only if it was given to the device, and a length only
//! up to the buffer's. `VirtQueue` keeps descriptors and indices in private copies; its remaining
//! panics (empty buffers, chains of another length) cannot be reached with one descriptor a buffer,
//! a checked token, and no indirect descriptors. `tests/hostile_device.rs` plays such a device.
#![allow(unsafe_code, reason = "buffers are shared with the device by address")]

use crate::deframe::Deframer;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use strongroom_wire::frame::{self, HEADER_LEN};
use strongroom_wire::{Malformed, Untrusted};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE};

/// The queue for control messages to the device.
pub const CONTROL: u16 = 3;
/// The queue of port 1's bytes from the host.
pub const RECEIVE: u16 = 4;
/// The queue of port 1's bytes to the host.
pub const TRANSMIT: u16 = 5;
/// Buffers of each queue.
pub const BUFFERS: usize = 32;
/// A host's write into the stream seldom fills more than this at once.
const RECEIVE_LENGTH: usize = PAGE_SIZE;
const TRANSMIT_LENGTH: usize = 4 * PAGE_SIZE;
const CONTROL_LENGTH: usize = PAGE_SIZE / BUFFERS;
/// `virtio_console_control` (virtio 1.2, 5.3.6.2): port, event, value. The driver is ready; port 1
/// is ready; port 1 is open.
const OPEN_PORT: [[u8; 8]; 3] =
    [[0, 0, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 3, 0, 1, 0], [1, 0, 0, 0, 6, 0, 1, 0]];
/// Receive buffers are given back, and the host told, in groups of this size.
const RETURN_GROUP: usize = 8;

/// Most bytes of `send_last_words`.
pub const LAST_WORDS_MAX: usize = 512;
/// Looks at the device before last words are given up.
const LAST_TURNS_MAX: u32 = 10_000_000;

/// The host broke the transport's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Self
    }
}

/// A queue and the buffers that go through it; descriptor `n` always means some one buffer.
#[derive(Debug)]
struct Queue<H: Hal> {
    number: u16,
    ring: VirtQueue<H, BUFFERS>,
    buffers: NonNull<u8>,
    buffer_length: usize,
    /// Which buffer the device holds under a descriptor's number, and how much of it.
    given: [Option<(usize, usize)>; BUFFERS],
    /// Buffers that are ours at this moment.
    idle: Vec<usize>,
}

// SAFETY: the pointer is to memory of the device's pool that belongs to this queue.
unsafe impl<H: Hal> Send for Queue<H> {}

impl<H: Hal> Queue<H> {
    fn new(device: &mut impl Transport, number: u16, buffer_length: usize) -> Option<Self> {
        let ring = VirtQueue::new(device, number, false, false).ok()?;
        let pages = buffer_length.checked_mul(BUFFERS)?.checked_div(PAGE_SIZE)?;
        let (address, buffers) = H::dma_alloc(pages, BufferDirection::Both);
        if address == 0 {
            return None;
        }
        let idle = (0..BUFFERS).rev().collect();
        Some(Self { number, ring, buffers, buffer_length, given: [None; BUFFERS], idle })
    }

    fn buffer(&self, index: usize) -> NonNull<u8> {
        let offset = (index % BUFFERS).wrapping_mul(self.buffer_length);
        // SAFETY: inside the buffers of this queue, by the modulo.
        unsafe { self.buffers.add(offset) }
    }

    /// Writes into an idle buffer from `offset` on, and says how many bytes fit.
    fn write(&mut self, index: usize, offset: usize, bytes: &[u8]) -> usize {
        let offset = offset.min(self.buffer_length);
        let length = bytes.len().min(self.buffer_length.saturating_sub(offset));
        // SAFETY: inside the buffer, by the two lines above.
        let to = unsafe { self.buffer(index).add(offset) };
        // SAFETY: as above; the device does not hold the buffer, and `bytes` are private memory.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), length) };
        length
    }

    /// Gives the device the first `length` bytes of an idle buffer.
    fn give(&mut self, index: usize, length: usize) -> Result<(), Broken> {
        let length = length.clamp(1, self.buffer_length);
        let slice = NonNull::slice_from_raw_parts(self.buffer(index), length);
        let token = if self.number == RECEIVE {
            // SAFETY: the bytes are in the pool and this queue's. The reference lives for the call
            // only, and `add` takes no more than address and length from it.
            let bytes = unsafe { &mut *slice.as_ptr() };
            // SAFETY: the buffer is not touched before `take` has its token back.
            unsafe { self.ring.add(&[], &mut [bytes]) }
        } else {
            // SAFETY: as above.
            let bytes = unsafe { slice.as_ref() };
            // SAFETY: as above.
            unsafe { self.ring.add(&[bytes], &mut []) }
        };
        let token = token.map_err(|_| Broken)?;
        *self.given.get_mut(usize::from(token)).ok_or(Broken)? = Some((index, length));
        Ok(())
    }

    /// Takes back a buffer that the device is done with: which, and how many bytes it wrote.
    fn take(&mut self) -> Result<Option<(usize, usize)>, Broken> {
        let Some(token) = self.ring.peek_used() else { return Ok(None) };
        let given = self.given.get_mut(usize::from(token)).ok_or(Broken)?;
        let (index, length) = given.take().ok_or(Broken)?;
        let slice = NonNull::slice_from_raw_parts(self.buffer(index), length);
        let written = if self.number == RECEIVE {
            // SAFETY: as in `give`.
            let bytes = unsafe { &mut *slice.as_ptr() };
            // SAFETY: the buffer that was added under this token.
            unsafe { self.ring.pop_used(token, &[], &mut [bytes]) }
        } else {
            // SAFETY: as in `give`.
            let bytes = unsafe { slice.as_ref() };
            // SAFETY: the buffer that was added under this token.
            unsafe { self.ring.pop_used(token, &[bytes], &mut []) }
        };
        // The device may have changed its mind about the token since it was looked at.
        let written = usize::try_from(written.map_err(|_| Broken)?).map_err(|_| Broken)?;
        Ok(Some((index, written.min(length))))
    }

    /// Whether the device is done with some buffer, in sight of everything written before.
    fn has_used(&self) -> bool {
        fence(Ordering::SeqCst);
        self.ring.can_pop()
    }

    fn notify(&self, device: &mut impl Transport) {
        fence(Ordering::SeqCst);
        if self.ring.should_notify() {
            device.notify(self.number);
        }
    }
}

/// The connection to the host.
#[derive(Debug)]
pub struct Link<H: Hal, T: Transport> {
    device: T,
    /// Kept because the device may still be reading from it.
    _control: Queue<H>,
    receive: Queue<H>,
    transmit: Queue<H>,
    deframer: Deframer,
    /// The message that is being sent.
    message: Vec<u8>,
    header: [u8; HEADER_LEN],
    /// Room for the last message, taken while there is memory.
    last_words: Vec<u8>,
    /// Bytes of header and message that are in buffers already.
    sent: usize,
    /// Whether the device has not been told of some buffers yet.
    untold: bool,
}

impl<H: Hal, T: Transport> Link<H, T> {
    /// Sets up the queues of a device that has agreed on its features, and opens the port. None
    /// when the device has too small queues, or the pool too little memory.
    pub fn new(mut device: T) -> Option<Self> {
        let mut control = Queue::new(&mut device, CONTROL, CONTROL_LENGTH)?;
        let mut receive = Queue::new(&mut device, RECEIVE, RECEIVE_LENGTH)?;
        let mut transmit = Queue::new(&mut device, TRANSMIT, TRANSMIT_LENGTH)?;
        device.finish_init();
        while let Some(index) = receive.idle.pop() {
            receive.give(index, RECEIVE_LENGTH).ok()?;
        }
        receive.notify(&mut device);
        transmit.ring.set_dev_notify(false);
        control.ring.set_dev_notify(false);
        for message in OPEN_PORT {
            let index = control.idle.pop()?;
            let length = control.write(index, 0, &message);
            control.give(index, length).ok()?;
        }
        control.notify(&mut device);
        Some(Self {
            device,
            _control: control,
            receive,
            transmit,
            deframer: Deframer::new(),
            message: Vec::new(),
            last_words: Vec::with_capacity(LAST_WORDS_MAX),
            header: [0; HEADER_LEN],
            sent: 0,
            untold: false,
        })
    }

    /// Hands over every message that has arrived in full.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the device or the stream breaks its rules.
    pub fn receive(&mut self, mut deliver: impl FnMut(Untrusted<'_>)) -> Result<(), Broken> {
        while let Some((index, length)) = self.receive.take()? {
            let from = self.receive.buffer(index);
            self.deframer.append(length, |room| {
                // SAFETY: the device is done with the buffer; should it write all the same, the
                // bytes are as untrusted as before. Copied once, `room` is private.
                unsafe {
                    core::ptr::copy_nonoverlapping(from.as_ptr(), room.as_mut_ptr(), room.len());
                }
            })?;
            self.receive.idle.push(index);
            while let Some(message) = self.deframer.next_message()? {
                deliver(message);
            }
        }
        if self.receive.idle.len() >= RETURN_GROUP {
            while let Some(index) = self.receive.idle.pop() {
                self.receive.give(index, RECEIVE_LENGTH)?;
            }
            self.receive.notify(&mut self.device);
        }
        Ok(())
    }

    /// Sends what there is of the current message as far as buffers reach. Says whether the link
    /// is ready for another one.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the device breaks its rules.
    pub fn send_pending(&mut self) -> Result<bool, Broken> {
        let total = self.pending();
        while self.sent < total {
            if self.transmit.idle.is_empty() {
                self.collect()?;
            }
            let Some(index) = self.transmit.idle.pop() else { break };
            let length = self.fill(index);
            self.transmit.give(index, length)?;
            self.untold = true;
        }
        if self.sent < total {
            self.tell();
            return Ok(false);
        }
        self.message.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Begins to send a message; the link has to be ready for it. One that is too long is a
    /// mistake of ours.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for a message over the limit.
    pub fn submit(&mut self, message: Vec<u8>) -> Result<(), Malformed> {
        self.header = frame::header(message.len())?;
        self.message = message;
        self.sent = 0;
        Ok(())
    }

    /// Tells the device of buffers that it was given.
    pub fn tell(&mut self) {
        if self.untold {
            self.untold = false;
            self.transmit.notify(&mut self.device);
        }
    }

    /// Whether there is something to do before waiting makes sense. With `blocked`, room to send
    /// is such a thing too, and the device is asked to interrupt when there is.
    pub fn wants_turn(&mut self, blocked: bool) -> bool {
        self.transmit.ring.set_dev_notify(blocked);
        self.receive.has_used() || blocked && self.transmit.has_used()
    }

    /// Whether the device is done with everything that was sent.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the device breaks its rules.
    pub fn is_flushed(&mut self) -> Result<bool, Broken> {
        self.collect()?;
        Ok(self.pending() == 0 && self.transmit.idle.len() == BUFFERS)
    }

    /// Sends one last message of at most [`LAST_WORDS_MAX`] bytes and gives the device a moment to
    /// carry it. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the device breaks its rules, or takes too long.
    pub fn send_last_words(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mut turns = 0..LAST_TURNS_MAX;
        while !self.send_pending()? {
            turns.next().ok_or(Broken)?;
        }
        let mut message = core::mem::take(&mut self.last_words);
        message.extend_from_slice(bytes.get(..LAST_WORDS_MAX).unwrap_or(bytes));
        self.submit(message)?;
        while !(self.send_pending()? && self.is_flushed()?) {
            self.tell();
            turns.next().ok_or(Broken)?;
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<(), Broken> {
        while let Some((index, _)) = self.transmit.take()? {
            self.transmit.idle.push(index);
        }
        Ok(())
    }

    /// Bytes of header and message; none without a message.
    const fn pending(&self) -> usize {
        if self.message.is_empty() { 0 } else { self.message.len().saturating_add(HEADER_LEN) }
    }

    /// Fills a buffer from what is left to send, and says with how much.
    fn fill(&mut self, index: usize) -> usize {
        let mut filled = 0_usize;
        let body = self.sent.saturating_sub(HEADER_LEN);
        let parts = [self.header.get(self.sent..), self.message.get(body..)];
        for part in parts.into_iter().flatten() {
            filled = filled.saturating_add(self.transmit.write(index, filled, part));
        }
        self.sent = self.sent.saturating_add(filled);
        filled
    }
}
