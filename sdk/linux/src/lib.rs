// SPDX-License-Identifier: MIT
//! Services as ordinary Linux programs, which the library OS runs and measures: in an SEV-SNP guest,
//! or in its simulation.
//!
//! The program listens on [`strongroom_service::frame::SOCKET`]. Clients are programs beside it, or
//! come over attested sessions, which the kernel leads there. Each connection is a session, with a
//! thread and an instance of its own.
#![forbid(unsafe_code)]

mod machine;
mod root;
mod sealed;
mod serve;

pub use machine::STORAGE;
pub use root::{SEALING_SECRET, SEALING_SECRET_MIN};
pub use serve::{serve, session};
