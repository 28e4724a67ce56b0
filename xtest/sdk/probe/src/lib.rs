// SPDX-License-Identifier: MIT
//! A service that does whatever can go wrong between a client and a service, when it is asked to, and
//! takes long streams.
#![no_std]

extern crate alloc;

#[cfg(target_os = "none")]
mod counted;

use alloc::{boxed::Box, vec, vec::Vec};
use core::fmt;
use serde::{Deserialize, Serialize};
use strongroom::{Caller, OpenError, Platform, Service, Stream, Streamed, platform::StorageError};

/// The trusted application's name.
pub const UUID: &str = "212f990e-321f-436b-9d96-6bcc0f9a4ec5";
/// Most bytes of [`Probe::fill`]'s answer.
pub const ANSWER: usize = 64;
/// Most bytes of [`Probe::take`]'s request, and of a chunk.
pub const REQUEST: usize = 32 * 1024;

/// Whose sessions are refused while there is such a thing in sealed storage.
const SHUT: &str = "shut";

/// What can go wrong.
#[strongroom::service]
pub trait Probe {
    /// Does nothing.
    fn nothing(&self);
    /// Allocations on the heap since the service started, where somebody counts.
    fn allocations(&self) -> Option<u64>;
    /// Says no.
    fn fails(&mut self) -> Result<(), ProbeError>;
    /// As many bytes as that.
    #[limit(answer = 64)]
    fn fill(&self, length: u8) -> Vec<u8>;
    /// Takes bytes: how many.
    #[limit(request = 32_768)]
    fn take(&self, bytes: &[u8]) -> u32;
    /// Panics.
    fn panics(&mut self);
    /// Waits until the client wants no answer any more.
    fn waits(&self);
    /// From now on sessions are refused, or taken again.
    fn shut(&mut self, shut: bool) -> Result<(), ProbeError>;
    /// Adds up what comes, in its order; takes no chunk that begins with [`BAD`].
    fn sum(&mut self) -> Result<Streamed<u64, ProbeError>, ProbeError>;
}

/// The first byte of a chunk that a stream refuses.
pub const BAD: u8 = 0xff;

/// Errors of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeError {
    /// As it was asked to.
    Asked,
    /// A chunk that it does not take.
    BadChunk,
    /// Sealed storage failed.
    Storage(StorageError),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// The service.
#[derive(Debug)]
pub struct Subject(Platform);

impl Service for Subject {
    fn open(platform: &Platform, _caller: &Caller) -> Result<Self, OpenError> {
        match platform.sealed().get(SHUT) {
            Err(StorageError::Absent) => Ok(Self(platform.clone())),
            Ok(_) => Err(OpenError::Denied),
            Err(_) => Err(OpenError::Storage),
        }
    }
}

impl Probe for Subject {
    fn nothing(&self) {}

    fn allocations(&self) -> Option<u64> {
        #[cfg(target_os = "none")]
        return Some(counted::allocations());
        #[cfg(not(target_os = "none"))]
        None
    }

    fn fails(&mut self) -> Result<(), ProbeError> {
        Err(ProbeError::Asked)
    }

    fn fill(&self, length: u8) -> Vec<u8> {
        vec![7; length.into()]
    }

    fn take(&self, bytes: &[u8]) -> u32 {
        u32::try_from(bytes.len()).unwrap_or(u32::MAX)
    }

    #[expect(clippy::panic, reason = "it is what the method is for")]
    fn panics(&mut self) {
        panic!("as it was asked to");
    }

    fn waits(&self) {
        while !self.0.is_cancelled() {
            core::hint::spin_loop();
        }
    }

    fn shut(&mut self, shut: bool) -> Result<(), ProbeError> {
        let sealed = self.0.sealed();
        let done = if shut { sealed.put(SHUT, &[]) } else { sealed.delete(SHUT) };
        done.map_err(ProbeError::Storage)
    }

    fn sum(&mut self) -> Result<Streamed<u64, ProbeError>, ProbeError> {
        Ok(Box::new(Sum(0)))
    }
}

#[derive(Debug)]
struct Sum(u64);

impl Stream for Sum {
    type Output = u64;
    type Error = ProbeError;

    fn write(&mut self, chunk: &[u8], _out: &mut [u8]) -> Result<usize, ProbeError> {
        if chunk.first() == Some(&BAD) {
            return Err(ProbeError::BadChunk);
        }
        self.0 = added(self.0, chunk);
        Ok(0)
    }

    fn finish(self: Box<Self>) -> Result<u64, ProbeError> {
        Ok(self.0)
    }
}

/// A sum that depends on every byte and on their order. It is no digest: nobody attacks it.
pub fn added(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()))
}
