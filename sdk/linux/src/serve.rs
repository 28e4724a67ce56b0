// SPDX-License-Identifier: MIT
//! Accepts sessions and serves their calls.

use crate::machine::Enclave;
use std::any::type_name;
use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use strongroom_service::dispatch::{Dispatch, Session, request_room};
use strongroom_service::frame::{
    CLIENT_NAME_PREFIX, HELLO, REQUEST_HEADER, SOCKET, answer_header, read_request_header,
};
use strongroom_service::interface::{Answer, HELLO_MAX, mismatch, write};
use strongroom_service::{Caller, Platform, Service};

/// Serves until the enclave ends; the exit status when it cannot.
pub fn serve<S: Service + 'static, I: Dispatch<S> + 'static>() -> ExitCode {
    let address = SocketAddr::from_abstract_name(SOCKET);
    match address.and_then(|address| listen::<S, I>(&address)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: cannot listen on @{SOCKET}: {error}", type_name::<S>());
            ExitCode::FAILURE
        }
    }
}

fn listen<S: Service + 'static, I: Dispatch<S> + 'static>(address: &SocketAddr) -> io::Result<()> {
    for stream in UnixListener::bind_addr(address)?.incoming() {
        let stream = stream?;
        thread::Builder::new().name("session".to_owned()).spawn(move || {
            // A client that breaks off or sends nonsense costs its own connection only.
            let _ = session::<S, I>(stream);
        })?;
    }
    Ok(())
}

/// A session over a connection that somebody has accepted, to its end.
///
/// # Errors
///
/// The system's, and [`io::ErrorKind::InvalidData`] for what is no session.
pub fn session<S: Service, I: Dispatch<S>>(mut stream: UnixStream) -> io::Result<()> {
    let Some((HELLO, length)) = header(&mut stream)? else { return Ok(()) };
    let mut hello = [0; HELLO_MAX];
    let hello = hello.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?;
    stream.read_exact(hello)?;
    let opened = match mismatch::<I>(hello) {
        Some(mismatch) => Err(mismatch),
        None => open::<S, I>(&stream),
    };
    let (answer, session) = match opened {
        Ok(session) => (Answer::Welcome, Some(session)),
        Err(refusal) => (refusal, None),
    };
    let mut room = [0; HELLO_MAX];
    send(&mut stream, write(&answer, &mut room).ok_or(io::ErrorKind::InvalidData)?)?;
    session.map_or(Ok(()), |session| calls(&mut stream, session))
}

fn open<S: Service, I: Dispatch<S>>(stream: &UnixStream) -> Result<Session<I, S>, Answer> {
    let busy = |_| Answer::Refused(strongroom_service::OpenError::Busy);
    let machine = Enclave::of(stream.try_clone().map_err(busy)?);
    let opening = || Session::open(Platform::new(Arc::new(machine)), caller(stream));
    // A service that panics here has no instance that could go on.
    let opened = catch_unwind(AssertUnwindSafe(opening));
    opened
        .map_err(|_| Answer::Refused(strongroom_service::OpenError::Busy))?
        .map_err(Answer::Refused)
}

/// Serves calls until the client leaves.
fn calls<S: Service, I: Dispatch<S>>(
    stream: &mut UnixStream,
    mut session: Session<I, S>,
) -> io::Result<()> {
    let (mut request, mut answer) = (vec![0; request_room::<I>()], Vec::new());
    while let Some((command, length)) = header(stream)? {
        let whole = request.get_mut(..length);
        let is_whole = whole.is_some();
        let bytes = whole.unwrap_or_default();
        stream.read_exact(bytes)?;
        answer.clear();
        let called = catch_unwind(AssertUnwindSafe(|| {
            let called = session.call(command, length, |room| {
                room.iter_mut().zip(&*bytes).for_each(|(to, from)| *to = *from);
            });
            answer.extend_from_slice(called);
        }));
        if called.is_err() {
            answer.clear();
            answer.extend_from_slice(session.panicked());
        }
        send(stream, &answer)?;
        if !is_whole {
            // What is behind the header was not read: there is no next call.
            return Ok(());
        }
    }
    Ok(())
}

/// Command and length of the next request; none when the client has left.
fn header(stream: &mut UnixStream) -> io::Result<Option<(u32, usize)>> {
    let mut header = [0; REQUEST_HEADER];
    match stream.read_exact(&mut header) {
        Ok(()) => Ok(Some(read_request_header(header))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn send(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    let header = answer_header(bytes.len()).ok_or(io::ErrorKind::InvalidData)?;
    // At once: two writes are two messages of a session.
    stream.write_all(&[&header, bytes].concat())
}

/// Whom the kernel has led here: the client's key is in its name, which no program can take.
fn caller(stream: &UnixStream) -> Caller {
    let Ok(address) = stream.peer_addr() else { return Caller::Unknown };
    let name = address.as_abstract_name().and_then(|name| str::from_utf8(name).ok());
    match name.and_then(|name| name.strip_prefix(CLIENT_NAME_PREFIX)) {
        Some(digits) => key(digits).map_or(Caller::Unknown, |key| Caller::Attested { key }),
        None => Caller::Beside,
    }
}

fn key(digits: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    hex::decode_to_slice(digits, &mut key).ok().map(|()| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
        assert_eq!(SOCKET, strongroom_wire::boot::SERVICE_SOCKET);
        assert_eq!(key(&"0a".repeat(32)), Some([10; 32]));
        for wrong in ["", "0a", &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }
}
