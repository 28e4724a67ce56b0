// SPDX-License-Identifier: MIT
//! The client's side of a session, over any transport.

use alloc::{boxed::Box, vec, vec::Vec};
use core::{future::Future, marker::PhantomData, time::Duration};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    CallError, ConnectError, Hello, Interface, Method, Refusal, TransportError,
    error::Difference,
    interface::HELLO_MAX,
    wire::{
        DONE, Decoder, Encoder, Malformed, REFUSAL_MAX, REFUSED, STREAM_DROP, STREAM_FINISH,
        STREAM_HEADER, STREAM_WRITE, Unwritable,
    },
};

/// A call on its way out.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Which method, or what of a stream.
    pub command: u32,
    /// Encoded arguments.
    pub request: &'a [u8],
    /// Room for the answer. What is longer is [`TransportError::Protocol`].
    pub answer: &'a mut [u8],
    /// How long the client waits; without it as long as it takes.
    pub timeout: Option<Duration>,
}

/// Carries calls of one session to a service, one at a time.
pub trait Transport {
    /// Carries a call there and its answer back: the answer's length.
    ///
    /// # Errors
    ///
    /// [`TransportError`].
    fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError>;
}

/// As [`Transport`], without blocking the thread. Whoever drops a future that is not ready gives the
/// call's answer up; no other call gets it.
pub trait AsyncTransport {
    /// Carries a call there and its answer back: the answer's length.
    fn call(&mut self, call: Outgoing<'_>) -> impl Future<Output = Result<usize, TransportError>>;
}

/// What a session needs of its transport, and says first.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The client's interface.
    pub hello: Hello,
    /// Most bytes of a request.
    pub request_max: usize,
    /// Most bytes of an answer.
    pub answer_max: usize,
}

impl Opening {
    /// What a client of `I` needs.
    pub fn of<I: Interface>() -> Self {
        Self {
            hello: I::hello(),
            request_max: crate::dispatch::request_room::<I>(),
            answer_max: I::ANSWER_MAX.max(REFUSAL_MAX).saturating_add(1),
        }
    }

    /// What the service's answer to our hello means.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], unless it is welcome.
    pub fn judge(&self, answer: &[u8]) -> Result<(), ConnectError> {
        use crate::interface::Answer;
        match crate::interface::parse_answer(answer) {
            Some(Answer::Welcome) => Ok(()),
            Some(Answer::Mismatch(theirs)) => {
                let two = Difference { ours: self.hello.clone(), theirs };
                Err(ConnectError::Interface(Box::new(two)))
            }
            Some(Answer::Refused(error)) => Err(ConnectError::Refused(error)),
            None => Err(TransportError::Protocol.into()),
        }
    }

    /// The bytes of our hello.
    ///
    /// # Errors
    ///
    /// [`TransportError::Protocol`]: a name too long.
    pub fn hello<'b>(&self, buffer: &'b mut [u8; HELLO_MAX]) -> Result<&'b [u8], TransportError> {
        crate::interface::write(&self.hello, buffer).ok_or(TransportError::Protocol)
    }
}

/// Knows a way to a service, and opens a session there.
pub trait Connect {
    /// What carries the session's calls.
    type Transport: Transport;

    /// Opens a session with a service that has this interface.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    fn connect(self, opening: &Opening) -> Result<Self::Transport, ConnectError>;
}

/// As [`Connect`], without blocking.
pub trait ConnectAsync {
    /// What carries the session's calls.
    type Transport: AsyncTransport;

    /// Opens a session with a service that has this interface.
    fn connect(
        self,
        opening: &Opening,
    ) -> impl Future<Output = Result<Self::Transport, ConnectError>>;
}

/// A session of a client: transport and buffers. Generated clients are made of it.
#[derive(Debug)]
pub struct Session<I, T> {
    transport: T,
    request: Vec<u8>,
    answer: Vec<u8>,
    timeout: Option<Duration>,
    interface: PhantomData<I>,
}

