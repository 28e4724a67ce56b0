// SPDX-License-Identifier: MIT
//! Clients that know GlobalPlatform only, within the process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use strongroom_service::{
    Caller, Service,
    dispatch::{Dispatch, Session},
    gp::{self, Form, PARAMETERS, Parameters, code},
};

use crate::Fake;

/// One of a call's four parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Parameter {
    /// Nothing.
    #[default]
    None,
    /// Two numbers to the service.
    ValueInput(u32, u32),
    /// Two numbers from the service.
    ValueOutput(u32, u32),
    /// Bytes to the service.
    MemoryInput(Vec<u8>),
    /// Room for bytes from the service.
    MemoryOutput {
        /// The room.
        room: Vec<u8>,
        /// How many bytes were written, or how many it takes.
        size: usize,
    },
    /// Two numbers in both directions, which no command has.
    ValueInout(u32, u32),
}

impl Parameter {
    /// Room for so many bytes.
    pub fn output(size: usize) -> Self {
        Self::MemoryOutput { room: vec![0; size], size }
    }

    /// What was written to an output.
    pub fn written(&self) -> Option<&[u8]> {
        match self {
            Self::MemoryOutput { room, size } => room.get(..*size),
            Self::None
            | Self::ValueInput(..)
            | Self::ValueOutput(..)
            | Self::MemoryInput(_)
            | Self::ValueInout(..) => None,
        }
    }
}

/// A session of a client that knows GlobalPlatform only.
#[derive(Debug)]
pub struct GpSession<S, I> {
    session: Session<I, S>,
}

impl<S: Service, I: Dispatch<S>> GpSession<S, I> {
    pub(crate) fn open(machine: &Fake) -> Result<Self, u32> {
        if !gp::has_commands::<I>() {
            return Err(code::NOT_SUPPORTED);
        }
        let opened = Session::open(machine.platform(), Caller::Unknown);
        Ok(Self { session: opened.map_err(gp::refused)? })
    }

    /// Calls a command: its code, and what became of the parameters. A panic becomes a code.
    pub fn invoke(&mut self, command: u32, parameters: &mut [Parameter; PARAMETERS]) -> u32 {
        let served = catch_unwind(AssertUnwindSafe(|| self.serve(command, parameters)));
        served.unwrap_or_else(|_| {
            self.session.panicked();
            code::TARGET_DEAD
        })
    }

    /// As [`Self::invoke`], but a panic goes on.
    pub(crate) fn serve(&mut self, command: u32, parameters: &mut [Parameter; PARAMETERS]) -> u32 {
        gp::serve(&mut self.session, command, &mut Place(parameters))
    }
}

struct Place<'a>(&'a mut [Parameter; PARAMETERS]);

impl Place<'_> {
    fn at(&self, place: usize) -> &Parameter {
        self.0.get(place).unwrap_or(&Parameter::None)
    }
}

impl Parameters for Place<'_> {
    fn form(&self, place: usize) -> Form {
        match self.at(place) {
            Parameter::None => Form::None,
            Parameter::ValueInput(..) => Form::ValueInput,
            Parameter::ValueOutput(..) => Form::ValueOutput,
            Parameter::MemoryInput(_) => Form::MemoryInput,
            Parameter::MemoryOutput { .. } => Form::MemoryOutput,
            Parameter::ValueInout(..) => Form::Other,
        }
    }

    fn value(&self, place: usize) -> (u32, u32) {
        if let Parameter::ValueInput(a, b) = self.at(place) { (*a, *b) } else { (0, 0) }
    }

    fn size(&self, place: usize) -> usize {
        match self.at(place) {
            Parameter::MemoryInput(bytes) => bytes.len(),
            Parameter::MemoryOutput { room, .. } => room.len(),
            Parameter::None
            | Parameter::ValueInput(..)
            | Parameter::ValueOutput(..)
            | Parameter::ValueInout(..) => 0,
        }
    }

    fn read(&self, place: usize, to: &mut [u8]) {
        if let Parameter::MemoryInput(bytes) = self.at(place) {
            to.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        }
    }

    fn set_value(&mut self, place: usize, value: (u32, u32)) {
        if let Some(Parameter::ValueOutput(a, b)) = self.0.get_mut(place) {
            (*a, *b) = value;
        }
    }

    fn write(&mut self, place: usize, bytes: &[u8]) {
        if let Some(Parameter::MemoryOutput { room, size }) = self.0.get_mut(place) {
            assert!(bytes.len() <= room.len(), "more than there is room for");
            room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            *size = bytes.len();
        }
    }

    fn set_size(&mut self, place: usize, wanted: usize) {
        if let Some(Parameter::MemoryOutput { size, .. }) = self.0.get_mut(place) {
            *size = wanted;
        }
    }
}
