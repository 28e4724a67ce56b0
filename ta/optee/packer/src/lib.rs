// SPDX-License-Identifier: MIT
//! Makes one signed OP-TEE trusted application of the library OS, a Linux program for aarch64, its
//! interpreter and its libraries.
//!
//! A trusted application runs at the same exception level as its library OS, and nothing it does
//! can make memory executable. So all code is in the signed file, and what would leave it is
//! replaced beforehand:
//!
//! - [`instruction`] tells which words are instructions that a TA must not execute;
//! - [`object`] reads an ELF file and finds out which words are code;
//! - [`rewrite`] replaces them by branches to stubs, and proves that none is left;
//! - [`layout`] puts everything into one file that OP-TEE's loader accepts;
//! - [`closure`] finds a program's interpreter and libraries in its root file system;
//! - [`memory_hash`] is what OP-TEE will say of its memory;
//! - [`signature`] signs it.
//!
//! The same input gives the same bytes.
#![forbid(unsafe_code)]
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "a tool of the host: an overflow ends the tool, and no enclave runs this code"
)]

pub mod closure;
mod error;
pub mod instruction;
pub mod layout;
mod library_os;
mod measure;
pub mod object;
pub mod rewrite;
pub mod signature;

pub use error::PackError;
pub use layout::{Input, Packed, pack};
pub use measure::memory_hash;

/// A file of the root image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path there, absolute and without symbolic links.
    pub path: String,
    /// Its bytes.
    pub contents: Vec<u8>,
}
