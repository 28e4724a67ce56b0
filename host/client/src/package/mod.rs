// SPDX-License-Identifier: MIT
//! Packages: a workload in one file, `app.room`, with all that its measurement depends on.
//!
//! - [`pack`] makes one from a manifest and kernel images.
//! - [`Package`] opens one. All of it is untrusted: sizes and places are checked before anything is
//!   read, and what is read is checked against its digest.
//! - [`Package::measure`] computes the launch digest that a report will show, [`Package::igvm`]
//!   makes the file that an SNP host launches.
//!
//! The format is described in [`mod@format`].

pub mod format;
mod measure;
mod open;
mod write;

#[cfg(test)]
mod tests;

pub use format::{BadPackage, Target};
pub use measure::{LAUNCHERS, Measurement};
pub use open::{Bindings, Package};
pub use strongroom_snp_igvm::{GuestFeatures, Identity, Profile};
pub use write::{Packed, pack};

use crate::image::ImageError;
use std::io;
use std::path::PathBuf;

/// Why a package could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The host's system said no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The file is no package.
    #[error("{path} is not a package: {reason}")]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: BadPackage,
    },
    /// The root image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The manifest names no root.
    #[error("the manifest names no root file system")]
    NoRoot,
    /// The manifest is too long for a boot record.
    #[error("the manifest with its arguments and environment is too long for a package")]
    ManifestTooLong,
    /// No kernel image was given.
    #[error("no kernel image to pack was given or found")]
    NoKernel,
    /// A kernel image is too long, or empty.
    #[error("{0} is no kernel image: it is empty or has over {limit} bytes", limit = format::KERNEL_LEN_MAX)]
    KernelLength(PathBuf),
    /// The package has no kernel image for that target.
    #[error("the package has no kernel image for {0}")]
    NoTarget(Target),
    /// A granted directory has no folder on this host.
    #[error("the package is granted a directory at {mount}, and none was given")]
    Unbound {
        /// Where the program sees it.
        mount: String,
        /// `:rw` where it is writable.
        access: &'static str,
    },
    /// Something was given that the package is not granted.
    #[error("the package is not granted {0}, at least not with this access")]
    NotGranted(String),
    /// There is no measuring of that target.
    #[error("images for {0} cannot be measured")]
    NotMeasurable(Target),
    /// The launch image.
    #[error("{0}")]
    Launch(#[from] strongroom_snp_igvm::ImageError),
}

impl PackageError {
    /// What the user can do about it, where that is not plain.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Image(error) => error.hint(),
            Self::Bad { .. } => Some("make it again with: strongroom pack MANIFEST -o FILE"),
            Self::NoRoot => Some("write root = \"DIR_OR_TAR_OR_IMAGE\" below [image]"),
            Self::ManifestTooLong => Some("put long data into a file of the root image"),
            Self::NoKernel => {
                Some("build one with `cargo xtask build`, or name it: --kernel snp-sim=FILE")
            }
            Self::Unbound { .. } => Some("give it with --grant dir:HOST_DIRECTORY=MOUNT[:rw]"),
            Self::NotGranted(_) => Some("grants are part of what was packed: change the manifest"),
            Self::NoTarget(_) => Some("pack it with --kernel TARGET=FILE"),
            Self::KernelLength(_) | Self::NotMeasurable(_) | Self::Launch(_) | Self::Io { .. } => {
                None
            }
        }
    }

    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
