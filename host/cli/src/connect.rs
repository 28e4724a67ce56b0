// SPDX-License-Identifier: MIT
//! `strongroom connect`: the service of an enclave, for standard input and output or for programs
//! that know nothing of attestation.

use crate::arguments::EndorsementOptions;
use crate::attach::RunOwnerOptions;
use crate::{report, verify};
use anyhow::Context as _;
use clap::Args;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Once, mpsc};
use std::thread;
use strongroom_client::attest::{
    Appraisal, Attachment, ServiceConnection, ServiceReader, ServiceWriter, Verdict,
};
use strongroom_client::session::AttachAddress;

/// Bytes moved at once.
const PIECE: usize = 32 * 1024;

/// Talk to the service of an enclave.
///
/// The enclave's evidence is verified first, for each connection; then bytes go to and from the
/// service that its manifest offers, end to end encrypted. Without --listen these are standard input
/// and output. With it, whatever connects there is connected to the service: a program that knows
/// nothing of attestation talks to an enclave that was verified.
///
/// Exit status: 0 when the service has ended the connection, 1 when enclave or client was refused, 2
/// when that could not be decided, or the connection broke.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  echo PING | strongroom connect tcp:host:7000 --policy policy.toml --key client.key
  strongroom connect tcp:host:7000 --policy policy.toml --key client.key --listen tcp:127.0.0.1:6379")]
pub(crate) struct ConnectOptions {
    /// Where the enclave's launcher listens: unix:PATH or tcp:HOST:PORT
    pub(crate) address: AttachAddress,
    /// What is asked of the evidence, a TOML file; docs/attestation.md has the reference
    #[arg(long, value_name = "FILE", required_unless_present = "insecure_any_enclave")]
    pub(crate) policy: Option<PathBuf>,
    /// Ask for genuine evidence only, of whatever enclave it is: also of one that the host has made
    #[arg(long, conflicts_with = "policy")]
    pub(crate) insecure_any_enclave: bool,
    /// The client's key, as keygen makes it. Without one, only a service with any-client listens
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Listen here, and connect each connection to the service: unix:PATH or tcp:HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<AttachAddress>,
    #[command(flatten)]
    pub(crate) endorsements: EndorsementOptions,
}

/// Connects; the exit status.
pub(crate) fn connect(options: ConnectOptions) -> ExitCode {
    match try_connect(options) {
        Ok(code) => code,
        Err(error) => {
            report::line(&format!("{error:#}"));
            ExitCode::from(verify::UNDECIDED)
        }
    }
}

fn try_connect(options: ConnectOptions) -> anyhow::Result<ExitCode> {
    let client = RunOwnerOptions {
        owner_key: options.key,
        endorsements: options.endorsements,
        ..RunOwnerOptions::default()
    };
    // The parser sees to it that there is a policy, or that none is wanted.
    let appraisal = options.policy.map_or(Appraisal::InsecureAnyEnclave, Appraisal::Policy);
    let attachment = client.attachment(appraisal)?;
    let target = Target { attachment, address: options.address, warned: Once::new() };
    match options.listen {
        Some(address) => target.forward(&address),
        None => match target.open() {
            Ok(connection) => standard_streams(connection),
            Err(verdict) => Ok(verify::say(&verdict, false)),
        },
    }
}

/// A service, and what it takes to believe in it.
struct Target {
    attachment: Attachment,
    address: AttachAddress,
    /// What is weak about the evidence is said of the first connection.
    warned: Once,
}

impl Target {
    fn open(&self) -> Result<ServiceConnection, Verdict> {
        let connection = self.attachment.connect(&self.address)?;
        self.warned.call_once(|| verify::warn(connection.claims()));
        Ok(connection)
    }

    /// Connects whoever comes, until this process is ended.
    fn forward(self, listen: &AttachAddress) -> anyhow::Result<ExitCode> {
        let target = Arc::new(self);
        let failed = || format!("cannot listen at {listen}");
        match listen {
            AttachAddress::Tcp(address) => {
                let listener = TcpListener::bind(address.as_str()).with_context(failed)?;
                report::line(&format!("listening at tcp:{}", listener.local_addr()?));
                accept(listener.incoming(), &target)
            }
            AttachAddress::Unix(path) => {
                let listener = UnixListener::bind(path).with_context(failed)?;
                report::line(&format!("listening at {listen}"));
                accept(listener.incoming(), &target)
            }
        }
    }
}

/// Gives each connection a thread of its own.
fn accept<S: Local>(
    incoming: impl Iterator<Item = io::Result<S>>,
    target: &Arc<Target>,
) -> anyhow::Result<ExitCode> {
    for stream in incoming {
        let stream = stream.context("cannot accept a connection")?;
        let target = Arc::clone(target);
        thread::Builder::new().name("connection".to_owned()).spawn(move || {
            let ended = match target.open() {
                Ok(connection) => carry(connection, stream),
                Err(verdict) => {
                    verify::say(&verdict, false);
                    return;
                }
            };
            if let Err(error) = ended {
                report::line(&format!("a connection broke: {error}"));
            }
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A socket of a program on this machine.
trait Local: Read + Write + Send + Sized + 'static {
    fn second(&self) -> io::Result<Self>;
    fn finish(&self, how: Shutdown) -> io::Result<()>;
}

impl Local for TcpStream {
    fn second(&self) -> io::Result<Self> {
        self.set_nodelay(true)?;
        self.try_clone()
    }

    fn finish(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

impl Local for UnixStream {
    fn second(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn finish(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

/// Carries bytes between a program and the service until the service ends.
fn carry<S: Local>(connection: ServiceConnection, local: S) -> io::Result<()> {
    let (mut reader, writer) = connection.split();
    let mut speaks = local.second()?;
    let speaker = thread::spawn(move || {
        let spoken = speak(&mut speaks, writer);
        drop(speaks);
        spoken
    });
    let mut hears = local;
    let heard = hear(&mut reader, &mut hears);
    // A speaker that waits for a program that says nothing ends too.
    let _ = hears.finish(Shutdown::Both);
    let _ = speaker.join();
    heard
}

/// From a program to the service. The writer lives on until the service has said its last.
fn speak(from: &mut impl Read, mut to: ServiceWriter) -> io::Result<ServiceWriter> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => to.write_all(piece.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    to.finish()?;
    Ok(to)
}

/// From the service to a program.
fn hear(from: &mut ServiceReader, to: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(piece.get(..count).unwrap_or_default())?;
        to.flush()?;
    }
}

fn standard_streams(connection: ServiceConnection) -> anyhow::Result<ExitCode> {
    let (mut reader, writer) = connection.split();
    // Not joined: it may wait for a terminal on which nobody types.
    let (keep, kept) = mpsc::channel();
    thread::spawn(move || match speak(&mut io::stdin(), writer) {
        // Kept: dropping it would end the connection before the service has said its last.
        Ok(writer) => drop(keep.send(writer)),
        Err(error) => report::line(&format!("cannot send to the service: {error}")),
    });
    let heard = hear(&mut reader, &mut io::stdout().lock()).context("the connection broke");
    drop(kept);
    heard.map(|()| ExitCode::SUCCESS)
}
