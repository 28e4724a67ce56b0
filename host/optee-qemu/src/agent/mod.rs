// SPDX-License-Identifier: MIT
//! The side inside the machine: the first process of the normal world.
//!
//! [`boot`] prepares the normal world, [`commands`] serves the port. The program
//! `strongroom-optee-agent` puts them together.

pub mod boot;
pub mod commands;
mod running;
