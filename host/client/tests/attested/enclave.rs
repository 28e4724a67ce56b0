// SPDX-License-Identifier: MIT
//! The kernel on a made-up machine, served by the launcher over a socket pair.

use crate::machine::{Signing, certificate_table};
use crate::tap::{Tape, Tapped};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;
use strongroom_client::image::Image;
use strongroom_client::session::{AttachAddress, AttachListener, Controller, Services};
use strongroom_client::{Console, LaunchError, Outcome, Session};
use strongroom_fake::{ENTRY, Guest, System};
use strongroom_kernel::{Kernel, Outcome as Run};
use strongroom_south::Form;
use strongroom_wire::boot::{ServiceTerms, SessionTerms};
use strongroom_wire::{Untrusted, frame};

/// What the enclave's machine can say about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    None,
    Genuine,
    /// And its host has certificates to go with it.
    WithCertificates,
}

/// Whom the manifest lets in.
pub(crate) enum Door {
    Session(SessionTerms),
    Service(ServiceTerms),
}

impl From<SessionTerms> for Door {
    fn from(terms: SessionTerms) -> Self {
        Self::Session(terms)
    }
}

impl From<ServiceTerms> for Door {
    fn from(terms: ServiceTerms) -> Self {
        Self::Service(terms)
    }
}

/// See the module's text.
pub(crate) struct Enclave {
    pub(crate) address: AttachAddress,
    wire: Tape,
    launcher: JoinHandle<Result<Outcome, LaunchError>>,
    controller: Controller,
    pump: JoinHandle<()>,
}

impl Enclave {
    /// Starts a program with a session or a service at an address of this kind.
    pub(crate) fn start(
        address: &str,
        terms: impl Into<Door>,
        proof: Proof,
        body: impl Fn(&mut Guest) -> u8 + Send + Sync + 'static,
    ) -> Self {
        let mut builder = System::builder(Form::Paged);
        match terms.into() {
            Door::Session(terms) => builder.manifest.session = Some(terms),
            Door::Service(terms) => builder.manifest.service = Some(terms),
        }
        let image = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(image.path(), &builder.image.bytes).unwrap();
        let system = builder.boot().unwrap();
        system.machine.program(ENTRY, body);
        match proof {
            Proof::None => {}
            Proof::Genuine => system.machine.give_security_processor(Signing(Vec::new())),
            Proof::WithCertificates => {
                system.machine.give_security_processor(Signing(certificate_table()))
            }
        }
        let listener = match address {
            "unix" => AttachListener::private().unwrap(),
            _ => AttachListener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap(),
        };
        let address = listener.address().unwrap();
        let image = Image::open(image.path()).unwrap();
        let services =
            Services { image: Some(image), attach: Some(listener), ..Services::default() };
        let (ours, theirs) = UnixStream::pair().unwrap();
        let session = Session::over(theirs, services).unwrap();
        let controller = session.controller();
        let console = || Console::new(std::io::empty(), std::io::sink(), std::io::sink());
        let launcher = std::thread::spawn(move || session.run(console()));
        let wire = Tape::default();
        ours.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let tapped = wire.of(ours);
        let pump = std::thread::spawn(move || pump(system, tapped));
        Self { address, wire, launcher, controller, pump }
    }

    /// Waits for the program's end; what went between enclave and launcher.
    pub(crate) fn finish(self) -> (Outcome, Tape) {
        let outcome = self.launcher.join().unwrap().unwrap();
        self.pump.join().unwrap();
        (outcome, self.wire)
    }

    /// Gives up an enclave whose program nobody starts.
    pub(crate) fn abandon(self) {
        self.controller.end();
        assert!(self.launcher.join().unwrap().is_err());
        self.pump.join().unwrap();
    }
}

/// Runs the kernel until the workload ends or the launcher is gone.
#[expect(clippy::needless_pass_by_value, reason = "dropped here, which ends its guests")]
fn pump(system: System, mut stream: Tapped<UnixStream>) {
    let kernel = system.kernel;
    let mut arrived = Vec::new();
    loop {
        let outcome = kernel.run();
        while let Some(message) = kernel.take_message() {
            let header = frame::header(message.len()).unwrap();
            if stream.write_all(&[&header[..], &message].concat()).is_err() {
                return;
            }
        }
        match outcome {
            Run::Ended => return,
            Run::Busy => continue,
            Run::Idle { .. } => {}
        }
        let mut piece = [0; 65_536];
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => arrived.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        deliver(kernel, &mut arrived);
    }
}

fn deliver(kernel: &'static Kernel, arrived: &mut Vec<u8>) {
    while let Some((header, rest)) = arrived.split_first_chunk::<{ frame::HEADER_LEN }>() {
        let length = frame::length(*header).unwrap();
        let Some(message) = rest.get(..length) else { return };
        kernel.receive(Untrusted::new(message));
        arrived.drain(..frame::HEADER_LEN + length);
    }
}
