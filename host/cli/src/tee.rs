// SPDX-License-Identifier: MIT
//! `strongroom run --tee optee-qemu` and `--tee optee`: a program in a trusted application.
//!
//! The session is served by this process, as for every enclave; what differs is who carries its
//! messages. With `optee` this process itself calls the trusted application. With `optee-qemu` a
//! bridge in the machine's normal world does, and `serve-ta` is that bridge.

mod device;
mod error;

use crate::arguments::RunOptions;
use crate::attach::Attaching;
use crate::pack_ta::PackingOptions;
use crate::report;
use crate::run::{Attendance, bindings, ended, observe, owner, terminal_kind};
use crate::workload::{Prepared, WorkloadOptions};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
pub(crate) use error::TeeError;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use strongroom_client::session::{AttachListener, Services};
use strongroom_client::{LaunchError, Session};
use strongroom_optee_package::Uuid;
use strongroom_optee_run::machine::Kept;
use strongroom_optee_run::{Application, Folder, VirtualTee, serve as bridge};

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tee {
    /// An SNP guest in QEMU.
    SnpSim,
    /// OP-TEE in QEMU.
    OpteeQemu,
    /// This machine's OP-TEE.
    Optee,
}

/// What only trusted applications have.
#[derive(Args, Debug)]
pub(crate) struct OpteeOptions {
    #[command(flatten)]
    packing: PackingOptions,
    /// Private RSA key that OP-TEE trusts, PEM; for optee-qemu the machine's own is the default
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Folder of the machine for optee-qemu, as cargo xtask optee build makes it
    #[arg(long, value_name = "DIR")]
    machine: Option<PathBuf>,
    /// Keep the logs of both worlds' consoles in this folder (optee-qemu)
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Keep the simulated device's secure storage in this folder from run to run (optee-qemu): its
    /// attestation key is in there
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Run this application, which pack-ta made and which is installed; --root is its image (optee)
    #[arg(long, value_name = "UUID")]
    installed: Option<Uuid>,
    /// Where this machine's tee-supplicant looks for applications (optee)
    #[arg(long, value_name = "DIR", default_value = "/lib/optee_armtz")]
    applications: PathBuf,
}

/// What the bridge in the machine is told.
#[derive(Args, Debug)]
pub(crate) struct ServeOptions {
    /// The trusted application
    uuid: Uuid,
}

/// What is to be run: a signed file, or the name of an installed one.
#[derive(Debug)]
enum Target {
    Packed(Uuid, Vec<u8>),
    Installed(Uuid),
}

/// Runs the program; its exit code.
pub(crate) fn run(mut options: RunOptions, began: Instant) -> anyhow::Result<ExitCode> {
    error::refuse_others(&options)?;
    let (verbose, quiet, tee) = (options.verbose, options.quiet, options.tee);
    let (listener, owner) = owner(&mut options)?;
    let mut optee = options.optee;
    let folder = match tee {
        Tee::OpteeQemu => Some(optee.folder()?),
        Tee::Optee | Tee::SnpSim => None,
    };
    let mut workload = options.workload;
    if optee.installed.is_some() && workload.program.is_empty() {
        // It is packed already: only the order of grants matters here.
        workload.program.push("/".to_owned());
    }
    let prepared = match options.package {
        Some(package) => {
            let bindings = bindings(workload.grants).map_err(LaunchError::from)?;
            Prepared::of_package(&package, &bindings)?
        }
        None => Prepared::of(workload.describe(terminal_kind())?)?,
    };
    let target = optee.target(&prepared, folder.as_ref(), verbose)?;
    if verbose {
        report::line(&platform(folder.as_ref()));
    }
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
    // What is installed knows its own manifest.
    if matches!(target, Target::Packed(..)) {
        prepared.workload.check_attach(listener.is_some())?;
    }
    let mut session = Session::over(ours, services(prepared, listener))?;
    observe(&mut session, began, verbose);
    let attendance = Attendance::begin(&session)?;
    let carrier = match folder {
        Some(folder) => optee.start(&folder, target)?.carry(theirs)?,
        None => device::carry(target, &optee.applications, theirs)?,
    };
    let attaching = owner.map(|owner| Attaching::start(owner, session.controller()));
    let served = attendance.serve(session);
    let interrupted = matches!(served, Err(LaunchError::Interrupted(_)));
    let finished = carrier.finish(interrupted);
    let refused = attaching.and_then(Attaching::refusal);
    match (served, refused, finished) {
        (Ok(outcome), None, _) => Ok(ended(&outcome, verbose, quiet)),
        // The stream's end says only that the application is gone; the carrier knows why.
        (_, Some(refused), Some(Err(why))) => Err(anyhow::Error::from(why).context(refused)),
        (_, Some(refused), _) => Err(refused),
        (Err(_), None, Some(Err(why))) if !interrupted => Err(why.into()),
        (Err(error), None, _) => Err(error.into()),
    }
}

