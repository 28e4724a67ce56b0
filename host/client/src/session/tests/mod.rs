// SPDX-License-Identifier: MIT
//! Sessions with a scripted enclave at the other end of a socket pair. No QEMU.

mod attach;
mod basics;
mod files;
mod hostile;
mod sockets;

use super::*;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use strongroom_wire::Untrusted;
use strongroom_wire::frame;
use strongroom_wire::message::{Answer, Ask, HostError, ToEnclave, ToHost, VERSION};

/// The other end of a session.
struct Enclave {
    stream: UnixStream,
    ticket: u64,
    session: JoinHandle<Result<Outcome, LaunchError>>,
    controller: Controller,
}

/// An answer, its bytes kept.
struct Reply(Vec<u8>);

impl Reply {
    fn message(&self) -> ToEnclave<'_> {
        Untrusted::new(&self.0).parse().unwrap()
    }

    fn parts(&self) -> (u64, Result<Answer<'_>, HostError>) {
        let ToEnclave::Reply { ticket, result } = self.message() else {
            panic!("no reply: {:?}", self.message())
        };
        (ticket, result)
    }

    fn result(&self) -> Result<Answer<'_>, HostError> {
        self.parts().1
    }

    fn ticket(&self) -> u64 {
        self.parts().0
    }

    fn data(&self) -> &[u8] {
        let Ok(Answer::Data(data)) = self.result() else { panic!("{:?}", self.result()) };
        data
    }

    fn handle(&self) -> u32 {
        let Ok(Answer::Handle(handle, _) | Answer::Accepted(handle, _)) = self.result() else {
            panic!("{:?}", self.result())
        };
        handle
    }
}

impl Enclave {
    fn start(services: Services, console: Console) -> Self {
        Self::start_observed(services, console, |_| {})
    }

    fn start_observed(
        services: Services,
        console: Console,
        observer: impl FnMut(Event<'_>) + Send + 'static,
    ) -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut session = Session::over(theirs, services).unwrap();
        session.observe(observer);
        let controller = session.controller();
        let session = std::thread::spawn(move || session.run(console));
        Self { stream, ticket: 0, session, controller }
    }

    /// One that has said hello.
    fn greeted(services: Services) -> Self {
        let mut enclave = Self::start(services, silent());
        enclave.ask(Ask::Hello { version: VERSION }).result().unwrap();
        enclave
    }

    /// Sends with a new ticket, which it returns.
    fn send(&mut self, ask: Ask<'_>) -> u64 {
        self.ticket += 1;
        self.send_as(self.ticket, ask);
        self.ticket
    }

    fn send_as(&mut self, ticket: u64, ask: Ask<'_>) {
        self.raw(&postcard::to_allocvec(&ToHost { ticket, ask }).unwrap());
    }

    /// Sends a frame of any bytes. The session may have given up by then.
    fn raw(&mut self, body: &[u8]) {
        let _ = self.stream.write_all(&frame::header(body.len()).unwrap());
        let _ = self.stream.write_all(body);
    }

    fn receive(&mut self) -> Reply {
        let mut header = [0; frame::HEADER_LEN];
        self.stream.read_exact(&mut header).unwrap();
        let mut body = vec![0; frame::length(header).unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        Reply(body)
    }

    fn ask(&mut self, ask: Ask<'_>) -> Reply {
        let ticket = self.send(ask);
        let reply = self.receive();
        assert_eq!(reply.ticket(), ticket);
        reply
    }

    fn exit(mut self, status: u8) -> Outcome {
        self.send_as(0, Ask::Exit { status, peak_kib: 10, kernel_kib: 20 });
        self.session.join().unwrap().unwrap()
    }

    /// The error with which the session ends.
    fn error(self) -> LaunchError {
        self.session.join().unwrap().unwrap_err()
    }
}

/// A console that reads nothing and drops everything.
fn silent() -> Console {
    Console::new(std::io::empty(), std::io::sink(), std::io::sink())
}

/// A writer into shared memory.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
