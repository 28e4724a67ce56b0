// SPDX-License-Identifier: MIT
//! Services behind a stream of bytes: a UNIX socket, or an attested session with an enclave.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;
use strongroom_client::attest::ServiceConnection;
use strongroom_service::client::Opening;
use strongroom_service::frame::{ANSWER_HEADER, HELLO, read_answer_header, request_header};
use strongroom_service::interface::HELLO_MAX;
use strongroom_service::{ConnectError, Outgoing, TransportError};

/// How long a service may take to answer a hello.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session over a stream.
#[derive(Debug)]
pub struct Stream {
    carrier: Carrier,
    /// What is sent at once: header and request.
    outgoing: Vec<u8>,
    /// A call was given up: what comes is the answer to it, and not to the next.
    broken: bool,
}

#[derive(Debug)]
enum Carrier {
    Unix(UnixStream),
    Attested(Box<ServiceConnection>),
}

impl Stream {
    /// Connects to a UNIX socket; `@` in front stands for an abstract name.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn unix(path: &str, opening: &Opening) -> Result<Self, ConnectError> {
        let stream = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)
                .and_then(|address| UnixStream::connect_addr(&address)),
            None => UnixStream::connect(path),
        };
        let stream = stream.map_err(|error| failed(&error))?;
        Self::open(Carrier::Unix(stream), opening)
    }

    /// Goes on with an enclave that was verified.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn attested(
        connection: ServiceConnection,
        opening: &Opening,
    ) -> Result<Self, ConnectError> {
        Self::open(Carrier::Attested(Box::new(connection)), opening)
    }

    fn open(carrier: Carrier, opening: &Opening) -> Result<Self, ConnectError> {
        let mut stream = Self { carrier, outgoing: Vec::new(), broken: false };
        let mut hello = [0; HELLO_MAX];
        let request = opening.hello(&mut hello)?;
        let mut answer = [0; HELLO_MAX];
        let timeout = Some(PATIENCE);
        let call = Outgoing { command: HELLO, request, answer: &mut answer, timeout };
        let length = stream.call(call)?;
        opening.judge(answer.get(..length).unwrap_or_default())?;
        Ok(stream)
    }

    /// Carries a call. One that takes longer than its client waits ends the session.
    ///
    /// # Errors
    ///
    /// [`TransportError`].
    pub fn call(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        if self.broken {
            return Err(TransportError::Closed);
        }
        let carried = self.carry(call);
        self.broken = carried.is_err();
        carried
    }

    fn carry(&mut self, call: Outgoing<'_>) -> Result<usize, TransportError> {
        let Outgoing { command, request, answer, timeout } = call;
        let header = request_header(command, request.len()).ok_or(TransportError::Protocol)?;
        self.outgoing.clear();
        self.outgoing.extend_from_slice(&header);
        self.outgoing.extend_from_slice(request);
        self.carrier.set_patience(timeout).map_err(|error| failed(&error))?;
        let (to, from) = (&self.outgoing, &mut self.carrier);
        from.write_all(to).map_err(|error| failed(&error))?;
        let mut header = [0; ANSWER_HEADER];
        from.read_exact(&mut header).map_err(|error| failed(&error))?;
        let length = read_answer_header(header);
        let answer = answer.get_mut(..length).ok_or(TransportError::Protocol)?;
        from.read_exact(answer).map_err(|error| failed(&error))?;
        Ok(length)
    }
}

impl Carrier {
    fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
            Self::Attested(connection) => connection.set_patience(patience),
        }
    }
}

impl Read for Carrier {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Attested(connection) => connection.read(buffer),
        }
    }
}

impl Write for Carrier {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Attested(connection) => connection.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.flush(),
            Self::Attested(connection) => connection.flush(),
        }
    }
}

fn failed(error: &io::Error) -> TransportError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are passed on as they are")]
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => TransportError::TimedOut,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => TransportError::Closed,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => TransportError::Absent,
        _ => error.raw_os_error().map_or(TransportError::Protocol, TransportError::System),
    }
}
