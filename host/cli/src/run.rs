// SPDX-License-Identifier: MIT
//! `strongroom run`.

use crate::arguments::{Grant, RunOptions};
use crate::attach::Attaching;
use crate::report;
use crate::tee::{self, Tee};
use crate::workload::Described;
use anyhow::Context as _;
use std::env;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use strongroom_client::attest::{Appraisal, Attachment};
use strongroom_client::image::Image;
use strongroom_client::package::{Bindings, Package, PackageError};
use strongroom_client::session::{AttachAddress, AttachListener, SignalForwarder};
use strongroom_client::terminal::{self, RawMode};
use strongroom_client::{Console, Event, LaunchError, Launcher, Outcome, Session};

/// Runs the program; its exit code.
pub(crate) fn run(mut options: RunOptions, began: Instant) -> anyhow::Result<ExitCode> {
    if options.tee != Tee::SnpSim {
        return tee::run(options, began);
    }
    let (verbose, quiet) = (options.verbose, options.quiet);
    let (listener, owner) = owner(&mut options)?;
    let mut launcher = launcher(options)?;
    if let Some(listener) = listener {
        launcher = launcher.attach(listener);
    }
    if verbose {
        let digest = report::hex(&launcher.package_digest()?);
        report::line(&format!(
            "package digest sha256:{digest} (a package digest, not a launch measurement)"
        ));
    }
    let mut session = launcher.start()?;
    if let (true, Some(accelerator)) = (verbose, session.accelerator()) {
        report::line(&format!("platform {}", accelerator.platform()));
    }
    observe(&mut session, began, verbose);
    let attaching = owner.map(|owner| Attaching::start(owner, session.controller()));
    let served = Attendance::begin(&session).and_then(|attendance| attendance.serve(session));
    if let Some(refused) = attaching.and_then(Attaching::refusal) {
        return Err(refused);
    }
    Ok(ended(&served?, verbose, quiet))
}

/// Says what a verbose user wants to see while it happens.
pub(crate) fn observe(session: &mut Session, began: Instant, verbose: bool) {
    session.observe(move |event| match event {
        Event::Started(started) if verbose => report::line(&format!(
            "boot {:.3} s ({:.3} s of it in the enclave)",
            began.elapsed().as_secs_f64(),
            started.boot.as_secs_f64()
        )),
        Event::Log(line) if verbose => report::line(line),
        Event::Started(_) | Event::Log(_) => {}
    });
}

/// Says what is left to be said of a session that has ended; the exit status.
pub(crate) fn ended(outcome: &Outcome, verbose: bool, quiet: bool) -> ExitCode {
    if outcome.started.is_none() && !verbose && !quiet {
        // The program never ran; the kernel's last words say why.
        outcome.log.iter().for_each(|line| report::line(line));
    }
    if verbose {
        let (peak, kernel) = (outcome.peak_kib, outcome.kernel_kib);
        report::line(&format!("memory peak {peak} KiB, kernel {kernel} KiB"));
    }
    ExitCode::from(outcome.status)
}

/// An owner, and where he attaches.
pub(crate) type Owner = (Attachment, AttachAddress);

/// Where clients come to, and the owner if that is this process.
pub(crate) fn owner(
    options: &mut RunOptions,
) -> anyhow::Result<(Option<AttachListener>, Option<Owner>)> {
    let listener = listener(options)?;
    let owner = match (options.attest.take(), &listener) {
        (Some(policy), Some(listener)) => {
            let taken = std::mem::take(&mut options.owner);
            Some((taken.attachment(Appraisal::Policy(policy))?, listener.address()?))
        }
        (Some(_) | None, _) => None,
    };
    Ok((listener, owner))
}

/// Where clients come to: the address that was given, or one for ourselves.
fn listener(options: &RunOptions) -> anyhow::Result<Option<AttachListener>> {
    let listener = match (&options.attach, &options.attest) {
        (Some(address), _) => {
            AttachListener::bind(address).with_context(|| format!("cannot listen at {address}"))?
        }
        (None, Some(_)) => AttachListener::private().context("cannot make a socket")?,
        (None, None) => return Ok(None),
    };
    Ok(Some(listener))
}

/// This process's streams, terminal and signals, which are a session's until this is dropped.
#[derive(Debug)]
pub(crate) struct Attendance {
    console: Console,
    _signals: SignalForwarder,
    _raw: Option<RawMode>,
}

impl Attendance {
    /// From now on signals go to the session, or end it while it boots.
    pub(crate) fn begin(session: &Session) -> Result<Self, LaunchError> {
        let console = Console::inherit()?;
        let signals = SignalForwarder::start(session.controller())?;
        // A panic may abort without unwinding, and must not leave the terminal raw.
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            terminal::restore();
            previous(panic);
        }));
        Ok(Self { console, _signals: signals, _raw: RawMode::enter()? })
    }

    /// Serves the session to its end.
    pub(crate) fn serve(self, session: Session) -> Result<Outcome, LaunchError> {
        session.run(self.console)
    }
}

/// What the command line describes, ready to start.
fn launcher(options: RunOptions) -> Result<Launcher, LaunchError> {
    match options.package.clone() {
        Some(package) => packaged(&package, options),
        None => described(options),
    }
}

/// Where on this host it is what a package is granted.
pub(crate) fn bindings(grants: Vec<Grant>) -> Result<Bindings, PackageError> {
    let mut bindings = Bindings::default();
    for grant in grants {
        match grant {
            Grant::Directory(grant) => bindings.directories.push(grant),
            Grant::Listen(access) => bindings.listens.push(access),
            // Where a connection leads is in the package.
            Grant::Connect(access) => {
                let what = format!("connections to {}:{}", access.host, access.port);
                return Err(PackageError::NotGranted(what));
            }
        }
    }
    Ok(bindings)
}

/// What a package holds.
fn packaged(package: &Path, options: RunOptions) -> Result<Launcher, LaunchError> {
    let bindings = bindings(options.workload.grants)?;
    let mut launcher = Launcher::of_package(&Package::open(package)?, &bindings)?;
    launcher = launcher.accelerator(options.accelerator);
    if let Some(payload) = options.payload {
        launcher = launcher.payload(payload);
    }
    if let Some(path) = options.debug_log {
        launcher = launcher.debug_log(path);
    }
    Ok(launcher)
}

/// What the command line and a manifest describe.
fn described(options: RunOptions) -> Result<Launcher, LaunchError> {
    let Described { workload, root, ownership } = options.workload.describe(terminal_kind())?;
    let mut launcher = match options.payload {
        Some(payload) => Launcher::new(payload),
        None => Launcher::with_default_payload()?,
    };
    launcher = launcher.accelerator(options.accelerator);
    if let Some(path) = options.debug_log {
        launcher = launcher.debug_log(path);
    }
    Ok(launcher.image(Image::for_source(&root, ownership)?).workload(workload))
}

/// The kind of the terminal on standard input.
pub(crate) fn terminal_kind() -> Option<String> {
    io::stdin().is_terminal().then(|| env::var("TERM").ok()).flatten()
}
