// SPDX-License-Identifier: MIT
//! Calls within the process, the same bytes as on a real way.

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
};
use strongroom_service::{
    AsyncTransport, Caller, Connect, ConnectAsync, ConnectError, Outgoing, Service, Transport,
    TransportError,
    client::Opening,
    dispatch::{Dispatch, Session},
    interface::{Answer, HELLO_MAX, mismatch},
};

use crate::Fake;

/// The way to a service on a machine.
#[derive(Debug)]
pub struct Way<S, I> {
    machine: Fake,
    caller: Caller,
    types: PhantomData<fn() -> (S, I)>,
}

impl<S: Service, I: Dispatch<S>> Way<S, I> {
    pub(crate) const fn to(machine: Fake) -> Self {
        Self { machine, caller: Caller::Unknown, types: PhantomData }
    }

    /// The service is told that this one calls.
    pub const fn as_caller(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// The service's side of the first exchange, over bytes as on a real way.
    fn answer(&self, hello: &[u8]) -> Result<Session<I, S>, Answer> {
        if let Some(mismatch) = mismatch::<I>(hello) {
            return Err(mismatch);
        }
        Session::open(self.machine.platform(), self.caller).map_err(Answer::Refused)
    }

    fn open(self, opening: &Opening) -> Result<InProcess<S, I>, ConnectError> {
        let mut buffer = [0; HELLO_MAX];
        match self.answer(opening.hello(&mut buffer)?) {
            Ok(session) => Ok(InProcess { session }),
            Err(answer) => {
                let mut buffer = [0; HELLO_MAX];
                let bytes = strongroom_service::interface::write(&answer, &mut buffer);
                opening.judge(bytes.unwrap_or_default())?;
                Err(TransportError::Protocol.into())
            }
        }
    }
}

impl<S: Service, I: Dispatch<S>> Connect for Way<S, I> {
    type Transport = InProcess<S, I>;

    fn connect(self, opening: &Opening) -> Result<InProcess<S, I>, ConnectError> {
        self.open(opening)
    }
}

impl<S: Service, I: Dispatch<S>> ConnectAsync for Way<S, I> {
    type Transport = InProcess<S, I>;

    async fn connect(self, opening: &Opening) -> Result<InProcess<S, I>, ConnectError> {
        self.open(opening)
    }
}

/// A session with a service in this process.
#[derive(Debug)]
pub struct InProcess<S, I> {
    session: Session<I, S>,
}

impl<S: Service, I: Dispatch<S>> InProcess<S, I> {
    /// Serves a call of any bytes; panics become answers.
    ///
    /// # Errors
    ///
    /// [`TransportError::Protocol`] when the answer does not fit.
    pub fn serve(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        let Outgoing { command, request, answer, .. } = call;
        let session = &mut self.session;
        let served = catch_unwind(AssertUnwindSafe(|| {
            let bytes = session.call(command, request.len(), |room| room.copy_from_slice(request));
            copy(bytes, answer)
        }));
        match served {
            Ok(length) => length,
            Err(_) => copy(self.session.panicked(), answer),
        }
    }
}

fn copy(bytes: &[u8], answer: &mut [u8]) -> Result<usize, TransportError> {
    answer.get_mut(..bytes.len()).ok_or(TransportError::Protocol)?.copy_from_slice(bytes);
    Ok(bytes.len())
}

impl<S: Service, I: Dispatch<S>> Transport for InProcess<S, I> {
    fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        self.serve(call)
    }
}

impl<S: Service, I: Dispatch<S>> AsyncTransport for InProcess<S, I> {
    async fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        self.serve(call)
    }
}
