// SPDX-License-Identifier: MIT
//! Data larger than a call: a method returns a stream, and the client writes chunks to it.
//!
//! A trusted application cannot wait for input within a call. So each chunk is a call of its own;
//! in between the stream rests in the session, under a number that is used once.

use alloc::boxed::Box;
use serde::Serialize;

use crate::{
    Refusal,
    wire::{Encoder, Unwritable},
};

/// Streams that a session may have at a time.
pub const STREAMS_MAX: usize = 4;

/// What a method returns for data larger than a call.
pub trait Stream {
    /// What is known at the end.
    type Output;
    /// Why it ends early.
    type Error;

    /// Takes a chunk; may give bytes back, at the start of `out`: how many. `out` is as large as the
    /// interface's largest answer, less 16 bytes.
    ///
    /// # Errors
    ///
    /// The stream ends with it.
    fn write(&mut self, chunk: &[u8], out: &mut [u8]) -> Result<usize, Self::Error>;

    /// There are no more chunks.
    ///
    /// # Errors
    ///
    /// Why there is no output.
    fn finish(self: Box<Self>) -> Result<Self::Output, Self::Error>;
}

/// A stream of any type: what a method returns.
pub type Streamed<O, E> = Box<dyn Stream<Output = O, Error = E>>;

/// The streams of a session, and their numbers.
#[derive(Default)]
pub struct Streams {
    slots: [Option<(u32, Box<dyn Erased>)>; STREAMS_MAX],
    latest: u32,
}

impl core::fmt::Debug for Streams {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Streams({} so far)", self.latest)
    }
}

impl Streams {
    /// Whether another stream can be kept.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooManyStreams`].
    pub fn check_room(&self) -> Result<(), Refusal> {
        let limit = u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX);
        let free = self.slots.iter().any(Option::is_none);
        free.then_some(()).ok_or(Refusal::TooManyStreams(limit))
    }

    /// Keeps a stream; its number.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooManyStreams`].
    pub fn keep<O, E>(&mut self, stream: Streamed<O, E>) -> Result<u32, Refusal>
    where
        O: Serialize + 'static,
        E: Serialize + 'static,
    {
        self.check_room()?;
        self.latest = self.latest.wrapping_add(1);
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some((self.latest, Box::new(stream)));
        }
        Ok(self.latest)
    }

    /// Gives a chunk to a stream; writes `Result<bytes, E>`. On an error the stream is gone.
    pub(crate) fn write(
        &mut self,
        number: u32,
        chunk: &[u8],
        scratch: &mut [u8],
        answer: &mut Encoder<'_>,
    ) -> Result<(), Refusal> {
        let slot = self.slot(number).ok_or(Refusal::NoStream)?;
        let Some((_, stream)) = slot else { return Err(Refusal::NoStream) };
        let goes_on = stream.write(chunk, scratch, answer);
        if goes_on != Ok(true) {
            *slot = None;
        }
        goes_on.map(|_| ()).map_err(|_| too_large(scratch.len()))
    }

    /// Ends a stream; writes `Result<O, E>`.
    pub(crate) fn finish(
        &mut self,
        number: u32,
        limit: usize,
        answer: &mut Encoder<'_>,
    ) -> Result<(), Refusal> {
        let (_, stream) = self.slot(number).and_then(Option::take).ok_or(Refusal::NoStream)?;
        stream.finish(answer).map_err(|_| too_large(limit))
    }

    /// Forgets a stream.
    pub(crate) fn forget(&mut self, number: u32) -> Result<(), Refusal> {
        self.slot(number).and_then(Option::take).map(|_| ()).ok_or(Refusal::NoStream)
    }

    fn slot(&mut self, number: u32) -> Option<&mut Option<(u32, Box<dyn Erased>)>> {
        self.slots.iter_mut().find(|slot| slot.as_ref().is_some_and(|(own, _)| *own == number))
    }
}

fn too_large(limit: usize) -> Refusal {
    Refusal::AnswerTooLarge(u32::try_from(limit).unwrap_or(u32::MAX))
}

/// A stream without its types.
trait Erased {
    /// True when the stream goes on.
    fn write(
        &mut self,
        chunk: &[u8],
        scratch: &mut [u8],
        answer: &mut Encoder<'_>,
    ) -> Result<bool, Unwritable>;
    fn finish(self: Box<Self>, answer: &mut Encoder<'_>) -> Result<(), Unwritable>;
}

impl<O: Serialize, E: Serialize> Erased for Streamed<O, E> {
    fn write(
        &mut self,
        chunk: &[u8],
        scratch: &mut [u8],
        answer: &mut Encoder<'_>,
    ) -> Result<bool, Unwritable> {
        match (**self).write(chunk, scratch) {
            Ok(length) => {
                answer.put(&OK)?;
                answer.put_bytes(scratch.get(..length).ok_or(Unwritable)?)?;
                Ok(true)
            }
            Err(error) => {
                answer.put(&ERR)?;
                answer.put(&error)?;
                Ok(false)
            }
        }
    }

    fn finish(self: Box<Self>, answer: &mut Encoder<'_>) -> Result<(), Unwritable> {
        answer.put(&(*self).finish())
    }
}

/// Postcard's first byte of `Ok` and of `Err`.
const OK: u8 = 0;
const ERR: u8 = 1;
