// SPDX-License-Identifier: MIT
//! Sessions that do not block whoever awaits them.
//!
//! Neither `libteec` nor a session's encryption has calls that do not block: each session has a thread of
//! its own that makes them. Any executor can await the answers.

use futures_channel::oneshot;
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};
use strongroom_service::{
    AsyncTransport, Connect, ConnectAsync, ConnectError, Outgoing, Transport as _, TransportError,
    client::Opening,
};

use crate::{Session, Way};

/// A session whose calls are made by a thread of its own.
///
/// Who drops the future of a call that is not answered gives its answer up, and no other call gets it. A
/// call that has not begun does not begin then; one that has goes on until the service answers, and the
/// next one of the session waits for that.
#[derive(Debug)]
pub struct AsyncSession {
    jobs: Sender<Job>,
}

struct Job {
    command: u32,
    request: Vec<u8>,
    /// Room for the answer, in bytes.
    room: usize,
    timeout: Option<Duration>,
    answered: oneshot::Sender<Result<Vec<u8>, TransportError>>,
}

impl ConnectAsync for Way {
    type Transport = AsyncSession;

    async fn connect(self, opening: &Opening) -> Result<AsyncSession, ConnectError> {
        let (opened, opens) = oneshot::channel();
        let (jobs, next) = channel();
        let opening = opening.clone();
        let worker = thread::Builder::new().name("session".to_owned()).spawn(move || {
            match Connect::connect(self, &opening) {
                // It may be that nobody waits for it any more.
                Ok(session) => {
                    if opened.send(Ok(())).is_ok() {
                        serve(session, &next);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        worker.map_err(|error| {
            let number = error.raw_os_error();
            number.map_or(TransportError::Protocol, TransportError::System)
        })?;
        opens.await.map_err(|_| TransportError::Closed)??;
        Ok(AsyncSession { jobs })
    }
}

impl AsyncTransport for AsyncSession {
    async fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        let Outgoing { command, request, answer, timeout } = call;
        let (answered, answers) = oneshot::channel();
        let (request, room) = (request.to_vec(), answer.len());
        let job = Job { command, request, room, timeout, answered };
        self.jobs.send(job).map_err(|_| TransportError::Closed)?;
        let bytes = answers.await.map_err(|_| TransportError::Closed)??;
        answer.get_mut(..bytes.len()).ok_or(TransportError::Protocol)?.copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// Makes calls until the session is dropped.
fn serve(mut session: Session, jobs: &Receiver<Job>) {
    for job in jobs {
        let Job { command, request, room, timeout, answered } = job;
        if answered.is_canceled() {
            continue;
        }
        let mut answer = vec![0; room];
        let call = Outgoing { command, request: &request, answer: &mut answer, timeout };
        let result = session.call(call).map(|length| {
            answer.truncate(length);
            answer
        });
        // Whoever gave up gets nothing.
        drop(answered.send(result));
    }
}
