// SPDX-License-Identifier: MIT
//! The host contract: what enclave and host say to each other, and what the host hands over at
//! launch.
//!
//! - [`boot`]: the measured boot record with the manifest and the root image's digest.
//! - [`message`]: requests of the enclave, replies and events of the host, in postcard.
//! - [`frame`]: how messages lie in a byte stream.
//! - [`turn`]: how they change hands where enclave and host run by turns.
//! - [`image`]: the root image and its hash tree.
//!
//! Both sides link this crate. The enclave treats all that comes from the host as [`Untrusted`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod boot;
pub mod frame;
pub mod image;
pub mod message;
pub mod turn;
mod untrusted;

pub use untrusted::{Malformed, Untrusted};
