// SPDX-License-Identifier: MIT
//! The TEE Client API, as far as one session with one registered buffer needs it.
#![allow(unsafe_code, reason = "libteec is a C library")]

use crate::{Called, TeeError};
use optee_teec_sys as raw;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;
use strongroom_optee_package::Uuid;
use strongroom_wire::turn::BUFFER;

const TURN: u32 = 0;

/// A session with a trusted application. What it is made of refers to each other by address, so it
/// stays where it is.
pub struct Session(Box<Parts>);

struct Parts {
    context: raw::TEEC_Context,
    shared: raw::TEEC_SharedMemory,
    session: raw::TEEC_Session,
}

// SAFETY: the parts are used through one owner, and the API allows calls from any thread
// (GlobalPlatform TEE Client API 1.0, 3.2.5).
unsafe impl Send for Session {}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Opens a session with a trusted application.
    ///
    /// # Errors
    ///
    /// [`TeeError`] says at which step it failed.
    pub fn open(uuid: Uuid) -> Result<Self, TeeError> {
        // SAFETY: plain C structures, for which zeroes are valid.
        let parts = unsafe { Box::<Parts>::new_zeroed().assume_init() };
        // Dropped below in the order of the API, from wherever opening got to.
        let mut opening = Opening { parts, reached: Reached::Nothing };
        let parts = &mut *opening.parts;
        // SAFETY: the context is ours and outlives everything made in it.
        let code = unsafe { raw::TEEC_InitializeContext(ptr::null(), &raw mut parts.context) };
        if code != raw::TEEC_SUCCESS {
            return Err(TeeError::NoTee { code });
        }
        opening.reached = Reached::Context;
        let parts = &mut *opening.parts;
        parts.shared.size = BUFFER;
        parts.shared.flags = raw::TEEC_MEM_INPUT | raw::TEEC_MEM_OUTPUT;
        // SAFETY: context and buffer descriptor are ours, and stay where they are.
        let code = unsafe {
            raw::TEEC_AllocateSharedMemory(&raw mut parts.context, &raw mut parts.shared)
        };
        if code != raw::TEEC_SUCCESS {
            return Err(TeeError::Shared { code });
        }
        opening.reached = Reached::Shared;
        let parts = &mut *opening.parts;
        let (low, middle, high, last) = uuid.fields();
        let name = raw::TEEC_UUID {
            timeLow: low,
            timeMid: middle,
            timeHiAndVersion: high,
            clockSeqAndNode: last,
        };
        let mut origin = 0;
        // SAFETY: context, session and name are valid for the call; no operation is passed.
        let code = unsafe {
            raw::TEEC_OpenSession(
                &raw mut parts.context,
                &raw mut parts.session,
                &raw const name,
                raw::TEEC_LOGIN_PUBLIC,
                ptr::null(),
                ptr::null_mut(),
                &raw mut origin,
            )
        };
        if code != raw::TEEC_SUCCESS {
            return Err(TeeError::Open { uuid, code });
        }
        Ok(Self(opening.finish()))
    }

    fn place(&self, offset: usize, length: usize) -> Option<*mut u8> {
        let inside = offset.checked_add(length)? <= BUFFER;
        inside.then(|| self.0.shared.buffer.cast::<u8>().wrapping_add(offset))
    }
}

impl Called for Session {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let Some(to) = self.place(offset, bytes.len()) else { return };
        // SAFETY: inside of the shared buffer, which no Rust reference points into.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        let Some(from) = self.place(offset, bytes.len()) else { return };
        // SAFETY: as above; between two turns the other side does not write.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }

    fn call(&mut self) -> Result<(), TeeError> {
        let parts = &mut *self.0;
        // SAFETY: a plain C structure, for which zeroes are valid.
        let mut operation = unsafe { MaybeUninit::<raw::TEEC_Operation>::zeroed().assume_init() };
        operation.paramTypes = raw::TEEC_PARAM_TYPES(
            raw::TEEC_MEMREF_WHOLE,
            raw::TEEC_NONE,
            raw::TEEC_NONE,
            raw::TEEC_NONE,
        );
        let whole = raw::TEEC_RegisteredMemoryReference {
            parent: &raw mut parts.shared,
            size: BUFFER,
            offset: 0,
        };
        if let Some(parameter) = operation.params.first_mut() {
            parameter.memref = whole;
        }
        let mut origin = 0;
        // SAFETY: the session is open, and operation and buffer outlive the call.
        let code = unsafe {
            raw::TEEC_InvokeCommand(
                &raw mut parts.session,
                TURN,
                &raw mut operation,
                &raw mut origin,
            )
        };
        if code == raw::TEEC_SUCCESS { Ok(()) } else { Err(TeeError::of_call(code)) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: open until now.
        unsafe { raw::TEEC_CloseSession(&raw mut self.0.session) };
        release(&mut self.0);
    }
}

/// How far opening has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Nothing,
    Context,
    Shared,
}

struct Opening {
    parts: Box<Parts>,
    reached: Reached,
}

impl Opening {
    /// The parts of an open session; nothing is undone.
    fn finish(mut self) -> Box<Parts> {
        self.reached = Reached::Nothing;
        // SAFETY: plain C structures, for which zeroes are valid.
        let empty = unsafe { Box::<Parts>::new_zeroed().assume_init() };
        std::mem::replace(&mut self.parts, empty)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        match self.reached {
            Reached::Nothing => {}
            // SAFETY: initialised, and nothing is left in it.
            Reached::Context => unsafe { raw::TEEC_FinalizeContext(&raw mut self.parts.context) },
            Reached::Shared => release(&mut self.parts),
        }
    }
}

fn release(parts: &mut Parts) {
    // SAFETY: allocated, and no call is under way.
    unsafe { raw::TEEC_ReleaseSharedMemory(&raw mut parts.shared) };
    // SAFETY: initialised, and nothing is left in it.
    unsafe { raw::TEEC_FinalizeContext(&raw mut parts.context) };
}
