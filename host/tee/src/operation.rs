// SPDX-License-Identifier: MIT
//! The four parameters of a call.

use core::{cell::UnsafeCell, marker::PhantomData, ops::Range};

use optee_teec_sys as raw;

use crate::{
    Code, SharedMemory, TeeError,
    error::own,
    memory::{Access, MemoryPointer},
};

/// Bits of a parameter's kind in the word of all four.
const KIND_BITS: u32 = 4;
const KIND_MASK: u32 = 0xf;

/// One parameter. What it borrows is lent to the TEE until the [`Operation`] is dropped.
///
/// Source: TEE Client API Specification 1.0, section 4.3.7.
#[derive(Clone, Copy)]
pub struct Parameter<'a> {
    kind: u32,
    body: raw::TEEC_Parameter,
    lent: PhantomData<&'a mut [u8]>,
}

impl<'a> Parameter<'a> {
    /// Nothing.
    pub const fn none() -> Self {
        Self::value(raw::TEEC_NONE, 0, 0)
    }

    /// Two numbers for the trusted application.
    pub const fn value_input(a: u32, b: u32) -> Self {
        Self::value(raw::TEEC_VALUE_INPUT, a, b)
    }

    /// Two numbers from the trusted application; both 0 when it sets none.
    pub const fn value_output() -> Self {
        Self::value(raw::TEEC_VALUE_OUTPUT, 0, 0)
    }

    /// Two numbers in both directions.
    pub const fn value_inout(a: u32, b: u32) -> Self {
        Self::value(raw::TEEC_VALUE_INOUT, a, b)
    }

    /// Bytes that the trusted application may read. The client library copies them.
    pub const fn input(bytes: &'a [u8]) -> Self {
        // An input is never written to; the interface has one type for all directions.
        Self::bytes(raw::TEEC_MEMREF_TEMP_INPUT, bytes.as_ptr().cast_mut(), bytes.len())
    }

    /// Room for bytes from the trusted application.
    pub const fn output(bytes: &'a mut [u8]) -> Self {
        Self::bytes(raw::TEEC_MEMREF_TEMP_OUTPUT, bytes.as_mut_ptr(), bytes.len())
    }

    /// Bytes that the trusted application may read and write.
    pub const fn inout(bytes: &'a mut [u8]) -> Self {
        Self::bytes(raw::TEEC_MEMREF_TEMP_INOUT, bytes.as_mut_ptr(), bytes.len())
    }

    /// No memory at all, as an input: a null pointer, which is not the same as no bytes.
    pub const fn null() -> Self {
        Self::bytes(raw::TEEC_MEMREF_TEMP_INPUT, core::ptr::null_mut(), 0)
    }

    /// All of a piece of shared memory, in the directions that it was made for.
    pub fn whole(memory: &'a mut SharedMemory) -> Self {
        let size = memory.len();
        Self::shared(raw::TEEC_MEMREF_WHOLE, memory.pointer(), 0, size)
    }

    /// A part of a piece of shared memory.
    ///
    /// # Errors
    ///
    /// [`Code::BadParameters`] for a part that lies outside, [`Code::AccessDenied`] for directions
    /// that the memory was not made for.
    pub fn partial(
        memory: &'a mut SharedMemory,
        range: Range<usize>,
        access: Access,
    ) -> Result<Self, TeeError> {
        if !memory.access().covers(access) {
            return Err(own(Code::AccessDenied));
        }
        let size = range.end.checked_sub(range.start).ok_or(own(Code::BadParameters))?;
        if range.end > memory.len() {
            return Err(own(Code::BadParameters));
        }
        let kind = match access {
            Access::Input => raw::TEEC_MEMREF_PARTIAL_INPUT,
            Access::Output => raw::TEEC_MEMREF_PARTIAL_OUTPUT,
            Access::Both => raw::TEEC_MEMREF_PARTIAL_INOUT,
        };
        Ok(Self::shared(kind, memory.pointer(), range.start, size))
    }

    const fn value(kind: u32, a: u32, b: u32) -> Self {
        let body = raw::TEEC_Parameter { value: raw::TEEC_Value { a, b } };
        Self { kind, body, lent: PhantomData }
    }

    const fn bytes(kind: u32, start: *mut u8, size: usize) -> Self {
        let tmpref = raw::TEEC_TempMemoryReference { buffer: start.cast(), size };
        Self { kind, body: raw::TEEC_Parameter { tmpref }, lent: PhantomData }
    }

    const fn shared(kind: u32, parent: MemoryPointer, offset: usize, size: usize) -> Self {
        let memref = raw::TEEC_RegisteredMemoryReference { parent, size, offset };
        Self { kind, body: raw::TEEC_Parameter { memref }, lent: PhantomData }
    }
}

impl core::fmt::Debug for Parameter<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Never the numbers and bytes: they may be secret.
        write!(formatter, "Parameter(kind {:#x})", self.kind)
    }
}

/// The parameters of a call, before and after it.
pub struct Operation<'a> {
    kinds: u32,
    /// On the heap: another thread may ask to cancel the call by this address.
    body: Box<UnsafeCell<raw::TEEC_Operation>>,
    lent: PhantomData<Parameter<'a>>,
}

