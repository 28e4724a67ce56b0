// SPDX-License-Identifier: MIT
//! Why a launch or a session failed.

use crate::image::ImageError;
use std::io;
use std::path::PathBuf;

/// Why there is no exit status of a program. One sentence each; [`LaunchError::hint`] says more.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The root image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] crate::manifest::ManifestError),
    /// The package.
    #[error(transparent)]
    Package(#[from] crate::package::PackageError),
    /// No payload to boot.
    #[error("found no payload to boot (looked at {})", list(.tried))]
    NoPayload {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// No root image was given.
    #[error("no root file system was given")]
    NoRoot,
    /// No program was given.
    #[error("no program was given")]
    NoProgram,
    /// The manifest does not fit into the boot record.
    #[error(
        "the manifest with its arguments and environment is over {} bytes",
        strongroom_wire::boot::RECORD_MAX
    )]
    ManifestTooLong,
    /// The manifest has a session, and there is no place for clients to come to.
    #[error("the program waits for a session with its owner, who has nowhere to come to")]
    NoAttachAddress,
    /// There is a place for clients, and the manifest has no session.
    #[error("the manifest has no session that anybody could attach to")]
    NoSession,
    /// The image that is measured.
    #[error(transparent)]
    Measured(#[from] strongroom_snp_igvm::ImageError),
    /// The simulated security processor.
    #[error(transparent)]
    SecurityProcessor(#[from] strongroom_psp::InstallationError),
    /// QEMU is not installed.
    #[error("cannot start {0}: it is not installed")]
    NoQemu(PathBuf),
    /// QEMU ended before the program did.
    #[error("the enclave's machine stopped ({status}){}", detail(.output))]
    MachineStopped {
        /// How QEMU ended.
        status: String,
        /// The last that it wrote.
        output: String,
    },
    /// The enclave said something that it must not say.
    #[error("the enclave broke the protocol: {0}")]
    Protocol(String),
    /// The enclave gave up.
    #[error("the enclave gave up: {0}")]
    Aborted(String),
    /// A signal came before the program ran.
    #[error("ended by signal {0} before the program started")]
    Interrupted(u8),
    /// A granted directory that cannot be opened.
    #[error("cannot open the granted directory {path}: {source}")]
    Grant {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The host's system said no.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

impl LaunchError {
    /// What the user can do about it, where that is not plain.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Image(error) => error.hint(),
            Self::Package(error) => error.hint(),
            Self::NoPayload { .. } => Some(
                "build it with `cargo xtask build`, or name it: --payload FILE or STRONGROOM_PAYLOAD",
            ),
            Self::NoRoot => Some("give --root DIR_OR_TAR_OR_IMAGE or --manifest FILE"),
            Self::NoProgram => {
                Some("put it behind --, for example: strongroom run --root DIR -- /bin/sh")
            }
            Self::NoAttachAddress => Some(
                "give --attach unix:PATH or tcp:HOST:PORT, or be the owner yourself: --attest POLICY",
            ),
            Self::NoSession => Some("write [session] into the manifest; see docs/manifest.md"),
            Self::ManifestTooLong => Some("put long data into a file of the root image"),
            Self::NoQemu(_) => {
                Some("apt-get install qemu-system-x86, or name another binary in STRONGROOM_QEMU")
            }
            Self::MachineStopped { .. } | Self::Protocol(_) | Self::Aborted(_) => {
                Some("--debug-log FILE keeps the kernel's log, where the payload is a debug image")
            }
            Self::Interrupted(_) => None,
            Self::Grant { .. } => Some("a directory has to exist before it is granted"),
            Self::Manifest(_)
            | Self::Measured(_)
            | Self::SecurityProcessor(_)
            | Self::Io { .. } => None,
        }
    }

    /// The exit status that a command line tool reports: 128 + N for an early signal, else 125.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted(signal) => signal.saturating_add(128),
            Self::Image(_)
            | Self::Manifest(_)
            | Self::Package(_)
            | Self::NoPayload { .. }
            | Self::NoRoot
            | Self::NoProgram
            | Self::ManifestTooLong
            | Self::NoAttachAddress
            | Self::NoSession
            | Self::NoQemu(_)
            | Self::MachineStopped { .. }
            | Self::Protocol(_)
            | Self::Aborted(_)
            | Self::Grant { .. }
            | Self::Measured(_)
            | Self::SecurityProcessor(_)
            | Self::Io { .. } => 125,
        }
    }

    /// For `map_err`: an I/O error with what was tried.
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

fn detail(output: &str) -> String {
    match output.trim() {
        "" => String::new(),
        words => format!(": {words}"),
    }
}
