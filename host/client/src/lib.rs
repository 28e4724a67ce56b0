// SPDX-License-Identifier: MIT
//! Launches enclaves and serves what their manifests permit.
//!
//! ```no_run
//! use strongroom_client::image::{Image, Ownership};
//! use strongroom_client::{Console, Launcher, Workload};
//!
//! # fn main() -> Result<(), strongroom_client::LaunchError> {
//! let image = Image::for_source("rootfs".as_ref(), Ownership::Keep)?;
//! let workload = Workload::of_program("/bin/echo", ["hello"]);
//! let session = Launcher::with_default_payload()?.image(image).workload(workload).start()?;
//! let outcome = session.run(Console::inherit()?)?;
//! assert_eq!(outcome.status, 0);
//! # Ok(())
//! # }
//! ```
//!
//! - [`attest`]: decides whether evidence is to be believed.
//! - [`image`]: root images, built, opened and cached.
//! - [`manifest`]: `strongroom.toml`, what a workload is and what its host does for it.
//! - [`package`]: a workload in one file, measured and launched.
//! - [`Launcher`]: starts the machine.
//! - [`session`]: serves the enclave until its program ends.
//! - [`terminal`]: raw mode, for programs that hand their own terminal on.
//!
//! The host is not trusted by the enclave, and the enclave not by this crate: each treats what the
//! other says as possibly hostile.
#![forbid(unsafe_code)]
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "host code on 64-bit machines: an overflow ends the tool, never the enclave"
)]

mod accelerator;
pub mod attest;
mod error;
mod folders;
mod guest;
pub mod image;
mod launch;
mod machine;
pub mod manifest;
pub mod package;
pub mod session;
pub mod terminal;
mod words;

pub use accelerator::{Accelerator, AcceleratorChoice, UnknownAccelerator};
pub use error::LaunchError;
pub use launch::{Launcher, kernels_at_hand};
pub use manifest::Workload;
pub use session::{Console, Event, Outcome, Session};