impl<'a> Operation<'a> {
    /// The operation of these parameters.
    pub fn new(parameters: [Parameter<'a>; 4]) -> Self {
        let kinds = parameters
            .iter()
            .zip(0..)
            .fold(0, |all, (one, index): (_, u32)| all | (one.kind << place(index)));
        let body = raw::TEEC_Operation {
            started: 0,
            paramTypes: kinds,
            params: parameters.map(|parameter| parameter.body),
            imp: raw::TEEC_Operation__Imp { session: core::ptr::null_mut() },
        };
        Self { kinds, body: Box::new(UnsafeCell::new(body)), lent: PhantomData }
    }

    /// One without parameters.
    pub fn empty() -> Self {
        Self::new([Parameter::none(); 4])
    }

    /// The two numbers of a value parameter, after the call what the trusted application made of
    /// them. Nothing for another kind of parameter, or for an index over 3.
    pub fn value(&self, index: usize) -> Option<(u32, u32)> {
        match self.kind(index)? {
            raw::TEEC_VALUE_INPUT | raw::TEEC_VALUE_OUTPUT | raw::TEEC_VALUE_INOUT => {}
            _ => return None,
        }
        let body = self.parameter(index)?;
        // SAFETY: all bytes of the parameter were set when it was made, as a value or as something
        // larger, and any bits are numbers.
        #[expect(unsafe_code, reason = "a C union")]
        let value = unsafe { body.value };
        Some((value.a, value.b))
    }

    /// Bytes of a memory parameter. After the call: how much was written, or with
    /// [`Code::ShortBuffer`] how much room is wanted. It may be larger than what was lent.
    /// Nothing for another kind of parameter, or for an index over 3.
    pub fn size(&self, index: usize) -> Option<usize> {
        let body = self.parameter(index)?;
        match self.kind(index)? {
            raw::TEEC_MEMREF_TEMP_INPUT
            | raw::TEEC_MEMREF_TEMP_OUTPUT
            | raw::TEEC_MEMREF_TEMP_INOUT => {
                // SAFETY: the kind says that it was made as this variant, and the client library
                // changes no kinds.
                #[expect(unsafe_code, reason = "a C union")]
                let memory = unsafe { body.tmpref };
                Some(memory.size)
            }
            raw::TEEC_MEMREF_WHOLE
            | raw::TEEC_MEMREF_PARTIAL_INPUT
            | raw::TEEC_MEMREF_PARTIAL_OUTPUT
            | raw::TEEC_MEMREF_PARTIAL_INOUT => {
                // SAFETY: the kind says that it was made as this variant, and the client library
                // changes no kinds.
                #[expect(unsafe_code, reason = "a C union")]
                let memory = unsafe { body.memref };
                Some(memory.size)
            }
            _ => None,
        }
    }

    fn kind(&self, index: usize) -> Option<u32> {
        let index = u32::try_from(index).ok().filter(|index| *index < 4)?;
        Some((self.kinds >> place(index)) & KIND_MASK)
    }

    fn parameter(&self, index: usize) -> Option<raw::TEEC_Parameter> {
        // SAFETY: nobody writes: a call borrows the operation mutably while it runs, and a request
        // to cancel it only reads, under the client library's lock.
        #[expect(unsafe_code, reason = "the cell that the client library writes to")]
        let body = unsafe { &*self.body.get() };
        body.params.get(index).copied()
    }

    /// For the client library.
    pub(crate) const fn pointer(&mut self) -> *mut raw::TEEC_Operation {
        self.body.get()
    }
}

impl core::fmt::Debug for Operation<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Operation(kinds {:#06x})", self.kinds)
    }
}

/// The place of a parameter's kind in the word of all four; `index` is at most 3.
const fn place(index: u32) -> u32 {
    index.saturating_mul(KIND_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_contents_are_where_they_belong() {
        let (mut out, mut both) = ([0; 5], [0; 7]);
        let operation = Operation::new([
            Parameter::value_inout(1, 2),
            Parameter::input(b"abc"),
            Parameter::output(&mut out),
            Parameter::inout(&mut both),
        ]);
        assert_eq!(operation.kinds, 0x7653);
        assert_eq!((operation.value(0), operation.size(0)), (Some((1, 2)), None));
        assert_eq!((operation.value(1), operation.size(1)), (None, Some(3)));
        assert_eq!((operation.size(2), operation.size(3)), (Some(5), Some(7)));
        assert_eq!((operation.value(4), operation.size(4)), (None, None));
    }

    #[test]
    fn nothing_and_no_bytes_are_different() {
        let operation = Operation::new([
            Parameter::none(),
            Parameter::null(),
            Parameter::input(&[]),
            Parameter::value_output(),
        ]);
        assert_eq!(operation.kinds, 0x2550);
        assert_eq!((operation.value(0), operation.size(0)), (None, None));
        assert_eq!((operation.size(1), operation.size(2)), (Some(0), Some(0)));
        assert_eq!(operation.value(3), Some((0, 0)));
    }
}
