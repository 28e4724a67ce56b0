// SPDX-License-Identifier: MIT
//! What cannot be done with trusted applications.

use super::Tee;
use crate::arguments::RunOptions;
use std::io;
use std::path::PathBuf;
use strongroom_client::AcceleratorChoice;

/// What cannot be done with trusted applications; [`TeeError::hint`] says what can.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TeeError {
    /// An option, and the only TEE that has it.
    #[error("{0} is for --tee {1} only")]
    OnlyFor(&'static str, &'static str),
    /// SNP has certificates.
    #[error("an SNP guest has no keys to be enrolled: its processor has certificates")]
    NothingToEnrol,
    /// In an SNP guest whoever wants evidence asks from within.
    #[error(
        "an SNP guest is not asked from outside: its programs ask at /sys/kernel/config/tsm/report, and sessions bring evidence along"
    )]
    NotAsked,
    /// Nothing to sign with.
    #[error("no key was given to sign the trusted application with")]
    NoKey,
    /// The folder for trusted applications.
    #[error("cannot install the trusted application as {path}: {source}")]
    Install {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl TeeError {
    /// What the user can do about it.
    pub(crate) const fn hint(&self) -> &'static str {
        match self {
            Self::OnlyFor(..) => "leave it out, or choose another --tee",
            Self::NothingToEnrol | Self::NotAsked => "choose --tee optee or --tee optee-qemu",
            Self::NoKey => "give --key FILE, or run what is installed: --installed UUID",
            Self::Install { .. } => {
                "name the folder that tee-supplicant reads with --applications DIR, and be allowed to write to it"
            }
        }
    }
}

/// Refuses options that mean nothing where the program is to run.
pub(super) fn refuse_others(options: &RunOptions) -> Result<(), TeeError> {
    let (snp, optee) = ("snp-sim", &options.optee);
    let device = options.tee == Tee::Optee;
    let given = [
        (options.payload.is_some(), "--payload", snp),
        (options.debug_log.is_some(), "--debug-log", snp),
        (options.accelerator != AcceleratorChoice::Auto, "--accel", snp),
        (device && optee.machine.is_some(), "--machine", "optee-qemu"),
        (device && optee.logs.is_some(), "--logs", "optee-qemu"),
        (device && optee.storage.is_some(), "--storage", "optee-qemu"),
        (!device && optee.installed.is_some(), "--installed", "optee"),
    ];
    match given.iter().find(|(given, ..)| *given) {
        Some((_, option, tee)) => Err(TeeError::OnlyFor(option, tee)),
        None => Ok(()),
    }
}
