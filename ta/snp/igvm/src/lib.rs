// SPDX-License-Identifier: MIT
//! The image that an SNP guest is launched from.
//!
//! - [`Profile`]: how the launcher makes processors; part of the measurement.
//! - [`LaunchImage`]: payload, boot record and profile as the pages and save areas that a launcher
//!   loads, in their order; its [`LaunchImage::digest`] is what a report will say.
//! - [`LaunchImage::to_igvm`]: the same as a file for QEMU 10.1 and later, with an identity block
//!   that [`Identity`] signs.
//! - [`LaunchImage::from_igvm`]: the image in such a file.
//! - [`trampoline`]: an ELF with an image's pages, which boots without SEV-SNP, for the simulation.
//!
//! Where things lie in guest memory is `strongroom-snp-layout`, which the payload uses too.
#![forbid(unsafe_code)]
#![allow(clippy::as_conversions, reason = "host code on 64-bit machines")]

mod check;
mod digest;
mod file;
mod identity;
mod image;
mod payload;
mod profile;
mod read;
mod save_area;
pub mod trampoline;

pub use digest::Digest;
pub use identity::{Identity, key_digest};
pub use image::{LaunchImage, Page, PageKind};
pub use profile::{GuestFeatures, Profile, VCPUS_MAX};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The payload is no ELF that the builder knows how to load.
    #[error("the payload cannot be loaded: {0}")]
    Payload(String),
    /// The boot record is empty, too long, or not whole pages.
    #[error("a boot record of {0} bytes cannot be placed")]
    Record(usize),
    /// Too few or too many processors.
    #[error("{0} processors cannot be launched; 1 to {VCPUS_MAX} can")]
    Processors(u32),
    /// The IGVM file cannot be made or read.
    #[error("IGVM file: {0}")]
    Igvm(String),
    /// A key that signs no identity blocks.
    #[error("no private key of P-384 in PEM (PKCS #8): {0}")]
    Key(String),
}
