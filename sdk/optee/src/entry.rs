// SPDX-License-Identifier: MIT
//! What OP-TEE calls, for any service.
#![allow(unsafe_code, reason = "parameters and a session's address come as C has them")]

use crate::{
    commands::Places,
    machine::{Application, caller},
};
use alloc::{boxed::Box, sync::Arc};
use core::ffi::c_void;
use optee_utee::{
    Error, ErrorKind, FromRawParameters as _, ParameterAny, ParameterMemref as _,
    ParameterMemrefInout, ParameterMemrefRead as _, ParameterMemrefWrite as _,
    ParameterValueRead as _, ParametersAny, RawParams, Result, raw,
};
use strongroom_service::{
    Platform, Service,
    dispatch::{Dispatch, Session},
    gp,
    interface::{Answer, HELLO_MAX, mismatch, write},
};

/// The four parameters, as OP-TEE passes them.
pub type Words = RawParams;

/// A session, by who opened it.
enum Open<I, S> {
    /// A client of the same interface.
    Typed(Session<I, S>),
    /// A client that knows GlobalPlatform only.
    Plain(Session<I, S>),
}

/// Opens a session and puts its address into `context`. With a hello it is a typed one: interfaces are
/// compared. Without any parameters it is one for commands, if the interface has some.
pub fn open_session<S: Service, I: Dispatch<S>>(
    types: u32,
    words: &mut Words,
    context: &mut *mut c_void,
) -> u32 {
    let mut keep = |open: Open<I, S>| *context = Box::into_raw(Box::new(open)).cast();
    let result = parameters(types, words).and_then(|mut parameters| match &mut parameters {
        (ParameterAny::None, ParameterAny::None, ParameterAny::None, ParameterAny::None) => {
            open_plain::<S, I>().map(|session| keep(Open::Plain(session)))
        }
        _ => {
            let (buffer, length) = typed(&mut parameters)?;
            open_typed::<S, I>(buffer, length).map(|session| keep(Open::Typed(session)))
        }
    });
    code(result)
}

fn open_plain<S: Service, I: Dispatch<S>>() -> Result<Session<I, S>> {
    if !gp::has_commands::<I>() {
        return Err(ErrorKind::NotSupported.into());
    }
    let platform = Platform::new(Arc::new(Application));
    let opened = Session::open(platform, caller());
    opened.map_err(|error| Error::from_raw_error(gp::refused(error)))
}

fn open_typed<S: Service, I: Dispatch<S>>(
    buffer: &mut ParameterMemrefInout<'_>,
    length: usize,
) -> Result<Session<I, S>> {
    let mut hello = [0; HELLO_MAX];
    let hello = hello.get_mut(..length).ok_or(ErrorKind::BadParameters)?;
    copy_in(buffer, hello)?;
    let opened = match mismatch::<I>(hello) {
        Some(mismatch) => Err(mismatch),
        None => {
            let platform = Platform::new(Arc::new(Application));
            Session::open(platform, caller()).map_err(Answer::Refused)
        }
    };
    match opened {
        Ok(session) => answer(buffer, &Answer::Welcome).map(|()| session),
        Err(refusal) => {
            answer(buffer, &refusal)?;
            Err(ErrorKind::AccessConflict.into())
        }
    }
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
    let open = unsafe { context.cast::<Open<I, S>>().as_mut() };
    let served = parameters(types, words).and_then(|mut parameters| match open {
        Some(Open::Typed(session)) => serve_typed(session, command, &mut parameters).map(|()| 0),
        Some(Open::Plain(session)) => Ok(gp::serve(session, command, &mut Places(parameters))),
        None => Err(ErrorKind::BadState.into()),
    });
    served.unwrap_or_else(|error| error.raw_code())
}

fn serve_typed<S: Service, I: Dispatch<S>>(
    session: &mut Session<I, S>,
    command: u32,
    parameters: &mut ParametersAny<'_>,
) -> Result<()> {
    let (buffer, length) = typed(parameters)?;
    if length > buffer.buffer_len() {
        return Err(ErrorKind::BadParameters.into());
    }
    let bytes = session.call(command, length, |room| {
        // As many bytes as are there: `length` was compared.
        let _ = copy_in(buffer, room);
    });
    buffer.write_at(0, bytes)
}

/// Ends a session.
pub fn close_session<S: Service, I: Dispatch<S>>(context: *mut c_void) {
    if context.is_null() {
        return;
    }
    // SAFETY: `open_session` made it of a box of this type, and OP-TEE closes a session once.
    drop(unsafe { Box::from_raw(context.cast::<Open<I, S>>()) });
}

fn parameters(types: u32, words: &mut Words) -> Result<ParametersAny<'_>> {
    // SAFETY: both came from OP-TEE in the same call.
    unsafe { ParametersAny::from_raw(types, words) }
}

/// A typed client's parameters: its buffer, and how many bytes of it are the request.
fn typed<'p, 'w>(
    parameters: &'p mut ParametersAny<'w>,
) -> Result<(&'p mut ParameterMemrefInout<'w>, usize)> {
    let (buffer, length, third, fourth) = parameters;
    third.as_none()?;
    fourth.as_none()?;
    let length = usize::try_from(length.as_value_input()?.get_a()).unwrap_or(usize::MAX);
    Ok((buffer.as_memref_inout()?, length))
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
