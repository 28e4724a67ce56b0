// SPDX-License-Identifier: MIT
//! The enclave's side of a session.
//!
//! Each session has an instance of its service, a buffer for requests and one for answers, made when
//! it opens. A call allocates nothing: bytes are copied in, arguments borrow from them, and the
//! result is written into the other buffer.

use alloc::{vec, vec::Vec};

use crate::{
    Caller, Interface, OpenError, Platform, Refusal,
    stream::Streams,
    wire::{
        Decoder, Encoder, REFUSAL_MAX, REFUSED, STREAM_DROP, STREAM_FINISH, STREAM_HEADER,
        STREAM_WRITE,
    },
};

/// A service: each session has an instance.
pub trait Service: Sized {
    /// Makes the instance of a session. What sessions share lies in sealed storage.
    ///
    /// # Errors
    ///
    /// Why there is no session.
    fn open(platform: &Platform, caller: &Caller) -> Result<Self, OpenError>;
}

/// How an interface calls the methods of a service `S`: made by `#[strongroom::service]`.
pub trait Dispatch<S>: Interface {
    /// Decodes the arguments of method `number`, calls it, and writes the result.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]: what was written does not count then.
    fn dispatch(
        service: &mut S,
        number: u32,
        request: Decoder<'_>,
        answer: &mut Encoder<'_>,
        streams: &mut Streams,
    ) -> Result<(), Refusal>;
}

/// A session of a service `S` with the interface `I`.
#[derive(Debug)]
pub struct Session<I, S> {
    service: Option<S>,
    streams: Streams,
    platform: Platform,
    caller: Caller,
    request: Vec<u8>,
    answer: Vec<u8>,
    /// Where streams put what they give back.
    scratch: Vec<u8>,
    interface: core::marker::PhantomData<I>,
}

impl<S: Service, I: Dispatch<S>> Session<I, S> {
    /// Opens an instance of the service, with the buffers of its session.
    ///
    /// # Errors
    ///
    /// What the service says.
    pub fn open(platform: Platform, caller: Caller) -> Result<Self, OpenError> {
        let service = Some(S::open(&platform, &caller)?);
        let answer_max = I::ANSWER_MAX.max(REFUSAL_MAX).saturating_add(1);
        Ok(Self {
            service,
            streams: Streams::default(),
            platform,
            caller,
            request: vec![0; request_room::<I>()],
            answer: vec![0; answer_max],
            scratch: vec![0; I::ANSWER_MAX.saturating_sub(REFUSAL_MAX)],
            interface: core::marker::PhantomData,
        })
    }

    /// Serves a call whose request is `length` bytes long and is copied in by `read`; the answer, to
    /// be copied out. There always is one.
    ///
    /// A call that unwinds leaves the session as it was; [`Self::panicked`] has to be called then.
    pub fn call(&mut self, command: u32, length: usize, read: impl FnOnce(&mut [u8])) -> &[u8] {
        self.platform.take_noticed();
        let outcome = self.serve(command, length, read);
        let outcome = match outcome {
            Ok(_) if self.platform.take_noticed() => Err(Refusal::Cancelled),
            other => other,
        };
        let length = match outcome {
            Ok(length) => length,
            Err(refusal) => refuse(refusal, &mut self.answer),
        };
        self.answer.get(..length).unwrap_or_default()
    }

    /// Drops the instance, which panicked; the next call makes a fresh one. The answer to the call.
    pub fn panicked(&mut self) -> &[u8] {
        self.service = None;
        self.streams = Streams::default();
        let length = refuse(Refusal::Panicked, &mut self.answer);
        self.answer.get(..length).unwrap_or_default()
    }

    /// The instance, for a call that is not of the interface.
    ///
    /// # Errors
    ///
    /// What the service says when it has to be opened again.
    pub fn service(&mut self) -> Result<&mut S, OpenError> {
        if self.service.is_none() {
            self.service = Some(S::open(&self.platform, &self.caller)?);
        }
        // It was put there just now.
        self.service.as_mut().ok_or(OpenError::Busy)
    }

    /// Where a request of at most so many bytes is written, for [`Self::call`].
    pub(crate) fn request_room_mut(&mut self, most: usize) -> Option<&mut [u8]> {
        self.request.get_mut(..most)
    }

    fn serve(
        &mut self,
        command: u32,
        length: usize,
        read: impl FnOnce(&mut [u8]),
    ) -> Result<usize, Refusal> {
        let limit = limit_of::<I>(command).ok_or(Refusal::UnknownMethod)?;
        let too_large = Refusal::RequestTooLarge(u32::try_from(limit).unwrap_or(u32::MAX));
        if length > limit {
            return Err(too_large);
        }
        read(self.request.get_mut(..length).ok_or(too_large)?);
        self.service().map_err(Refusal::Reopen)?;
        let request = self.request.get(..length).unwrap_or_default();
        let room = answer_room::<I>(command);
        let (status, room) = match self.answer.get_mut(..room).and_then(|it| it.split_first_mut()) {
            Some(both) => both,
            None => return Err(Refusal::AnswerTooLarge(0)),
        };
        *status = crate::wire::DONE;
        let mut answer = Encoder::new(room);
        match command {
            STREAM_WRITE => {
                let (number, chunk) = stream_number(request)?;
                self.streams.write(number, chunk, &mut self.scratch, &mut answer)?;
            }
            STREAM_FINISH => {
                let (number, _) = stream_number(request)?;
                self.streams.finish(number, I::ANSWER_MAX, &mut answer)?;
            }
            STREAM_DROP => self.streams.forget(stream_number(request)?.0)?,
            number => {
                let service = self.service.as_mut().ok_or(Refusal::Panicked)?;
                let request = Decoder::new(request);
                I::dispatch(service, number, request, &mut answer, &mut self.streams)?;
            }
        }
        Ok(answer.used().saturating_add(1))
    }
}

/// Bytes of a session's request buffer: arguments, or a chunk with its header.
pub const fn request_room<I: Interface>() -> usize {
    I::REQUEST_MAX.saturating_add(STREAM_HEADER)
}

/// Most bytes of a request for `command`; nothing when there is no such command.
fn limit_of<I: Interface>(command: u32) -> Option<usize> {
    match command {
        STREAM_WRITE => Some(request_room::<I>()),
        STREAM_FINISH | STREAM_DROP => Some(STREAM_HEADER),
        number => Some(method::<I>(number)?.request_max),
    }
}

/// Room for the answer to `command`, with its first byte.
fn answer_room<I: Interface>(command: u32) -> usize {
    let room = method::<I>(command).map_or(I::ANSWER_MAX, |method| method.answer_max);
    room.saturating_add(1)
}

fn method<I: Interface>(number: u32) -> Option<&'static crate::Method> {
    I::METHODS.get(usize::try_from(number).ok()?)
}

fn stream_number(request: &[u8]) -> Result<(u32, &[u8]), Refusal> {
    let (number, chunk) = request.split_first_chunk().ok_or(Refusal::Malformed)?;
    Ok((u32::from_le_bytes(*number), chunk))
}

/// Writes a refusal; its length.
fn refuse(refusal: Refusal, answer: &mut [u8]) -> usize {
    let Some((status, room)) = answer.split_first_mut() else { return 0 };
    *status = REFUSED;
    let mut encoder = Encoder::new(room);
    // The buffer has room for any refusal.
    let written = encoder.put(&refusal).is_ok();
    if written { encoder.used().saturating_add(1) } else { 0 }
}
