// SPDX-License-Identifier: MIT
//! The machine: everything that touches memory by address, or changes what the processor runs.
//!
//! [`package`] finds what was packed; [`memory`] is the memory that program and page cache share,
//! [`heap`] the kernel's own; [`attestation`] vouches for it all; [`space`] is the one address space;
//! [`context`] enters the program and comes back; [`clock`] and [`entropy`] ask OP-TEE. One thread
//! runs, and nothing interrupts it but OP-TEE, unseen.
#![allow(
    clippy::as_conversions,
    reason = "usize and u64 are the same here, and addresses become pointers in this module only"
)]
#![allow(unsafe_code, reason = "this is the code that reaches memory by address")]

mod attestation;
pub(crate) mod clock;
pub(crate) mod context;
mod entropy;
mod heap;
mod memory;
mod package;
mod space;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Once;
use strongroom_kernel::{BootError, Kernel};
use strongroom_south::{
    AttestingEnvironment, Form, Log, Machine, OutOfMemory, PlacedObject, SecurityError, Space,
};
use strongroom_token::NONCE_LEN;
use strongroom_wire::boot::Record;

/// The machine, as the kernel sees it.
#[derive(Debug)]
pub(crate) struct TrustedApplication {
    placed: Vec<PlacedObject>,
    facts: attestation::Facts,
    space_given: AtomicBool,
}

/// There is one.
static MACHINE: Once<TrustedApplication> = Once::new();

/// Why nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    /// The library OS alone, without a program.
    NotPacked,
    /// The information block does not decode.
    BadPackage,
    /// A writable segment is not as it was packed.
    Changed,
    /// OP-TEE has not as much memory as the package asks for.
    NoMemory,
    /// No randomness.
    NoEntropy,
}

/// The answer to somebody's challenge: a token, which is no session's evidence.
pub(crate) fn answer(challenge: &[u8; NONCE_LEN]) -> Result<Vec<u8>, SecurityError> {
    let machine = MACHINE.get().ok_or(SecurityError::Busy)?;
    machine.token(&strongroom_token::challenge_nonce(challenge))
}

/// Checks the package and makes the kernel.
pub(crate) fn start() -> Result<&'static Kernel, StartError> {
    clock::touch();
    let found = package::find()?;
    package::check(&found)?;
    let record = Record::decode(&found.package.record).map_err(|_| StartError::BadPackage)?;
    memory::start(&found)?;
    let placed = package::placed(&found);
    let facts = attestation::Facts {
        ta_uuid: found.package.uuid.0,
        ta_version: found.package.ta_version,
        package_digest: found.digest,
    };
    let machine = MACHINE.call_once(|| TrustedApplication {
        placed,
        facts,
        space_given: AtomicBool::new(false),
    });
    Kernel::new(machine, record).map_err(|error| match error {
        BootError::NoEntropy => StartError::NoEntropy,
        BootError::BadImage => StartError::BadPackage,
    })
}

impl Machine for TrustedApplication {
    fn form(&self) -> Form {
        Form::Flat
    }

    fn new_space(&self) -> Result<Arc<dyn Space>, OutOfMemory> {
        if self.space_given.swap(true, Ordering::Relaxed) {
            return Err(OutOfMemory);
        }
        Ok(Arc::new(space::FlatSpace))
    }

    fn placed(&self) -> Option<&[PlacedObject]> {
        Some(&self.placed)
    }

    fn attesting_environment(&self) -> Option<&dyn AttestingEnvironment> {
        Some(self)
    }

    fn is_heap_short(&self) -> bool {
        heap::is_short()
    }

    fn signal_return(&self) -> Option<usize> {
        Some(context::signal_return())
    }
}

impl Log for TrustedApplication {
    fn log(&self, line: core::fmt::Arguments<'_>) {
        if cfg!(debug_assertions) {
            optee_utee::trace_println!("{}", line);
        }
    }
}