/// The bridge in the machine: its exit status.
pub(crate) fn serve(options: &ServeOptions) -> ExitCode {
    match Application::open(options.uuid).and_then(bridge::serve) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", bridge::report(&error));
            ExitCode::from(report::LAUNCHER_FAILED)
        }
    }
}

fn services(prepared: Prepared, attach: Option<AttachListener>) -> Services {
    let Prepared { workload, image, .. } = prepared;
    Services {
        image: Some(image),
        directories: workload.directory_accesses(),
        connects: workload.connects,
        listens: workload.listens,
        attach,
    }
}

fn platform(folder: Option<&Folder>) -> String {
    match folder {
        Some(folder) => format!(
            "platform simulated ({}): nothing is protected from this machine, simulated attestation",
            folder.describe()
        ),
        None => "platform OP-TEE of this machine".to_owned(),
    }
}

impl OpteeOptions {
    fn folder(&mut self) -> anyhow::Result<Folder> {
        Ok(Folder::of_user(self.machine.take())?)
    }

    /// The name that was given.
    pub(crate) const fn name(&self) -> Option<Uuid> {
        self.packing.naming.uuid
    }

    /// Packs a workload, boots a machine with it, and has this program ask it there: with `command`,
    /// and what names the application; what that printed.
    pub(crate) fn ask_in_machine(
        mut self,
        workload: WorkloadOptions,
        command: &[&str],
    ) -> anyhow::Result<Vec<u8>> {
        let folder = self.folder()?;
        let prepared = Prepared::of(workload.describe(None)?)?;
        let target = self.target(&prepared, Some(&folder), false)?;
        let (Target::Packed(uuid, _) | Target::Installed(uuid)) = &target;
        let uuid = uuid.to_string();
        let command = [command, &["--tee", "optee", "--uuid", &uuid]].concat();
        Ok(self.start(&folder, target)?.capture(&command)?)
    }

    /// A machine with the application in it.
    fn start(&mut self, folder: &Folder, target: Target) -> anyhow::Result<VirtualTee> {
        match target {
            Target::Packed(uuid, signed) => {
                let kept = Kept { logs: self.logs.take(), storage: self.storage.take() };
                Ok(VirtualTee::start(folder, uuid, &signed, kept)?)
            }
            Target::Installed(_) => Err(TeeError::OnlyFor("--installed", "optee").into()),
        }
    }

    /// Packs, unless it is packed.
    fn target(
        &mut self,
        prepared: &Prepared,
        folder: Option<&Folder>,
        verbose: bool,
    ) -> anyhow::Result<Target> {
        if let Some(uuid) = self.installed {
            return Ok(Target::Installed(uuid));
        }
        if self.packing.library_os.is_none() {
            self.packing.library_os = folder.map(Folder::library_os);
        }
        let key = self.key.take().or_else(|| folder.map(Folder::key)).ok_or(TeeError::NoKey)?;
        let application = self.packing.pack(prepared, &key, verbose)?;
        Ok(Target::Packed(application.packed.uuid, application.signed))
    }
}
