// SPDX-License-Identifier: MIT
//! What services in an enclave and their clients have in common.
//!
//! - [`interface`]: what both sides have to agree on before the first call;
//! - [`wire`]: how arguments and results become bytes;
//! - [`dispatch`]: the enclave's side of a session;
//! - [`client`]: the client's side of a session, over any [`client::Transport`];
//! - [`frame`]: sessions over a stream of bytes;
//! - [`gp`]: commands for clients that know GlobalPlatform only;
//! - [`platform`]: what a service gets from its machine;
//! - [`stream`]: data larger than a call.
//!
//! An author links `strongroom`, which shows these things together with the macro that makes
//! dispatcher and client from a trait.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod client;
pub mod dispatch;
pub mod error;
pub mod frame;
pub mod gp;
pub mod interface;
pub mod platform;
pub mod stream;
pub mod wire;

pub use client::{AsyncTransport, Connect, ConnectAsync, Outgoing, Transport};
pub use dispatch::{Dispatch, Service};
pub use error::{CallError, ConnectError, OpenError, Refusal, TransportError};
pub use interface::{Hello, Interface, Method};
pub use platform::{Caller, Platform};
pub use stream::{Stream, Streamed};
