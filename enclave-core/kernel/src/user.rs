// SPDX-License-Identifier: MIT
//! What the guest claims: addresses, buffers and raw arguments, and the only ways to use them.

use crate::memory::Memory;
use crate::outcome::SysResult;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use strongroom_abi::{Errno, Iovec};
use strongroom_south::{Fault, Frame, PAGE_SIZE};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Longest path, terminator included (`PATH_MAX`).
pub(crate) const PATH_MAX: usize = 4096;
/// Most segments of a vectored call (`IOV_MAX`).
const IOV_MAX: usize = 1024;
/// Most bytes of one read or write, as on Linux (`MAX_RW_COUNT`).
const TRANSFER_MAX: usize = 0x7fff_f000;

/// A buffer as long as a program says; `ENOMEM` where there is none.
pub(crate) fn zeroed<T: Clone + Default>(length: usize) -> Result<Vec<T>, Errno> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(length).map_err(|_| Errno::ENOMEM)?;
    buffer.resize(length, T::default());
    Ok(buffer)
}

/// A raw argument with a type.
pub(crate) trait FromArgument: Sized {
    /// Reads the register; refuses what the type cannot express.
    fn from_argument(raw: usize) -> Result<Self, Errno>;
}

macro_rules! truncating {
    ($($kind:ty)*) => {$(
        impl FromArgument for $kind {
            fn from_argument(raw: usize) -> Result<Self, Errno> { Ok(raw as Self) }
        }
    )*};
}
truncating! { usize isize u64 i64 u32 i32 u16 u8 }

impl FromArgument for bool {
    fn from_argument(raw: usize) -> Result<Self, Errno> {
        Ok(raw != 0)
    }
}

/// An address that user code *claims* holds a `T`. Owning one proves nothing.
pub(crate) struct UserPtr<T> {
    address: usize,
    pointee: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserPtr<T> {}

impl<T> fmt::Debug for UserPtr<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UserPtr({:#x})", self.address)
    }
}

impl<T> FromArgument for UserPtr<T> {
    fn from_argument(raw: usize) -> Result<Self, Errno> {
        Ok(Self::at(raw))
    }
}

impl<T> UserPtr<T> {
    /// A claim about an address.
    pub(crate) const fn at(address: usize) -> Self {
        Self { address, pointee: PhantomData }
    }

    /// Whether it is the null pointer, which most calls take for "absent".
    pub(crate) const fn is_null(self) -> bool {
        self.address == 0
    }

    /// The number, for messages and for calls that take it as a key.
    pub(crate) const fn address(self) -> usize {
        self.address
    }