/// Encodes the arguments of a call.
pub trait Arguments: FnOnce(&mut Encoder<'_>) -> Result<(), Unwritable> {}
impl<F: FnOnce(&mut Encoder<'_>) -> Result<(), Unwritable>> Arguments for F {}

impl<I: Interface, T> Session<I, T> {
    /// A session over a transport that is open.
    pub fn new(transport: T) -> Self {
        let opening = Opening::of::<I>();
        Self {
            transport,
            request: vec![0; opening.request_max],
            answer: vec![0; opening.answer_max],
            timeout: None,
            interface: PhantomData,
        }
    }

    /// How long calls may take from now on; without a time as long as they take.
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// What carries the calls.
    pub const fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    fn encode<E>(&mut self, method: &Method, put: impl Arguments) -> Result<usize, CallError<E>> {
        let too_large = CallError::RequestTooLarge(method.request_max);
        let Some(room) = self.request.get_mut(..method.request_max) else { return Err(too_large) };
        let mut encoder = Encoder::new(room);
        put(&mut encoder).map_err(|_| too_large)?;
        Ok(encoder.used())
    }

    fn encode_stream<E>(&mut self, number: u32, chunk: &[u8]) -> Result<usize, CallError<E>> {
        let length = STREAM_HEADER.saturating_add(chunk.len());
        let room = self.request.get_mut(..length);
        let split = room.and_then(|room| room.split_first_chunk_mut::<STREAM_HEADER>());
        let (header, rest) = split.ok_or(CallError::RequestTooLarge(I::REQUEST_MAX))?;
        *header = number.to_le_bytes();
        rest.copy_from_slice(chunk);
        Ok(length)
    }

    fn outgoing(&mut self, command: u32, length: usize) -> (&mut T, Outgoing<'_>) {
        let call = Outgoing {
            command,
            request: self.request.get(..length).unwrap_or_default(),
            answer: &mut self.answer,
            timeout: self.timeout,
        };
        (&mut self.transport, call)
    }

    fn answer(&self, length: usize) -> &[u8] {
        self.answer.get(..length).unwrap_or_default()
    }
}

impl<I: Interface, T: Transport> Session<I, T> {
    /// Calls a method that returns an `R`.
    ///
    /// # Errors
    ///
    /// [`CallError`], never [`CallError::Service`].
    pub fn call<R: DeserializeOwned, E>(
        &mut self,
        method: &Method,
        put: impl Arguments,
    ) -> Result<R, CallError<E>> {
        let length = self.encode(method, put)?;
        let (transport, call) = self.outgoing(method.number, length);
        let length = transport.call(call)?;
        decode(self.answer(length))
    }

    fn stream<'s, R: Deserialize<'s>, E>(
        &'s mut self,
        command: u32,
        number: u32,
        chunk: &[u8],
    ) -> Result<R, CallError<E>> {
        let length = self.encode_stream(number, chunk)?;
        let (transport, call) = self.outgoing(command, length);
        let length = transport.call(call)?;
        decode(self.answer(length))
    }
}

impl<I: Interface, T: AsyncTransport> Session<I, T> {
    /// As [`Self::call`], without blocking.
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub async fn call_async<R: DeserializeOwned, E>(
        &mut self,
        method: &Method,
        put: impl Arguments,
    ) -> Result<R, CallError<E>> {
        let length = self.encode(method, put)?;
        let (transport, call) = self.outgoing(method.number, length);
        let length = transport.call(call).await?;
        decode(self.answer(length))
    }

    async fn stream_async<'s, R: Deserialize<'s>, E>(
        &'s mut self,
        command: u32,
        number: u32,
        chunk: &[u8],
    ) -> Result<R, CallError<E>> {
        let length = self.encode_stream(number, chunk)?;
        let (transport, call) = self.outgoing(command, length);
        let length = transport.call(call).await?;
        decode(self.answer(length))
    }
}

/// The service's own error, where a method returns a `Result`.
///
/// # Errors
///
/// The call's, or the method's as [`CallError::Service`].
pub fn flatten<R, E>(called: Result<Result<R, E>, CallError<E>>) -> Result<R, CallError<E>> {
    called?.map_err(CallError::Service)
}

fn decode<'a, R: Deserialize<'a>, E>(answer: &'a [u8]) -> Result<R, CallError<E>> {
    match answer.split_first() {
        Some((&DONE, result)) => whole(result).map_err(|_| CallError::Interface),
        Some((&REFUSED, refusal)) => match whole::<Refusal>(refusal) {
            Ok(refusal) => Err(refusal.into()),
            Err(Malformed) => Err(TransportError::Protocol.into()),
        },
        Some(_) | None => Err(TransportError::Protocol.into()),
    }
}

fn whole<'a, R: Deserialize<'a>>(bytes: &'a [u8]) -> Result<R, Malformed> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.take()?;
    decoder.end()?;
    Ok(value)
}

/// A stream that a method returned: chunks go in, bytes may come out, an output ends it. Dropping
/// it (the blocking one) makes the service forget it.
#[derive(Debug)]
pub struct Writer<'s, I: Interface, T: Transport, O, E> {
    session: &'s mut Session<I, T>,
    number: u32,
    ended: bool,
    types: PhantomData<fn() -> (O, E)>,
}

impl<'s, I: Interface, T: Transport, O, E> Writer<'s, I, T, O, E>
where
    O: Serialize + DeserializeOwned,
    E: Serialize + DeserializeOwned,
{
    /// The writer of the stream with this number.
    pub const fn new(session: &'s mut Session<I, T>, number: u32) -> Self {
        Self { session, number, ended: false, types: PhantomData }
    }

    /// Most bytes of a chunk.
    pub const CHUNK_MAX: usize = I::REQUEST_MAX;

    /// Sends a chunk; what the stream gives back for it.
    ///
    /// # Errors
    ///
    /// [`CallError::RequestTooLarge`] over [`Self::CHUNK_MAX`] bytes: the stream is as it was.
    /// [`CallError::Service`]: it has ended.
    pub fn write(&mut self, chunk: &[u8]) -> Result<Vec<u8>, CallError<E>> {
        // Borrowed first: bytes are copied at once, and not one by one.
        flatten(self.session.stream(STREAM_WRITE, self.number, chunk)).map(<[u8]>::to_vec)
    }

    /// Ends the stream: its output.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn finish(mut self) -> Result<O, CallError<E>> {
        self.ended = true;
        flatten(self.session.stream(STREAM_FINISH, self.number, &[]))
    }
}

