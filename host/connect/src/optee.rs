// SPDX-License-Identifier: MIT
//! Trusted applications on this device.
//!
//! Each session has one buffer that both worlds see, made when it opens.

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};
use strongroom_service::{
    ConnectError, Outgoing, TransportError, client::Opening, interface::HELLO_MAX,
};
use strongroom_tee::{
    Access, Canceller, Code, Login, Operation, Parameter, Session, SharedMemory, Tee, TeeError,
    Uuid,
};

/// How often a call that has taken too long is asked to end: an application may not hear it at
/// once.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A session with a trusted application.
#[derive(Debug)]
pub struct Optee {
    session: Session,
    buffer: SharedMemory,
}

impl Optee {
    /// Opens a session.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn open(application: Uuid, opening: &Opening) -> Result<Self, ConnectError> {
        let mut hello = [0; HELLO_MAX];
        let hello = opening.hello(&mut hello)?;
        let room = opening.request_max.max(opening.answer_max);
        let (session, answer) = Self::greet(application, hello, room)?;
        opening.judge(&answer)?;
        Ok(session.ok_or(TransportError::Protocol)?)
    }

    /// Says hello, for calls of at most so many bytes in either direction: the answer, and a session if
    /// there is one.
    ///
    /// # Errors
    ///
    /// [`TransportError`].
    pub(crate) fn greet(
        application: Uuid,
        hello: &[u8],
        room: usize,
    ) -> Result<(Option<Self>, Vec<u8>), TransportError> {
        let tee = Tee::connect().map_err(transport)?;
        let mut buffer = tee.allocate(room.max(HELLO_MAX), Access::Both).map_err(transport)?;
        buffer.write(0, hello).map_err(transport)?;
        let mut operation = operation(&mut buffer, hello.len(), HELLO_MAX)?;
        let opened = tee.open_with(application, Login::User, &mut operation);
        let length = operation.size(0).unwrap_or(0).min(HELLO_MAX);
        drop(operation);
        let mut answer = vec![0; length];
        buffer.read(0, &mut answer).map_err(transport)?;
        match opened {
            Ok(session) => Ok((Some(Self { session, buffer }), answer)),
            // The application's way to say that the answer is in the buffer.
            Err(TeeError { code: Code::AccessConflict, .. }) => Ok((None, answer)),
            Err(error) => Err(transport(error)),
        }
    }

    /// Carries a call.
    ///
    /// # Errors
    ///
    /// [`TransportError`].
    pub fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        let Outgoing { command, request, answer, timeout } = call;
        self.buffer.write(0, request).map_err(transport)?;
        let room = request.len().max(answer.len());
        let mut operation = operation(&mut self.buffer, request.len(), room)?;
        let invoked = match timeout {
            None => self.session.invoke(command, &mut operation),
            Some(timeout) => within(timeout, |canceller| {
                self.session.invoke_cancellable(command, &mut operation, canceller)
            })?,
        };
        invoked.map_err(transport)?;
        let length = operation.size(0).ok_or(TransportError::Protocol)?;
        drop(operation);
        let answer = answer.get_mut(..length).ok_or(TransportError::Protocol)?;
        self.buffer.read(0, answer).map_err(transport)?;
        Ok(length)
    }
}

/// Runs a call, and asks that it end when it takes longer. What it says then is lost: it may be the
/// answer to having been asked.
fn within<T>(
    timeout: Duration,
    call: impl FnOnce(&Canceller) -> Result<T, TeeError>,
) -> Result<Result<T, TeeError>, TransportError> {
    let canceller = Canceller::new();
    let (ended, wait) = channel::<()>();
    thread::scope(|scope| {
        let canceller = &canceller;
        let watch = scope.spawn(move || {
            let mut late = false;
            let mut left = timeout;
            while wait.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                late = true;
                left = ASK_AGAIN;
                canceller.cancel();
            }
            late
        });
        let result = call(canceller);
        drop(ended);
        match watch.join() {
            Ok(false) => Ok(result),
            Ok(true) | Err(_) => Err(TransportError::TimedOut),
        }
    })
}

/// The first parameter is the buffer, the second how many bytes of it are the request.
fn operation(
    buffer: &mut SharedMemory,
    length: usize,
    room: usize,
) -> Result<Operation<'_>, TransportError> {
    let length = u32::try_from(length).map_err(|_| TransportError::Protocol)?;
    Ok(Operation::new([
        Parameter::partial(buffer, 0..room, Access::Both).map_err(transport)?,
        Parameter::value_input(length, 0),
        Parameter::none(),
        Parameter::none(),
    ]))
}

fn transport(error: TeeError) -> TransportError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are passed on as they are")]
    match error.code {
        Code::TargetDead => TransportError::Dead,
        Code::Cancel => TransportError::Cancelled,
        Code::ItemNotFound => TransportError::Absent,
        code => TransportError::Tee { code: code.number(), origin: error.origin.number() },
    }
}
