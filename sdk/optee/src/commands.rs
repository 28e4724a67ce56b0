// SPDX-License-Identifier: MIT
//! Parameters of clients that know GlobalPlatform only.

use optee_utee::{
    ParameterAny, ParameterMemref as _, ParameterMemrefRead as _, ParameterMemrefWrite as _,
    ParameterValueRead as _, ParameterValueWrite as _, ParametersAny,
};
use strongroom_service::gp::{Form, Parameters};

/// As OP-TEE passes them.
pub(crate) struct Places<'a>(pub(crate) ParametersAny<'a>);

impl<'a> Places<'a> {
    const fn at(&self, place: usize) -> Option<&ParameterAny<'a>> {
        match place {
            0 => Some(&self.0.0),
            1 => Some(&self.0.1),
            2 => Some(&self.0.2),
            3 => Some(&self.0.3),
            _ => None,
        }
    }

    const fn at_mut(&mut self, place: usize) -> Option<&mut ParameterAny<'a>> {
        match place {
            0 => Some(&mut self.0.0),
            1 => Some(&mut self.0.1),
            2 => Some(&mut self.0.2),
            3 => Some(&mut self.0.3),
            _ => None,
        }
    }
}

impl Parameters for Places<'_> {
    fn form(&self, place: usize) -> Form {
        match self.at(place) {
            Some(ParameterAny::None) => Form::None,
            Some(ParameterAny::ValueInput(_)) => Form::ValueInput,
            Some(ParameterAny::ValueOutput(_)) => Form::ValueOutput,
            Some(ParameterAny::MemrefInput(_)) => Form::MemoryInput,
            Some(ParameterAny::MemrefOutput(_)) => Form::MemoryOutput,
            _ => Form::Other,
        }
    }

    fn value(&self, place: usize) -> (u32, u32) {
        match self.at(place) {
            Some(ParameterAny::ValueInput(value)) => (value.get_a(), value.get_b()),
            _ => (0, 0),
        }
    }

    fn size(&self, place: usize) -> usize {
        match self.at(place) {
            Some(ParameterAny::MemrefInput(memory)) => memory.buffer_len(),
            Some(ParameterAny::MemrefOutput(memory)) => memory.buffer_len(),
            _ => 0,
        }
    }

    fn read(&self, place: usize, to: &mut [u8]) {
        if let Some(ParameterAny::MemrefInput(memory)) = self.at(place) {
            // From the start there are as many bytes as the caller has asked for.
            let _ = memory.read_at(0, to);
        }
    }

    fn set_value(&mut self, place: usize, (a, b): (u32, u32)) {
        if let Some(ParameterAny::ValueOutput(value)) = self.at_mut(place) {
            value.set_a(a);
            value.set_b(b);
        }
    }

    fn write(&mut self, place: usize, bytes: &[u8]) {
        if let Some(ParameterAny::MemrefOutput(memory)) = self.at_mut(place) {
            // The room was compared before.
            let _ = memory.write_at(0, bytes);
        }
    }

    fn set_size(&mut self, place: usize, size: usize) {
        if let Some(ParameterAny::MemrefOutput(memory)) = self.at_mut(place) {
            #[expect(unsafe_code, reason = "a size that is larger than the room, as C has it")]
            // SAFETY: nothing reads or writes this memory any more: the caller returns a code that
            // says how the client has to understand its size.
            unsafe {
                memory.set_updated_size_unchecked(size);
            }
        }
    }
}
