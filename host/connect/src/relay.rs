// SPDX-License-Identifier: MIT
//! Sessions of a client outside of a machine with trusted applications inside of it, over one stream.
//!
//! Outside [`crate::simulated`] sends orders; inside, in the machine's normal world, [`serve`] makes calls
//! for them: it is the command `strongroom serve-services`. Each session has a thread there, and its calls
//! are answered in their order. Both sides come out of one build, so there is no version to agree on.

use crate::Optee;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    io::{self, Read, Write},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};
use strongroom_optee_qemu::protocol::{MESSAGE_MAX, receive, send};
use strongroom_service::{
    Outgoing, Transport, TransportError,
    interface::{Answer, LIMIT_MAX, parse_answer},
};
use strongroom_tee::Uuid;

/// What the command is called.
pub const SERVE: &str = "serve-services";

/// More than what is around the bytes of a call.
const HEADERS_MAX: usize = 4096;
const _: () = assert!(LIMIT_MAX + HEADERS_MAX <= MESSAGE_MAX);

/// To the machine.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Which session: outside gives the numbers.
    pub(crate) session: u32,
    pub(crate) what: What,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// Open it.
    Open(Greeting),
    /// Make a call.
    Call(Call),
    /// Close it. There is no answer.
    Close,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) application: [u8; 16],
    /// Most bytes of a call, in either direction.
    pub(crate) room: u32,
    pub(crate) hello: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) command: u32,
    pub(crate) request: Vec<u8>,
    /// Most bytes of the answer.
    pub(crate) room: u32,
    pub(crate) timeout: Option<Duration>,
}

/// From the machine: what a session's oldest open order came to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) session: u32,
    pub(crate) answer: Result<Vec<u8>, Failure>,
}

/// What the way to a trusted application can say, of [`TransportError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Tee { code: u32, origin: u32 },
    Dead,
    Absent,
    Cancelled,
    TimedOut,
    Protocol,
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Tee { code, origin } => Self::Tee { code, origin },
            TransportError::Dead => Self::Dead,
            TransportError::Absent => Self::Absent,
            TransportError::Cancelled => Self::Cancelled,
            TransportError::TimedOut => Self::TimedOut,
            TransportError::Protocol
            | TransportError::Closed
            | TransportError::System(_)
            | TransportError::Attestation(_)
            | TransportError::Address(_) => Self::Protocol,
        }
    }
}

impl From<Failure> for TransportError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Tee { code, origin } => Self::Tee { code, origin },
            Failure::Dead => Self::Dead,
            Failure::Absent => Self::Absent,
            Failure::Cancelled => Self::Cancelled,
            Failure::TimedOut => Self::TimedOut,
            Failure::Protocol => Self::Protocol,
        }
    }
}

impl Transport for Optee {
    fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        Self::call(self, call)
    }
}

/// Makes calls to this machine's trusted applications for whoever is at the standard streams, until
/// standard input ends.
///
/// # Errors
///
/// What a stream says, and [`io::ErrorKind::InvalidData`] for what is no order.
pub fn serve() -> io::Result<()> {
    relay(io::stdin().lock(), io::stdout(), |greeting| {
        let application = Uuid::from_bytes(greeting.application);
        Optee::greet(application, &greeting.hello, bytes(greeting.room))
    })
}

/// Follows orders; `greet` opens sessions.
pub(crate) fn relay<T: Transport>(
    mut orders: impl Read,
    answers: impl Write + Send,
    greet: impl Fn(&Greeting) -> Result<(Option<T>, Vec<u8>), TransportError> + Sync,
) -> io::Result<()> {
    let answers = Mutex::new(answers);
    let (answers, greet) = (&answers, &greet);
    thread::scope(|scope| {
        let mut sessions: HashMap<u32, Sender<Call>> = HashMap::new();
        loop {
            let Order { session, what } = match receive(&mut orders) {
                Ok(order) => order,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
            match what {
                What::Open(greeting) => {
                    let (give, calls) = channel();
                    sessions.insert(session, give);
                    scope.spawn(move || {
                        let say = |answer: Result<_, TransportError>| {
                            let answer = answer.map_err(Failure::from);
                            say(answers, &Done { session, answer })
                        };
                        work(&greeting, greet, &calls, say)
                    });
                }
                // A session that was refused takes no calls, and outside knows.
                What::Call(call) => {
                    drop(sessions.get(&session).map(|session| session.send(call)));
                }
                What::Close => drop(sessions.remove(&session)),
            }
        }
    })
}

/// One session, from its hello to its end. An error is that of the way out: then nobody listens.
fn work<T: Transport>(
    greeting: &Greeting,
    greet: impl Fn(&Greeting) -> Result<(Option<T>, Vec<u8>), TransportError>,
    calls: &Receiver<Call>,
    say: impl Fn(Result<Vec<u8>, TransportError>) -> io::Result<()>,
) -> io::Result<()> {
    let (session, answer) = match greet(greeting) {
        Ok((session, answer)) => (session, Ok(answer)),
        Err(error) => (None, Err(error)),
    };
    // Who is welcome makes calls: there has to be somebody who takes them.
    let welcome = answer.as_deref().ok().and_then(parse_answer) == Some(Answer::Welcome);
    say(if welcome && session.is_none() { Err(TransportError::Protocol) } else { answer })?;
    let Some(mut session) = session else { return Ok(()) };
    for Call { command, request, room, timeout } in calls {
        let mut answer = vec![0; bytes(room).min(MESSAGE_MAX)];
        let call = Outgoing { command, request: &request, answer: &mut answer, timeout };
        let carried = session.call(call);
        say(carried.map(|length| {
            answer.truncate(length);
            answer
        }))?;
    }
    Ok(())
}

fn say(answers: &Mutex<impl Write>, done: &Done) -> io::Result<()> {
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    send(&mut *answers, done)?;
    answers.flush()
}

fn bytes(room: u32) -> usize {
    usize::try_from(room).unwrap_or(usize::MAX)
}
