// SPDX-License-Identifier: MIT
//! How a trusted application vouches for itself: with a key of its own, and with the device's attestation
//! PTA where OP-TEE has one. For trusted applications only: elsewhere there is nothing in here.
//!
//! The identity key is derived from the key that OP-TEE derives for the application's UUID on this device, so
//! it is there again after a restart and in another version, and nobody but an application with this
//! UUID has it. The attestation PTA is asked for a hash of the application's memory alone: its other
//! commands sign anything for anybody.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod evidence;

#[cfg(target_os = "none")]
pub use evidence::{Facts, Failed, derive, token};
