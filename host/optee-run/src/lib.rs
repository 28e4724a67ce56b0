// SPDX-License-Identifier: MIT
//! Runs an enclave that is an OP-TEE trusted application, from the normal world beside it.
//!
//! [`bridge`] connects the stream that `strongroom-client` serves with the turns that a trusted
//! application takes ([`strongroom_wire::turn`]). [`application`] takes those turns through the TEE
//! Client API, with one registered shared buffer. [`evidence`] asks for what vouches for it.
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    reason = "host code on 64-bit machines: an overflow ends the tool, never the enclave"
)]

pub mod application;
pub mod bridge;
mod error;
pub mod evidence;

pub use application::Application;
pub use bridge::{Bridge, Called};
pub use error::RunError;
