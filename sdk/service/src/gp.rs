// SPDX-License-Identifier: MIT
//! Commands for clients that know GlobalPlatform's four parameters and nothing of this SDK.
//!
//! `#[gp(command = N)]` on a method of the trait exports it. Arguments take parameters from the first
//! one on, in order, and results the next ones. A call becomes a request as a typed client sends it,
//! so that limits, dispatcher and errors are the same:
//!
//! | type | as an argument | as a result |
//! |:--|:--|:--|
//! | `u32` | value input: `a`; `b` is 0 | value output: `a`; `b` is 0 |
//! | `u64` | value input: `a` the lower half, `b` the upper | value output, the same |
//! | `[u8; N]` | memory input of exactly N bytes | memory output of at least N bytes |
//! | `Vec<u8>`, `String`, `&[u8]`, `&str` | memory input | memory output with room for all that the method's answer limit permits |
//!
//! Room for results is checked before the method runs: [`code::SHORT_BUFFER`], and the size that it
//! takes. The method's error becomes the code that [`ErrorCode`] gives it.
//!
//! Source: TEE Client API Specification 1.0, 4.3 and 4.4; TEE Internal Core API 1.3, 4.9.4.

use serde::Deserialize;

use crate::{
    Interface, OpenError, Refusal, Service,
    dispatch::{Dispatch, Session},
    wire::{DONE, Decoder, Encoder, Malformed, Unwritable},
};

/// Parameters of a call.
pub const PARAMETERS: usize = 4;

/// Codes that clients get (TEE Client API Specification 1.0, 4.4.2; TEE Internal Core API 1.3, 3.3.3).
pub mod code {
    /// It is done.
    pub const SUCCESS: u32 = 0;
    /// For no reason that has a code.
    pub const GENERIC: u32 = 0xffff_0000;
    /// Not for this client.
    pub const ACCESS_DENIED: u32 = 0xffff_0001;
    /// The client cancelled the call.
    pub const CANCEL: u32 = 0xffff_0002;
    /// The arguments are larger than they may be.
    pub const EXCESS_DATA: u32 = 0xffff_0004;
    /// The parameters are not those of the command.
    pub const BAD_PARAMETERS: u32 = 0xffff_0006;
    /// There is no such command, or no commands at all.
    pub const NOT_SUPPORTED: u32 = 0xffff_000a;
    /// No room for another session.
    pub const BUSY: u32 = 0xffff_000d;
    /// An output has too little room: its size says how much it takes.
    pub const SHORT_BUFFER: u32 = 0xffff_0010;
    /// Sealed storage is missing or damaged.
    pub const CORRUPT_OBJECT: u32 = 0xf010_0001;
    /// The result is larger than it may be; the method has run.
    pub const OVERFLOW: u32 = 0xffff_300f;
    /// The method panicked.
    pub const TARGET_DEAD: u32 = 0xffff_3024;
}

/// What code a client of GlobalPlatform gets for a service's error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no code for GlobalPlatform's clients",
    label = "implement `strongroom::gp::ErrorCode` for it, or leave `#[gp]` out",
    note = "a client in C gets this code instead of the error"
)]
pub trait ErrorCode {
    /// The code: not 0, which is success and becomes [`code::GENERIC`]. GlobalPlatform leaves 1 to
    /// 0x7fffffff to implementations.
    fn code(&self) -> u32;
}

/// How a type goes through parameters: the table at the head of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `u32`.
    Word,
    /// `u64`.
    Long,
    /// `[u8; N]`.
    Array(usize),
    /// As many bytes as there are.
    Bytes,
}

/// A command, as `#[gp]` describes it.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its number.
    pub number: u32,
    /// The method's place in the interface.
    pub method: usize,
    /// What the arguments are.
    pub inputs: &'static [Kind],
    /// What the results are.
    pub outputs: &'static [Kind],
    /// Reads the error of a method that can fail: its code.
    pub error: Option<ReadError>,
}