    /// The element `index` places further, wrapping: a wild address faults when used.
    pub(crate) const fn element(self, index: usize) -> Self {
        Self::at(self.address.wrapping_add(index.wrapping_mul(size_of::<T>())))
    }
}

impl<T: FromBytes + IntoBytes + Immutable> UserPtr<T> {
    /// Copies the value in.
    pub(crate) fn read(self, memory: &Memory) -> SysResult<T> {
        let mut value = T::new_zeroed();
        memory.space().copy_in(self.address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies the value in, unless the pointer is null.
    pub(crate) fn read_optional(self, memory: &Memory) -> SysResult<Option<T>> {
        if self.is_null() { Ok(None) } else { self.read(memory).map(Some) }
    }

    /// Copies `value` out.
    pub(crate) fn write(self, memory: &Memory, value: &T) -> SysResult<()> {
        Ok(memory.space().copy_out(self.address, value.as_bytes())?)
    }

    /// Copies `value` out, unless the pointer is null.
    pub(crate) fn write_optional(self, memory: &Memory, value: &T) -> SysResult<()> {
        if self.is_null() { Ok(()) } else { self.write(memory, value) }
    }

    /// Copies `count` values in. The caller has bounded `count`.
    pub(crate) fn read_array(self, memory: &Memory, count: usize) -> SysResult<Vec<T>> {
        (0..count).map(|index| self.element(index).read(memory)).collect()
    }
}

/// A NUL-terminated string of the guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserStr(usize);

impl FromArgument for UserStr {
    fn from_argument(raw: usize) -> Result<Self, Errno> {
        Ok(Self(raw))
    }
}

impl UserStr {
    /// A claim about an address.
    pub(crate) const fn at(address: usize) -> Self {
        Self(address)
    }

    /// Whether it is the null pointer.
    pub(crate) const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Copies it in, without the terminator.
    ///
    /// `too_long` is the answer when no terminator comes within `max` bytes.
    pub(crate) fn read(self, memory: &Memory, max: usize, too_long: Errno) -> SysResult<Vec<u8>> {
        const STEP: usize = 256;
        let mut text = Vec::new();
        let mut at = self.0;
        while text.len() < max {
            // Never beyond a page that may be the last one mapped.
            let step = (STEP - at % STEP).min(max - text.len());
            let mut piece = [0; STEP];
            let piece = piece.get_mut(..step).ok_or(Errno::EFAULT)?;
            memory.space().copy_in(at, piece)?;
            if let Some(end) = piece.iter().position(|byte| *byte == 0) {
                text.extend(piece.iter().take(end));
                return Ok(text);
            }
            text.extend_from_slice(piece);
            at = at.checked_add(step).ok_or(Errno::EFAULT)?;
        }
        Err(too_long.into())
    }

    /// Copies a path in.
    pub(crate) fn read_path(self, memory: &Memory) -> SysResult<Vec<u8>> {
        self.read(memory, PATH_MAX, Errno::ENAMETOOLONG)
    }
}

/// Segments of user memory, used up from the front.
#[derive(Clone, Debug, Default)]
struct Segments {
    address: usize,
    length: usize,
    /// Reversed, so that the next one is at the end.
    rest: Vec<Iovec>,
    total: usize,
}

impl Segments {
    fn one(address: usize, length: usize) -> Self {
        let length = length.min(TRANSFER_MAX);
        Self { address, length, rest: Vec::new(), total: length }
    }

    fn many(memory: &Memory, vector: UserPtr<Iovec>, count: usize) -> SysResult<Self> {
        if count > IOV_MAX {
            return Err(Errno::EINVAL.into());
        }
        let mut rest = vector.read_array(memory, count)?;
        let mut total = 0usize;
        for segment in &mut rest {
            let length = usize::try_from(segment.length).map_err(|_| Errno::EINVAL)?;
            if length > isize::MAX as usize {
                return Err(Errno::EINVAL.into());
            }
            let length = length.min(TRANSFER_MAX - total);
            segment.length = length as u64;
            total += length;
        }
        rest.reverse();
        Ok(Self { address: 0, length: 0, rest, total })
    }

    /// The next stretch, not longer than `max` and not empty; advances.
    fn next(&mut self, max: usize) -> Option<(usize, usize)> {
        while self.length == 0 {
            let segment = self.rest.pop()?;
            self.address = segment.base as usize;
            self.length = segment.length as usize;
        }
        let step = self.length.min(max);
        let start = self.address;
        self.address = self.address.wrapping_add(step);
        self.length -= step;
        self.total -= step;
        (step > 0).then_some((start, step))
    }

    fn skip(&mut self, mut count: usize) {
        while let Some((_, step)) = self.next(count) {
            count -= step;
        }
    }
}

enum Place<'a> {
    User(Segments),
    Kernel { buffer: &'a mut [u8], at: usize },
}

/// Where the bytes of a read go: user memory, or a buffer of the kernel.
pub(crate) struct Sink<'a> {
    place: Place<'a>,
    memory: &'a Memory,
}

impl<'a> Sink<'a> {
    /// One user buffer.
    pub(crate) fn user(memory: &'a Memory, address: usize, length: usize) -> Self {
        Self { place: Place::User(Segments::one(address, length)), memory }
    }

    /// A vector of user buffers.
    pub(crate) fn vector(
        memory: &'a Memory,
        vector: UserPtr<Iovec>,
        count: usize,
    ) -> SysResult<Self> {
        Ok(Self { place: Place::User(Segments::many(memory, vector, count)?), memory })
    }

    /// A buffer of the kernel.
    pub(crate) fn kernel(memory: &'a Memory, buffer: &'a mut [u8]) -> Self {
        Self { place: Place::Kernel { buffer, at: 0 }, memory }
    }

    /// Bytes that still fit.
    pub(crate) fn room(&self) -> usize {
        match &self.place {
            Place::User(segments) => segments.total,
            Place::Kernel { buffer, at } => buffer.len() - at,
        }
    }

    /// Passes over room: that which an earlier attempt has filled.
    pub(crate) fn skip(&mut self, count: usize) {
        match &mut self.place {
            Place::User(segments) => segments.skip(count),
            Place::Kernel { buffer, at } => *at = at.saturating_add(count).min(buffer.len()),
        }
    }

    /// Copies as much of `bytes` as fits; returns how much that was.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match &mut self.place {
            Place::User(segments) => {
                let mut rest = bytes;
                while let Some((address, step)) = segments.next(rest.len()) {
                    let Some((head, tail)) = rest.split_at_checked(step) else { break };
                    self.memory.space().copy_out(address, head)?;
                    rest = tail;
                }
                Ok(bytes.len() - rest.len())
            }
            Place::Kernel { buffer, at } => {
                let count = bytes.len().min(buffer.len() - *at);
                let room = buffer.iter_mut().skip(*at);
                room.zip(bytes).for_each(|(to, from)| *to = *from);
                *at += count;
                Ok(count)
            }
        }
    }

