// SPDX-License-Identifier: MIT
//! A client's end of a connection to a workload's service.

use super::{Attachment, Failure, NoFrame, Talk, broken, connect, now, refused_by_enclave};
use crate::attest::Verdict;
use crate::session::{AttachAddress, Connected as Socket};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strongroom_session::client::{Connected, Incoming, NotConnected};
use strongroom_session::message::{PIECE_MAX, ServiceBytes};
use strongroom_session::{FRAME_MAX, Frames, SessionError};
use strongroom_verifier::Claims;

/// A stream of bytes to and from the service of an enclave that was verified. Whoever carries them
/// can neither read nor change them, nor end them unnoticed.
#[derive(Debug)]
pub struct ServiceConnection {
    reader: ServiceReader,
    writer: ServiceWriter,
    claims: Claims,
}

/// The half that listens.
#[derive(Debug)]
pub struct ServiceReader {
    talk: Talk<Socket>,
    session: Arc<Mutex<Option<Connected>>>,
    /// What has come and was not read, and how much of it was.
    arrived: Option<(ServiceBytes, usize)>,
    ended: bool,
}

/// The half that speaks. Dropping it closes the connection.
#[derive(Debug)]
pub struct ServiceWriter {
    stream: Socket,
    session: Arc<Mutex<Option<Connected>>>,
}

impl Attachment {
    /// Connects, verifies, and asks for the service; nothing is brought along. The service hears
    /// which key the client has.
    ///
    /// # Errors
    ///
    /// A [`Verdict`] that is not accepted: the enclave was refused, or refuses, or there is none.
    pub fn connect(&self, address: &AttachAddress) -> Result<ServiceConnection, Verdict> {
        self.connect_at(address, now())
    }

    /// The same at the time `now`, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// As for [`Attachment::connect`].
    pub fn connect_at(
        &self,
        address: &AttachAddress,
        now: u64,
    ) -> Result<ServiceConnection, Verdict> {
        self.try_connect(address, now).map_err(Verdict::from)
    }

    fn try_connect(&self, address: &AttachAddress, now: u64) -> Result<ServiceConnection, Failure> {
        let mut talk = Talk { stream: connect(address)?, frames: Frames::default() };
        let (verified, claims) = self.establish(&mut talk, now)?;
        let (connecting, bytes) = verified.connect()?;
        talk.send(&bytes)?;
        let session = match connecting.receive(&talk.receive(FRAME_MAX)?) {
            Ok(connected) => connected,
            Err(NotConnected::Session(error)) => return Err(error.into()),
            Err(NotConnected::Refused(refusal)) => {
                let expected = "what the manifest's [service] lets through";
                return Err(refused_by_enclave(expected, &refusal));
            }
        };
        talk.stream.set_patience(None).map_err(broken("listen to"))?;
        let stream = talk.stream.try_clone().map_err(broken("speak to"))?;
        let session = Arc::new(Mutex::new(Some(session)));
        let writer = ServiceWriter { stream, session: Arc::clone(&session) };
        let reader = ServiceReader { talk, session, arrived: None, ended: false };
        Ok(ServiceConnection { reader, writer, claims })
    }
}

impl ServiceConnection {
    /// What the evidence of the enclave proves.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Lets reading and writing take at most so long; none is for ever, and the default. What was
    /// begun and not ended in that time cannot go on: close the connection.
    ///
    /// # Errors
    ///
    /// The system's; a time of 0 is refused.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.writer.stream.set_patience(patience)
    }

    /// Two halves for two threads.
    #[must_use]
    pub fn split(self) -> (ServiceReader, ServiceWriter) {
        (self.reader, self.writer)
    }
}

impl Read for ServiceConnection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for ServiceConnection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl ServiceReader {
    /// Takes in the next message.
    fn take_in(&mut self) -> io::Result<()> {
        let frame = self.talk.next_frame(FRAME_MAX).map_err(|error| match error {
            NoFrame::Stream(error) => error,
            // Only the enclave can end a connection: this is not its doing.
            NoFrame::Session(SessionError::Truncated) => io::ErrorKind::UnexpectedEof.into(),
            NoFrame::Session(error) => io::Error::other(error),
        })?;
        let mut session = lock(&self.session);
        let Some(session) = session.as_mut() else {
            self.ended = true;
            return Ok(());
        };
        match session.receive(&frame).map_err(io::Error::other)? {
            Incoming::Bytes(bytes) => self.arrived = Some((bytes, 0)),
            Incoming::Closed => self.ended = true,
        }
        Ok(())
    }
}

impl Read for ServiceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            if let Some((bytes, at)) = &mut self.arrived {
                let mut rest = bytes.get(*at..).unwrap_or_default();
                let count = rest.read(buffer)?;
                *at += count;
                if count > 0 {
                    return Ok(count);
                }
                self.arrived = None;
            }
            if self.ended {
                break;
            }
            self.take_in()?;
        }
        Ok(0)
    }
}

impl ServiceWriter {
    /// Says that nothing more comes; the service reads an end, and may go on to speak.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn finish(&mut self) -> io::Result<()> {
        let frame = match lock(&self.session).as_mut() {
            Some(session) => session.finish().map_err(io::Error::other)?,
            None => return Ok(()),
        };
        self.stream.write_all(&frame)
    }
}

impl Write for ServiceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A piece at a time: what was sealed has to be sent, whole.
        let piece = bytes.get(..bytes.len().min(PIECE_MAX)).unwrap_or_default();
        let frames = match lock(&self.session).as_mut() {
            Some(session) => session.send(piece).map_err(io::Error::other)?,
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        self.stream.write_all(&frames)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Drop for ServiceWriter {
    fn drop(&mut self) {
        let session = lock(&self.session).take();
        if let Some(Ok(last)) = session.map(Connected::close) {
            // A service that is gone does not hear it.
            let _ = self.stream.write_all(&last);
        }
    }
}

fn lock(session: &Mutex<Option<Connected>>) -> MutexGuard<'_, Option<Connected>> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