impl<I: Interface, T: Transport, O, E> Drop for Writer<'_, I, T, O, E> {
    fn drop(&mut self) {
        if !self.ended {
            // A stream that is gone already cannot be dropped again.
            let _ = self.session.stream::<(), ()>(STREAM_DROP, self.number, &[]);
        }
    }
}

/// As [`Writer`], without blocking. A stream that is dropped before its end stays with the service
/// until the session ends: see [`Self::abandon`].
#[derive(Debug)]
pub struct AsyncWriter<'s, I: Interface, T, O, E> {
    session: &'s mut Session<I, T>,
    number: u32,
    types: PhantomData<fn() -> (O, E)>,
}

impl<'s, I: Interface, T: AsyncTransport, O, E> AsyncWriter<'s, I, T, O, E>
where
    O: Serialize + DeserializeOwned,
    E: Serialize + DeserializeOwned,
{
    /// The writer of the stream with this number.
    pub const fn new(session: &'s mut Session<I, T>, number: u32) -> Self {
        Self { session, number, types: PhantomData }
    }

    /// As [`Writer::write`].
    ///
    /// # Errors
    ///
    /// As for [`Writer::write`].
    pub async fn write(&mut self, chunk: &[u8]) -> Result<Vec<u8>, CallError<E>> {
        flatten(self.session.stream_async(STREAM_WRITE, self.number, chunk).await)
            .map(<[u8]>::to_vec)
    }

    /// As [`Writer::finish`].
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn finish(self) -> Result<O, CallError<E>> {
        flatten(self.session.stream_async(STREAM_FINISH, self.number, &[]).await)
    }

    /// Makes the service forget the stream.
    ///
    /// # Errors
    ///
    /// [`CallError::Stream`] when it has ended.
    pub async fn abandon(self) -> Result<(), CallError<E>> {
        self.session.stream_async(STREAM_DROP, self.number, &[]).await
    }
}
