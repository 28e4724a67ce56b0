// SPDX-License-Identifier: MIT
//! Trusted applications, on a kind of machine that has none: there is no client library to link.

use core::convert::Infallible;
use strongroom_service::{ConnectError, Outgoing, TransportError, client::Opening};
use strongroom_tee::Uuid;

/// A session with a trusted application: there is none.
#[derive(Debug)]
pub struct Optee(Infallible);

impl Optee {
    /// Says that there is no OP-TEE.
    ///
    /// # Errors
    ///
    /// Always.
    pub const fn open(_: Uuid, _: &Opening) -> Result<Self, ConnectError> {
        const WHY: &str = "there is no OP-TEE on this kind of machine; optee-qemu: simulates one";
        Err(ConnectError::Transport(TransportError::Address(WHY)))
    }

    /// Says that there is none here.
    ///
    /// # Errors
    ///
    /// Always.
    pub(crate) const fn greet(
        _: Uuid,
        _: &[u8],
        _: usize,
    ) -> Result<(Option<Self>, Vec<u8>), TransportError> {
        Err(TransportError::Absent)
    }

    /// Nobody can call this.
    ///
    /// # Errors
    ///
    /// None: there is no session.
    pub const fn call(&mut self, _: Outgoing<'_>) -> Result<usize, TransportError> {
        match self.0 {}
    }
}
