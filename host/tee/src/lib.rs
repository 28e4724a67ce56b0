// SPDX-License-Identifier: MIT
//! Runs an enclave that is an OP-TEE trusted application, from the normal world beside it.
//!
//! [`bridge`] connects the stream that `strongroom-client` serves with the turns that a trusted
//! application takes ([`strongroom_wire::turn`]); it is pure but for that stream. [`teec`] calls
//! the trusted application through the TEE Client API, with one registered shared buffer. It is
//! there on aarch64 only, where `libteec` is linked.
#![deny(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    reason = "host code on 64-bit machines: an overflow ends the tool, never the enclave"
)]

pub mod bridge;
mod error;
#[cfg(target_arch = "aarch64")]
pub mod teec;

pub use bridge::{Bridge, Called};
pub use error::TeeError;
