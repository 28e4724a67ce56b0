// SPDX-License-Identifier: MIT
//! The command line.

use clap::Parser;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_client::image::Image;
use strongroom_client::manifest::{DirectoryGrant, parse_connect, parse_directory, parse_listen};
use strongroom_client::session::{ConnectAccess, ListenAccess, Services, SignalForwarder};
use strongroom_client::terminal::{self, RawMode};
use strongroom_client::{Console, Event, LaunchError, Outcome, Session, Workload};
use strongroom_optee_package::Uuid;
use strongroom_optee_run::{Application, Bridge, RunError};

/// Exit status of this program's own errors.
const FAILED: u8 = 125;

/// Runs a packed trusted application, and serves what its manifest grants.
///
/// Standard input, output and error, signals and the terminal pass through. Exit status: the
/// program's; 128+N when signal N ended it; 125 for errors of this program and of the TEE.
#[derive(Debug, Parser)]
#[command(version, name = "strongroom-optee-run")]
struct Arguments {
    /// Name of the trusted application, as `strongroom pack-ta` printed it
    #[arg(long)]
    uuid: Uuid,
    /// The root image
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// A granted directory, in the manifest's order: HOST=MOUNT[:rw]
    #[arg(long = "dir", value_name = "GRANT", value_parser = parse_directory)]
    directories: Vec<DirectoryGrant>,
    /// A granted peer, in the manifest's order: HOST:PORT
    #[arg(long = "connect", value_name = "GRANT", value_parser = parse_connect)]
    connects: Vec<ConnectAccess>,
    /// A granted port, in the manifest's order: [ADDR:]HOSTPORT[=PORT]
    #[arg(long = "listen", value_name = "GRANT", value_parser = parse_listen)]
    listens: Vec<ListenAccess>,
    /// Say how long the start took and how many calls were made
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to be said when standard error is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAILED } else { 0 });
        }
    };
    match run(arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            line(&format!("{error:#}"));
            let hint = error.downcast_ref::<RunError>().and_then(|error| error.hint());
            let hint = hint.or_else(|| error.downcast_ref::<LaunchError>()?.hint());
            if let Some(hint) = hint {
                line(&format!("hint: {hint}"));
            }
            ExitCode::from(FAILED)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let verbose = arguments.verbose;
    let image = Image::open(&arguments.image).map_err(LaunchError::from)?;
    let workload = Workload { directories: arguments.directories, ..Workload::default() };
    let services = Services {
        image: Some(image),
        directories: workload.directory_accesses(),
        connects: arguments.connects,
        listens: arguments.listens,
        attach: None,
    };
    let (ours, theirs) = UnixStream::pair()?;
    let tee = Application::open(arguments.uuid)?;
    let bridge = std::thread::spawn(move || Bridge::new(tee, theirs).run());
    let mut session = Session::over(ours, services)?;
    session.observe(move |event| match event {
        Event::Started(started) if verbose => line(&format!(
            "started after {:.3} s ({:.3} s of it in the enclave)",
            started.wall.as_secs_f64(),
            started.boot.as_secs_f64()
        )),
        Event::Log(text) if verbose => line(text),
        Event::Started(_) | Event::Log(_) => {}
    });
    let outcome = attended(session);
    let carried = bridge.join().map_err(|_| anyhow::anyhow!("the bridge to the TEE panicked"))?;
    let turns = carried?;
    let outcome = outcome?;
    if outcome.started.is_none() && !verbose {
        outcome.log.iter().for_each(|text| line(text));
    }
    if verbose {
        line(&format!("{turns} calls of the trusted application"));
        line(&format!("memory peak {} KiB, kernel {} KiB", outcome.peak_kib, outcome.kernel_kib));
    }
    Ok(outcome.status)
}

/// Serves the session with this process's streams, terminal and signals.
fn attended(session: Session) -> Result<Outcome, LaunchError> {
    let console = Console::inherit()?;
    let _signals = SignalForwarder::start(session.controller())?;
    let _raw = RawMode::enter()?;
    session.run(console)
}

/// In raw mode a new line alone would not return the carriage.
fn line(text: &str) {
    use std::io::Write as _;
    let end = if terminal::is_raw() { "\r\n" } else { "\n" };
    // Nobody is left to be told when standard error is closed.
    let _ = write!(std::io::stderr(), "strongroom-optee-run: {text}{end}");
}