/// Reads an error: its code.
pub type ReadError = fn(&mut Decoder<'_>) -> Result<u32, Malformed>;

/// The code of an encoded `E`.
///
/// # Errors
///
/// [`Malformed`].
pub fn read_error<E: ErrorCode + for<'a> Deserialize<'a>>(
    answer: &mut Decoder<'_>,
) -> Result<u32, Malformed> {
    answer.take::<E>().map(|error| error.code())
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing.
    None,
    /// Two numbers to the service.
    ValueInput,
    /// Two numbers from it.
    ValueOutput,
    /// Bytes to the service.
    MemoryInput,
    /// Room for bytes from it.
    MemoryOutput,
    /// Something that no command has.
    Other,
}

/// The four parameters of a call, by their place from 0. Memory may change while it is looked at: it
/// is copied once.
pub trait Parameters {
    /// What a parameter is.
    fn form(&self, place: usize) -> Form;
    /// The two numbers of a value input; 0 of anything else.
    fn value(&self, place: usize) -> (u32, u32);
    /// Bytes of an input, or room of an output.
    fn size(&self, place: usize) -> usize;
    /// Copies the first bytes of a memory input; as many as `to` has and [`Self::size`] says.
    fn read(&self, place: usize, to: &mut [u8]);
    /// Sets a value output.
    fn set_value(&mut self, place: usize, value: (u32, u32));
    /// Writes a memory output, not more than it has room for, and sets its size.
    fn write(&mut self, place: usize, bytes: &[u8]);
    /// Says how much room a memory output takes.
    fn set_size(&mut self, place: usize, size: usize);
}

/// Serves a command: the code for its client.
pub fn serve<S: Service, I: Dispatch<S>>(
    session: &mut Session<I, S>,
    number: u32,
    parameters: &mut impl Parameters,
) -> u32 {
    call(session, number, parameters).err().unwrap_or(code::SUCCESS)
}

/// The code for a session that is not opened.
pub const fn refused(error: OpenError) -> u32 {
    match error {
        OpenError::Denied => code::ACCESS_DENIED,
        OpenError::Storage => code::CORRUPT_OBJECT,
        OpenError::Busy => code::BUSY,
        OpenError::Other(_) => code::GENERIC,
    }
}

fn call<S: Service, I: Dispatch<S>>(
    session: &mut Session<I, S>,
    number: u32,
    parameters: &mut impl Parameters,
) -> Result<(), u32> {
    let command = I::COMMANDS.iter().find(|command| command.number == number);
    let command = command.ok_or(code::NOT_SUPPORTED)?;
    let method = I::METHODS.get(command.method).ok_or(code::NOT_SUPPORTED)?;
    check_forms(command, parameters)?;
    check_room(command, method.answer_max, parameters)?;
    let room = session.request_room_mut(method.request_max).ok_or(code::EXCESS_DATA)?;
    let mut request = Encoder::new(room);
    put_inputs(command, parameters, &mut request).map_err(|Unwritable| code::EXCESS_DATA)?;
    let length = request.used();
    // The request is in its place already.
    let answer = session.call(method.number, length, |_| ());
    match answer.split_first() {
        Some((&DONE, result)) => deliver(command, result, parameters),
        Some((_, refusal)) => Err(Decoder::new(refusal).take().map_or(code::GENERIC, refusal_code)),
        None => Err(code::GENERIC),
    }
}

/// Inputs and outputs with their places.
fn placed(command: &Command) -> impl Iterator<Item = (usize, Kind, bool)> {
    let inputs = command.inputs.iter().map(|kind| (*kind, true));
    let outputs = command.outputs.iter().map(|kind| (*kind, false));
    inputs
        .chain(outputs)
        .zip(0..PARAMETERS)
        .map(|((kind, is_input), place)| (place, kind, is_input))
}

fn outputs(command: &Command) -> impl Iterator<Item = (usize, Kind)> {
    placed(command).filter_map(|(place, kind, is_input)| (!is_input).then_some((place, kind)))
}

fn check_forms(command: &Command, parameters: &impl Parameters) -> Result<(), u32> {
    let mut forms = [Form::None; PARAMETERS];
    for ((_, kind, is_input), form) in placed(command).zip(&mut forms) {
        *form = match (kind, is_input) {
            (Kind::Word | Kind::Long, true) => Form::ValueInput,
            (Kind::Word | Kind::Long, false) => Form::ValueOutput,
            (Kind::Array(_) | Kind::Bytes, true) => Form::MemoryInput,
            (Kind::Array(_) | Kind::Bytes, false) => Form::MemoryOutput,
        };
    }
    let same = forms.into_iter().zip(0..).all(|(form, place)| parameters.form(place) == form);
    let whole = placed(command).all(|(place, kind, is_input)| match kind {
        Kind::Word if is_input => parameters.value(place).1 == 0,
        Kind::Array(length) if is_input => parameters.size(place) == length,
        Kind::Word | Kind::Long | Kind::Array(_) | Kind::Bytes => true,
    });
    if same && whole { Ok(()) } else { Err(code::BAD_PARAMETERS) }
}

/// Before the method runs: one that has signed and cannot say what has signed in vain.
fn check_room(
    command: &Command,
    answer_max: usize,
    parameters: &mut impl Parameters,
) -> Result<(), u32> {
    for (place, kind) in outputs(command) {
        let wanted = match kind {
            Kind::Word | Kind::Long => continue,
            Kind::Array(length) => length,
            Kind::Bytes => bytes_max(command, answer_max),
        };
        if parameters.size(place) < wanted {
            parameters.set_size(place, wanted);
            return Err(code::SHORT_BUFFER);
        }
    }
    Ok(())
}

/// Most bytes of an output of no fixed length, within the limit of its method's answer.
fn bytes_max(command: &Command, answer_max: usize) -> usize {
    let others = outputs(command).map(|(_, kind)| match kind {
        // At least one byte of a number, or of a length.
        Kind::Word | Kind::Long | Kind::Bytes => 1,
        Kind::Array(length) => length,
    });
    let others = others.fold(usize::from(command.error.is_some()), usize::saturating_add);
    answer_max.saturating_sub(others)
}

fn put_inputs(
    command: &Command,
    parameters: &impl Parameters,
    request: &mut Encoder<'_>,
) -> Result<(), Unwritable> {
    for (kind, place) in command.inputs.iter().zip(0..) {
        let (a, b) = parameters.value(place);
        match kind {
            Kind::Word => request.put(&a)?,
            Kind::Long => request.put(&(u64::from(a) | u64::from(b) << u32::BITS))?,
            Kind::Array(length) => parameters.read(place, request.room(*length)?),
            Kind::Bytes => {
                let length = parameters.size(place);
                request.put(&length)?;
                parameters.read(place, request.room(length)?);
            }
        }
    }
    Ok(())
}

fn deliver(command: &Command, result: &[u8], parameters: &mut impl Parameters) -> Result<(), u32> {
    let mut answer = Decoder::new(result);
    // Only a method that writes its result by hand can get this wrong.
    let unreadable = |Malformed| code::GENERIC;
    if let Some(read_error) = command.error
        && answer.take::<u8>().map_err(unreadable)? != 0
    {
        let said = read_error(&mut answer).map_err(unreadable)?;
        return Err(if said == code::SUCCESS { code::GENERIC } else { said });
    }
    for (place, kind) in outputs(command) {
        match kind {
            Kind::Word => parameters.set_value(place, (answer.take().map_err(unreadable)?, 0)),
            Kind::Long => {
                let [a, b, c, d, e, f, g, h] =
                    answer.take::<u64>().map_err(unreadable)?.to_le_bytes();
                let halves = [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes);
                parameters.set_value(place, halves.into());
            }
            Kind::Array(length) => {
                parameters.write(place, answer.take_raw(length).map_err(unreadable)?);
            }
            Kind::Bytes => parameters.write(place, answer.take().map_err(unreadable)?),
        }
    }
    answer.end().map_err(unreadable)
}

const fn refusal_code(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::UnknownMethod => code::NOT_SUPPORTED,
        Refusal::RequestTooLarge(_) => code::EXCESS_DATA,
        Refusal::Malformed => code::BAD_PARAMETERS,
        Refusal::AnswerTooLarge(_) => code::OVERFLOW,
        Refusal::Panicked => code::TARGET_DEAD,
        Refusal::Cancelled => code::CANCEL,
        Refusal::Reopen(error) => refused(error),
        // No command is a stream.
        Refusal::NoStream | Refusal::TooManyStreams(_) => code::GENERIC,
    }
}

/// Whether an interface has commands at all.
pub const fn has_commands<I: Interface>() -> bool {
    !I::COMMANDS.is_empty()
}
