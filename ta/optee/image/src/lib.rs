// SPDX-License-Identifier: MIT
//! The platform crate of the OP-TEE trusted application: the kernel's machine in S-EL0.
//!
//! What is here is pure, and tested on any computer: [`books`] keeps track of memory, [`pump`]
//! takes turns with the host. The program beside it is the rest: it implements the traits of
//! `strongroom-south` on top of OP-TEE's internal API.
//!
//! A trusted application has one flat address space, made by OP-TEE's loader: the library OS, the
//! program and its libraries, and one large piece of memory that the program's pages and the
//! kernel's page cache share. It is called, and has to return; when all threads of the program wait
//! for the host, the call returns with what they ask for.
#![cfg_attr(target_arch = "aarch64", no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "a test that overflows fails"
    )
)]

extern crate alloc;

pub mod books;
pub mod pump;