    /// Copies from a frame; `offset + length` lies within it and `length` within the room.
    pub(crate) fn put_frame(
        &mut self,
        frame: Frame,
        offset: usize,
        length: usize,
    ) -> Result<(), Fault> {
        match &mut self.place {
            Place::User(segments) => {
                let mut done = 0;
                while let Some((address, step)) = segments.next(length - done) {
                    self.memory.space().copy_out_frame(address, frame, offset + done, step)?;
                    done += step;
                }
            }
            Place::Kernel { buffer, at } => {
                if let Some(to) = buffer.get_mut(*at..*at + length) {
                    self.memory.frames().read(frame, offset, to);
                    *at += length;
                }
            }
        }
        Ok(())
    }

    /// Puts zeroes, at most `length`; returns how many.
    pub(crate) fn put_zeroes(&mut self, length: usize) -> Result<usize, Fault> {
        match &mut self.place {
            Place::User(segments) => {
                let mut done = 0;
                while let Some((address, step)) = segments.next(length - done) {
                    self.memory.space().zero(address, step)?;
                    done += step;
                }
                Ok(done)
            }
            Place::Kernel { buffer, at } => {
                let count = length.min(buffer.len() - *at);
                buffer.iter_mut().skip(*at).take(count).for_each(|byte| *byte = 0);
                *at += count;
                Ok(count)
            }
        }
    }
}

enum Origin<'a> {
    User(Segments),
    Kernel(&'a [u8]),
}

/// Where the bytes of a write come from.
pub(crate) struct Source<'a> {
    origin: Origin<'a>,
    memory: &'a Memory,
}

impl<'a> Source<'a> {
    /// One user buffer.
    pub(crate) fn user(memory: &'a Memory, address: usize, length: usize) -> Self {
        Self { origin: Origin::User(Segments::one(address, length)), memory }
    }

    /// A vector of user buffers.
    pub(crate) fn vector(
        memory: &'a Memory,
        vector: UserPtr<Iovec>,
        count: usize,
    ) -> SysResult<Self> {
        Ok(Self { origin: Origin::User(Segments::many(memory, vector, count)?), memory })
    }

    /// Bytes of the kernel.
    pub(crate) fn kernel(memory: &'a Memory, bytes: &'a [u8]) -> Self {
        Self { origin: Origin::Kernel(bytes), memory }
    }

    /// Bytes left.
    pub(crate) fn left(&self) -> usize {
        match &self.origin {
            Origin::User(segments) => segments.total,
            Origin::Kernel(bytes) => bytes.len(),
        }
    }

    /// Passes over bytes: those that an earlier attempt has used.
    pub(crate) fn skip(&mut self, count: usize) {
        match &mut self.origin {
            Origin::User(segments) => segments.skip(count),
            Origin::Kernel(bytes) => *bytes = bytes.get(count..).unwrap_or_default(),
        }
    }

    /// Fills `buffer` as far as bytes are left; returns how many came.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let mut done = 0;
        match &mut self.origin {
            Origin::User(segments) => {
                while let Some((address, step)) = segments.next(buffer.len() - done) {
                    let Some(to) = buffer.get_mut(done..done + step) else { break };
                    self.memory.space().copy_in(address, to)?;
                    done += step;
                }
            }
            Origin::Kernel(bytes) => {
                done = bytes.len().min(buffer.len());
                buffer.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
                *bytes = bytes.get(done..).unwrap_or_default();
            }
        }
        Ok(done)
    }

    /// At most `max` bytes in a buffer of their own.
    pub(crate) fn take_vec(&mut self, max: usize) -> SysResult<Vec<u8>> {
        let mut buffer = zeroed(self.left().min(max))?;
        let count = self.take(&mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Copies into a frame; `offset + length` lies within it and `length` within what is left.
    pub(crate) fn take_frame(
        &mut self,
        frame: Frame,
        offset: usize,
        length: usize,
    ) -> Result<(), Fault> {
        debug_assert!(offset + length <= PAGE_SIZE, "the caller clips to the frame");
        match &mut self.origin {
            Origin::User(segments) => {
                let mut done = 0;
                while let Some((address, step)) = segments.next(length - done) {
                    self.memory.space().copy_in_frame(address, frame, offset + done, step)?;
                    done += step;
                }
            }
            Origin::Kernel(bytes) => {
                if let Some((head, rest)) = bytes.split_at_checked(length) {
                    self.memory.frames().write(frame, offset, head);
                    *bytes = rest;
                }
            }
        }
        Ok(())
    }
}
