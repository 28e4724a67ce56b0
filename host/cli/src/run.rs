// SPDX-License-Identifier: MIT
//! `strongroom run`.

use crate::arguments::{Grant, RunOptions};
use crate::attach::Attaching;
use crate::report;
use anyhow::Context as _;
use std::env;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use strongroom_client::image::{Image, Ownership};
use strongroom_client::manifest::ManifestFile;
use strongroom_client::package::{Bindings, Package, PackageError};
use strongroom_client::session::{AttachListener, SignalForwarder};
use strongroom_client::terminal::{self, RawMode};
use strongroom_client::{Console, Event, LaunchError, Launcher, Session, Workload};

/// Runs the program; its exit code.
pub(crate) fn run(mut options: RunOptions, began: Instant) -> anyhow::Result<ExitCode> {
    let verbose = options.verbose;
    let quiet = options.quiet;
    let listener = listener(&options)?;
    let owner = match (options.attest.take(), &listener) {
        (Some(policy), Some(listener)) => {
            let taken = std::mem::take(&mut options.owner);
            Some((taken.attachment(policy)?, listener.address()?))
        }
        (Some(_) | None, _) => None,
    };
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
    session.observe(move |event| match event {
        Event::Started(started) if verbose => report::line(&format!(
            "boot {:.3} s ({:.3} s of it in the enclave)",
            began.elapsed().as_secs_f64(),
            started.boot.as_secs_f64()
        )),
        Event::Log(line) if verbose => report::line(line),
        Event::Started(_) | Event::Log(_) => {}
    });
    let attaching = owner.map(|owner| Attaching::start(owner, session.controller()));
    let served = attended(session);
    if let Some(refused) = attaching.and_then(Attaching::refusal) {
        return Err(refused);
    }
    let outcome = served?;
    if outcome.started.is_none() && !verbose && !quiet {
        // The program never ran; the kernel's last words say why.
        outcome.log.iter().for_each(|line| report::line(line));
    }
    if verbose {
        let (peak, kernel) = (outcome.peak_kib, outcome.kernel_kib);
        report::line(&format!("memory peak {peak} KiB, kernel {kernel} KiB"));
    }
    Ok(ExitCode::from(outcome.status))
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

/// Serves the session with this process's streams, terminal and signals.
fn attended(session: Session) -> Result<strongroom_client::Outcome, LaunchError> {
    let console = Console::inherit()?;
    let _signals = SignalForwarder::start(session.controller())?;
    // A panic may abort without unwinding, and must not leave the terminal raw.
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        terminal::restore();
        previous(panic);
    }));
    let _raw = RawMode::enter()?;
    session.run(console)
}

/// What the command line describes, ready to start.
fn launcher(options: RunOptions) -> Result<Launcher, LaunchError> {
    match options.package.clone() {
        Some(package) => packaged(&package, options),
        None => described(options),
    }
}

/// What a package holds. Grants say where on this host what it is granted is.
fn packaged(package: &Path, options: RunOptions) -> Result<Launcher, LaunchError> {
    let mut bindings = Bindings::default();
    for grant in options.grants {
        match grant {
            Grant::Directory(grant) => bindings.directories.push(grant),
            Grant::Listen(access) => bindings.listens.push(access),
            // Where a connection leads is in the package.
            Grant::Connect(access) => {
                let what = format!("connections to {}:{}", access.host, access.port);
                return Err(PackageError::NotGranted(what).into());
            }
        }
    }
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
    let manifest = options.manifest.as_deref().map(ManifestFile::read).transpose()?;
    let (mut workload, root, ownership) = match manifest {
        Some(manifest) => (manifest.workload, manifest.root, manifest.ownership),
        None => (Workload::default(), None, Ownership::Keep),
    };
    let ownership = if options.squash_owner { Ownership::Root } else { ownership };
    let root = options.root.or(root).ok_or(LaunchError::NoRoot)?;
    if let Some((program, arguments)) = options.program.split_first() {
        workload.program.clone_from(program);
        workload.arguments = arguments.to_vec();
    }
    if workload.program.is_empty() {
        return Err(LaunchError::NoProgram);
    }
    // A program that draws on the user's terminal has to know which kind it is.
    if let (true, Ok(term)) = (io::stdin().is_terminal(), env::var("TERM")) {
        workload.environment.entry("TERM".to_owned()).or_insert(term);
    }
    workload.environment.extend(options.environment);
    for grant in options.grants {
        match grant {
            Grant::Directory(grant) => workload.directories.push(grant),
            Grant::Connect(access) => workload.connects.push(access),
            Grant::Listen(access) => workload.listens.push(access),
        }
    }
    let mut launcher = match options.payload {
        Some(payload) => Launcher::new(payload),
        None => Launcher::with_default_payload()?,
    };
    launcher = launcher.accelerator(options.accelerator);
    workload.memory_max = options.memory.unwrap_or(workload.memory_max);
    if let Some(path) = options.debug_log {
        launcher = launcher.debug_log(path);
    }
    Ok(launcher.image(Image::for_source(&root, ownership)?).workload(workload))
}
