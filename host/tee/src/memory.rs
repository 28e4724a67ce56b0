// SPDX-License-Identifier: MIT
//! Memory that this process and the TEE both see.

use core::cell::UnsafeCell;
use std::sync::Arc;

use optee_teec_sys as raw;

use crate::{
    Code, TeeError,
    error::{checked, own},
    session::Context,
};

pub(crate) type MemoryPointer = *mut raw::TEEC_SharedMemory;

/// In which directions shared memory is used, seen from the trusted application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It may read.
    Input,
    /// It may write.
    Output,
    /// It may do both.
    Both,
}

impl Access {
    const fn flags(self) -> u32 {
        match self {
            Self::Input => raw::TEEC_MEM_INPUT,
            Self::Output => raw::TEEC_MEM_OUTPUT,
            Self::Both => raw::TEEC_MEM_INPUT | raw::TEEC_MEM_OUTPUT,
        }
    }

    /// True when everything that `other` allows is allowed.
    pub(crate) const fn covers(self, other: Self) -> bool {
        self.flags() & other.flags() == other.flags()
    }
}

/// Memory that the TEE sees as well, without copies in between. Made once, used in many calls.
///
/// It is read and written by copying, so that no reference into it exists while a trusted
/// application may write to it; a parameter borrows it for the time of the call.
pub struct SharedMemory {
    body: Box<UnsafeCell<raw::TEEC_SharedMemory>>,
    length: usize,
    access: Access,
    /// The bytes, when they were registered and not allocated by the library.
    own: Option<Vec<u8>>,
    /// The memory belongs to it.
    _context: Arc<Context>,
}

// SAFETY: the client library keeps nothing of a thread in it, and it is only changed by its owner.
#[expect(unsafe_code, reason = "it holds the address of its own memory")]
unsafe impl Send for SharedMemory {}

impl SharedMemory {
    /// Allocates; the bytes are zero.
    pub(crate) fn allocate(
        context: Arc<Context>,
        length: usize,
        access: Access,
    ) -> Result<Self, TeeError> {
        let body = description(core::ptr::null_mut(), length, access);
        // SAFETY: the context is initialised and lives on behind its `Arc`; the block is at an
        // address of its own, complete, and seen by nobody else.
        #[expect(unsafe_code, reason = "the client library")]
        let result = unsafe { raw::TEEC_AllocateSharedMemory(context.pointer(), body.get()) };
        checked(result, raw::TEEC_ORIGIN_API)?;
        let mut memory = Self { body, length, access, own: None, _context: context };
        memory.clear()?;
        Ok(memory)
    }

    /// Registers bytes that are there.
    pub(crate) fn register(
        context: Arc<Context>,
        mut bytes: Vec<u8>,
        access: Access,
    ) -> Result<Self, TeeError> {
        let length = bytes.len();
        let body = description(bytes.as_mut_ptr(), length, access);
        // SAFETY: as for `allocate`; the bytes stay where they are until the block is released,
        // because the vector is kept and never touched before.
        #[expect(unsafe_code, reason = "the client library")]
        let result = unsafe { raw::TEEC_RegisterSharedMemory(context.pointer(), body.get()) };
        checked(result, raw::TEEC_ORIGIN_API)?;
        Ok(Self { body, length, access, own: Some(bytes), _context: context })
    }

    /// Ends the sharing; the bytes, if they were registered.
    pub fn into_bytes(mut self) -> Option<Vec<u8>> {
        let bytes = self.own.take();
        drop(self);
        bytes
    }

    /// Its size in bytes.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// True when it has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What it was made for.
    pub const fn access(&self) -> Access {
        self.access
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    ///
    /// [`Code::BadParameters`] when they do not fit.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), TeeError> {
        let start = self.start(offset, bytes.len())?;
        // SAFETY: `start` has checked that so many bytes from there on lie in the block; the block
        // is ours alone, since a parameter would borrow `self`; `bytes` lie elsewhere, because
        // nothing lends a slice of the block.
        #[expect(unsafe_code, reason = "memory of the client library")]
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len());
        }
        Ok(())
    }

    /// Copies from `offset` until `bytes` is full.
    ///
    /// # Errors
    ///
    /// [`Code::BadParameters`] when there are not so many.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), TeeError> {
        let start = self.start(offset, bytes.len())?;
        // SAFETY: as for `write`; all bytes of the block were written when it was made.
        #[expect(unsafe_code, reason = "memory of the client library")]
        unsafe {
            core::ptr::copy_nonoverlapping(start.cast_const(), bytes.as_mut_ptr(), bytes.len());
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), TeeError> {
        let zeros = [0; 4096];
        for offset in (0..self.length).step_by(zeros.len()) {
            let left = self.length.saturating_sub(offset);
            self.write(offset, zeros.get(..left).unwrap_or(&zeros))?;
        }
        Ok(())
    }

    fn start(&self, offset: usize, count: usize) -> Result<*mut u8, TeeError> {
        let end = offset.checked_add(count).filter(|end| *end <= self.length);
        end.ok_or(own(Code::BadParameters))?;
        // SAFETY: nobody writes to the description of the block but the client library, in calls
        // that borrow `self` mutably.
        #[expect(unsafe_code, reason = "the cell that the client library writes to")]
        let block = unsafe { (*self.body.get()).buffer };
        Ok(block.cast::<u8>().wrapping_add(offset))
    }

    pub(crate) const fn pointer(&mut self) -> MemoryPointer {
        self.body.get()
    }
}

/// A block's description, on the heap: the library keeps its address in operations.
fn description(
    buffer: *mut u8,
    size: usize,
    access: Access,
) -> Box<UnsafeCell<raw::TEEC_SharedMemory>> {
    Box::new(UnsafeCell::new(raw::TEEC_SharedMemory {
        buffer: buffer.cast(),
        size,
        flags: access.flags(),
        imp: raw::TEEC_SharedMemory__Imp {
            id: 0,
            alloced_size: 0,
            shadow_buffer: core::ptr::null_mut(),
            registered_fd: -1,
            flags: 0,
        },
    }))
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: it was allocated or registered by the library, is released once, and no operation refers to it,
        // because parameters borrow it.
        #[expect(unsafe_code, reason = "the client library")]
        unsafe {
            raw::TEEC_ReleaseSharedMemory(self.body.get());
        }
    }
}

impl core::fmt::Debug for SharedMemory {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "SharedMemory({} bytes, {:?})", self.length, self.access)
    }
}

#[cfg(test)]
mod tests {
    use super::Access;

    #[test]
    fn both_directions_cover_each() {
        for access in [Access::Input, Access::Output, Access::Both] {
            assert!(Access::Both.covers(access) && access.covers(access));
        }
        assert!(!Access::Input.covers(Access::Output) && !Access::Output.covers(Access::Both));
    }
}
