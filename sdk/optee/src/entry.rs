// SPDX-License-Identifier: MIT
//! What OP-TEE calls, for any service.
#![allow(unsafe_code, reason = "parameters and a session's address come as C has them")]

use crate::machine::{Application, caller};
use alloc::{boxed::Box, sync::Arc};
use core::ffi::c_void;
use optee_utee::{
    Error, ErrorKind, FromRawParameters as _, ParameterMemref as _, ParameterMemrefInout,
    ParameterMemrefRead as _, ParameterMemrefWrite as _, ParameterNone, ParameterValueInput,
    ParameterValueRead as _, RawParams, Result, raw,
};
use strongroom_service::{
    Platform, Service,
    dispatch::{Dispatch, Session},
    interface::{Answer, HELLO_MAX, mismatch, write},
};

/// The four parameters, as OP-TEE passes them.
pub type Words = RawParams;

type Parameters<'a> = (ParameterMemrefInout<'a>, ParameterValueInput, ParameterNone, ParameterNone);

/// Opens a session: compares interfaces, makes an instance, and puts its address into `context`.
pub fn open_session<S: Service, I: Dispatch<S>>(
    types: u32,
    words: &mut Words,
    context: &mut *mut c_void,
) -> u32 {
    code(parameters(types, words).and_then(|mut parameters| {
        let (buffer, length) = (&mut parameters.0, parameters.1.get_a());
        let mut hello = [0; HELLO_MAX];
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let hello = hello.get_mut(..length).ok_or(ErrorKind::BadParameters)?;
        copy_in(buffer, hello)?;
        match open::<S, I>(hello) {
            Ok(session) => {
                answer(buffer, &Answer::Welcome)?;
                *context = Box::into_raw(session).cast();
                Ok(())
            }
            Err(refusal) => {
                answer(buffer, &refusal)?;
                Err(ErrorKind::AccessConflict.into())
            }
        }
    }))
}

fn open<S: Service, I: Dispatch<S>>(
    hello: &[u8],
) -> core::result::Result<Box<Session<I, S>>, Answer> {
    if let Some(mismatch) = mismatch::<I>(hello) {
        return Err(mismatch);
    }
    let platform = Platform::new(Arc::new(Application));
    Session::open(platform, caller()).map(Box::new).map_err(Answer::Refused)
}

/// Serves a call of a session.
pub fn invoke_command<S: Service, I: Dispatch<S>>(
    context: *mut c_void,
    command: u32,
    types: u32,
    words: &mut Words,
) -> u32 {
    // SAFETY: (1) OP-TEE passes what `open_session` put there, or null, and `close_session` is the
    // last call with it; (2) it lets one call of an instance run at a time, so nobody else has it.
    let session = unsafe { context.cast::<Session<I, S>>().as_mut() };
    code(parameters(types, words).and_then(|mut parameters| {
        let session = session.ok_or(ErrorKind::BadState)?;
        let (buffer, length) = (&mut parameters.0, parameters.1.get_a());
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > buffer.buffer_len() {
            return Err(ErrorKind::BadParameters.into());
        }
        let bytes = session.call(command, length, |room| {
            // As many bytes as are there: `length` was compared.
            let _ = copy_in(buffer, room);
        });
        buffer.write_at(0, bytes)
    }))
}

/// Ends a session.
pub fn close_session<S: Service, I: Dispatch<S>>(context: *mut c_void) {
    if context.is_null() {
        return;
    }
    // SAFETY: `open_session` made it of a box of this type, and OP-TEE closes a session once.
    drop(unsafe { Box::from_raw(context.cast::<Session<I, S>>()) });
}

fn parameters(types: u32, words: &mut Words) -> Result<Parameters<'_>> {
    // SAFETY: both came from OP-TEE in the same call.
    unsafe { Parameters::from_raw(types, words) }
}

fn copy_in(buffer: &ParameterMemrefInout<'_>, to: &mut [u8]) -> Result<()> {
    let copied = buffer.read_at(0, to)?;
    if copied == to.len() { Ok(()) } else { Err(ErrorKind::BadParameters.into()) }
}

fn answer(buffer: &mut ParameterMemrefInout<'_>, answer: &Answer) -> Result<()> {
    let mut room = [0; HELLO_MAX];
    buffer.write_at(0, write(answer, &mut room).ok_or(ErrorKind::ShortBuffer)?)
}

fn code(result: Result<()>) -> u32 {
    result.map_or_else(|error: Error| error.raw_code(), |()| raw::TEE_SUCCESS)
}
