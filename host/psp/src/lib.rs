// SPDX-License-Identifier: MIT
//! Plays security processor and host for SNP guests that run in the simulation.
//!
//! - [`Installation`]: this user's simulated chip: its secret, its key, and the made-up authority
//!   that certifies it. Nothing of it is AMD's, and verifiers refuse it unless told otherwise in so
//!   many words.
//! - [`Launch`]: what the security processor knows of a guest.
//! - [`Processor`]: opens a guest's messages and answers them, as firmware does.
//! - [`Exits`]: answers the guest's exits, as a host does; a hostile host can be put in its place.
//! - [`attend`]: waits for exits and has them answered.
//!
//! Formats are AMD's (56860, *SEV Secure Nested Paging Firmware ABI Specification*; 56421,
//! *Guest-Hypervisor Communication Block Standardization*) as public implementations have them.
//! What this cannot show is in `docs/threat-model.md`: the host sees all of the guest's memory.
#![forbid(unsafe_code)]
#![allow(clippy::as_conversions, reason = "host code on 64-bit machines")]

mod exits;
mod installation;
mod key;
mod launch;
mod mailbox;
mod memory;
mod message;
mod processor;
mod report;

pub use exits::{Exits, GHCB_INPUT_ERROR, Host, SecurityProcessor};
pub use installation::{Installation, InstallationError};
pub use launch::{Launch, ReportVersion, VMPCKS, cpuid_page};
pub use mailbox::attend;
pub use memory::{GuestMemory, OutOfReach, Ram};
pub use processor::{Processor, Status};

use strongroom_snp_layout::PAGE_LEN;
use strongroom_snp_layout::fields::{long, put, word};

/// A page's contents.
pub type Page = [u8; PAGE_LEN];
