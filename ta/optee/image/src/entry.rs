// SPDX-License-Identifier: MIT
//! What OP-TEE calls.
#![allow(unsafe_code, reason = "the entry points that OP-TEE calls are exported symbols")]

use crate::machine::{self, StartError, clock, context};
use optee_utee::prelude::*;
use optee_utee::{ErrorKind, Result, raw};
use spin::Mutex;
use strongroom_optee::pump::{Pump, Refused, Shared, Surroundings};
use strongroom_token::NONCE_LEN;

/// A turn of [`strongroom_wire::turn`]. The first parameter is the buffer.
const TURN: u32 = 0;
/// Evidence for whoever asks, outside of any session: the first parameter is the challenge, and then
/// the token.
const EVIDENCE: u32 = 1;

/// One instance of the TA serves one session and runs one program.
static PUMP: Mutex<Option<Pump>> = Mutex::new(None);

type Buffer<'a> = (ParameterMemrefInout<'a>, ParameterNone, ParameterNone, ParameterNone);

#[ta_create]
fn create() -> Result<()> {
    Ok(())
}

#[ta_open_session]
fn open_session(_parameters: &mut ParametersNone) -> Result<()> {
    let mut pump = PUMP.lock();
    if pump.is_some() {
        return Err(ErrorKind::Busy.into());
    }
    let kernel = machine::start().map_err(|error| match error {
        StartError::NotPacked => ErrorKind::ItemNotFound,
        StartError::BadPackage => ErrorKind::BadFormat,
        StartError::Changed | StartError::NoEntropy => ErrorKind::Security,
        StartError::NoMemory => ErrorKind::OutOfMemory,
    })?;
    *pump = Some(Pump::new(kernel));
    Ok(())
}

#[ta_close_session]
fn close_session() {}

#[ta_destroy]
fn destroy() {}

#[ta_invoke_command]
fn invoke_command(command: u32, parameters: &mut Buffer<'_>) -> Result<()> {
    match command {
        TURN => turn(parameters),
        EVIDENCE => evidence(parameters),
        _ => Err(ErrorKind::NotSupported.into()),
    }
}

fn turn(parameters: &mut Buffer<'_>) -> Result<()> {
    let mut pump = PUMP.lock();
    let pump = pump.as_mut().ok_or(ErrorKind::BadState)?;
    clock::touch();
    // SAFETY: it takes nothing, and this is the thread that was called. Cancellation is masked at
    // the start of each call (GlobalPlatform TEE Internal Core API 1.3, 4.10).
    unsafe { raw::TEE_UnmaskCancellation() };
    let mut buffer = NormalWorld(&mut parameters.0);
    let taken = pump.turn(&mut buffer, &OpTee);
    context::give_back_vectors();
    match taken {
        Ok(_) => {
            let length = parameters.0.buffer_len();
            parameters.0.set_updated_size(length)
        }
        Err(Refused::Malformed(_)) => Err(ErrorKind::BadParameters.into()),
        Err(Refused::Buffer) => Err(ErrorKind::ShortBuffer.into()),
        Err(Refused::Cancelled) => Err(ErrorKind::Cancel.into()),
        Err(Refused::Ended) => Err(ErrorKind::BadState.into()),
    }
}

fn evidence(parameters: &mut Buffer<'_>) -> Result<()> {
    let mut challenge = [0; NONCE_LEN];
    let buffer = &mut parameters.0;
    match buffer.read_at(0, &mut challenge) {
        Ok(NONCE_LEN) => {}
        Ok(_) | Err(_) => return Err(ErrorKind::BadParameters.into()),
    }
    let token = machine::answer(&challenge).map_err(|_| ErrorKind::Generic)?;
    if token.len() > buffer.buffer_len() {
        return Err(ErrorKind::ShortBuffer.into());
    }
    buffer.write_at(0, &token)?;
    buffer.set_updated_size(token.len())
}

/// The buffer that the normal world shares; `optee-utee` only copies.
struct NormalWorld<'a, 'p>(&'a mut ParameterMemrefInout<'p>);

impl Shared for NormalWorld<'_, '_> {
    fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        self.0.read_at(offset, to).is_ok_and(|count| count == to.len())
    }

    fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        self.0.write_at(offset, from).is_ok()
    }
}

/// Clock and cancellation.
struct OpTee;

impl Surroundings for OpTee {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn is_cancelled(&self) -> bool {
        // SAFETY: it takes nothing and looks at a flag of the call that runs.
        unsafe { raw::TEE_GetCancellationFlag() }
    }
}
