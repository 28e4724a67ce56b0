// SPDX-License-Identifier: MIT
//! What an SNP guest says to its processor, its security processor and its host: formats and books.
//!
//! - [`msr_protocol`]: requests that fit into the GHCB's register, before there is a GHCB.
//! - [`ghcb`]: exits by way of the GHCB page, which the host writes too.
//! - [`state_change`]: lists of pages that become private or shared.
//! - [`pages`]: which pages are validated or shared, so that none is validated twice.
//! - [`secrets`], [`cpuid`]: the two pages that the security processor fills in at launch.
//! - [`doorbell`]: what the host has pending under Restricted Injection.
//! - [`intercept`]: what programs execute and the processor leaves to us.
//! - [`message`], [`channel`]: sealed messages to the security processor, and their numbers.
//! - [`question`]: what is asked in them; [`certificates`]: what the host adds.
//!
//! Nothing here touches hardware. `machine::sev` does, on hardware and in the simulation alike.

pub mod certificates;
pub mod channel;
pub mod cpuid;
pub mod doorbell;
pub mod ghcb;
pub mod intercept;
pub mod message;
pub mod msr_protocol;
pub mod pages;
pub mod question;
pub mod secrets;
pub mod state_change;

pub use strongroom_snp_layout::PAGE_LEN;
use strongroom_snp_layout::fields::{long, put, word};

/// A page's contents.
pub type Page = [u8; PAGE_LEN];
