// SPDX-License-Identifier: MIT
//! For tests of evidence and its verifier; part of no product.
//!
//! - [`vectors`]: reports and certificates of real processors, where a machine has them.
//! - [`authority`]: the made-up authority of the simulation, here with keys made on the spot, and a
//!   chip that signs whatever it is given. Nothing signed by it may ever be trusted.
//! - [`machine`]: such a chip with a guest on it, and a policy that it satisfies.
//! - [`application`]: a trusted application with its device, and a policy that it satisfies.
#![forbid(unsafe_code)]

pub mod application;
pub mod machine;
pub mod vectors;

pub use strongroom_authority as authority;
