// SPDX-License-Identifier: MIT
//! What OP-TEE calls.
#![allow(unsafe_code, reason = "the entry points that OP-TEE calls are exported symbols")]

use core::hint::black_box;
use optee_utee::Result;
use optee_utee::prelude::*;

const HELLO: &[u8] = b"hello\n";
/// Makes the file as long as the one that it is compared with.
static PADDING: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/padding"));

type Buffer<'a> = (ParameterMemrefInout<'a>, ParameterNone, ParameterNone, ParameterNone);

#[ta_create]
fn create() -> Result<()> {
    // A linker drops what nobody looks at.
    black_box(PADDING);
    Ok(())
}

#[ta_open_session]
fn open_session(_parameters: &mut ParametersNone) -> Result<()> {
    Ok(())
}

#[ta_close_session]
fn close_session() {}

#[ta_destroy]
fn destroy() {}

/// Says hello into the first parameter, whatever the command.
#[ta_invoke_command]
fn invoke_command(_command: u32, parameters: &mut Buffer<'_>) -> Result<()> {
    parameters.0.write_at(0, HELLO)?;
    parameters.0.set_updated_size(HELLO.len())
}
