// SPDX-License-Identifier: MIT
//! Runs an enclave that is an OP-TEE trusted application.
//!
//! [`bridge`] connects the stream that `strongroom-client` serves with the turns that a trusted
//! application takes ([`strongroom_wire::turn`]). [`application`] takes those turns through the TEE
//! Client API, with one registered shared buffer. Where the session and the TEE are on one machine,
//! that is all. Where the TEE is in QEMU ([`machine`]), the session stays outside: the bridge runs in
//! the machine's normal world ([`serve`]), and its two ends are a command's standard streams.
//!
//! Either way a [`Carrier`] carries messages while the session is served. [`evidence`] asks for what
//! vouches for the application.
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    reason = "host code on 64-bit machines: an overflow ends the tool, never the enclave"
)]

#[cfg_attr(not(target_arch = "aarch64"), path = "absent.rs")]
pub mod application;
pub mod bridge;
mod carrier;
mod error;
#[cfg_attr(not(target_arch = "aarch64"), path = "evidence/absent.rs")]
pub mod evidence;
pub mod machine;
pub mod serve;

pub use application::Application;
pub use bridge::{Bridge, Called};
pub use carrier::Carrier;
pub use error::RunError;
pub use machine::{Folder, VirtualTee};
pub use strongroom_optee_package::Uuid;
