// SPDX-License-Identifier: MIT
//! What a service gets from its machine, the same on every one.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{
    fmt::Arguments,
    marker::PhantomData,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use serde::{Deserialize, Serialize};

/// Most bytes of the name of something in sealed storage.
pub const NAME_MAX: usize = 64;
/// Most bytes of something in sealed storage.
pub const VALUE_MAX: usize = 1 << 16;
/// Bytes that evidence is bound to.
pub const NONCE_LEN: usize = 64;

/// Who opened a session, as far as the machine can tell. The normal world's kernel may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The machine does not say.
    Unknown,
    /// A client of GlobalPlatform: login method and UUID (TEE Internal Core API 1.3, 4.2.3).
    GlobalPlatform {
        /// The login method.
        login: u32,
        /// Who that is.
        uuid: [u8; 16],
    },
    /// A program in the same enclave.
    Beside,
    /// A client of an attested session, which has verified this enclave.
    Attested {
        /// Its X25519 public key, of which it has proven to have the secret half.
        key: [u8; 32],
    },
}

/// Why sealed storage did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageError {
    /// There is nothing of that name.
    Absent,
    /// The host changed what it keeps for the service.
    Damaged,
    /// Name or contents are too long.
    TooLarge,
    /// The host keeps no more.
    Full,
    /// The host does not answer, or the service was given no storage.
    Unavailable,
}

impl core::fmt::Display for StorageError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::Absent => "there is nothing of that name",
            Self::Damaged => "it was changed outside: restore or delete it",
            Self::TooLarge => "name or contents are too long",
            Self::Full => "the storage is full: delete something",
            Self::Unavailable => "the service has no storage: grant it some",
        })
    }
}

impl core::error::Error for StorageError {}

/// Why there is no evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvidenceError {
    /// This machine has none to give.
    Unsupported,
    /// What gives evidence answers with this code.
    Refused(u32),
}

/// What a platform implements. Each method can be called at any time, by any session.
pub trait Machine: Send + Sync {
    /// Fills `bytes` from the machine's own source, never the host's.
    fn fill_random(&self, bytes: &mut [u8]);
    /// Time since some moment before the session. Never decreases; its rate may be the host's.
    fn monotonic(&self) -> Duration;
    /// Time since 1970 as the host has it.
    fn host_time(&self) -> Option<Duration>;
    /// Whether the client of the call that runs wants it to end.
    fn is_cancelled(&self) -> bool;
    /// A key of this service on this machine, and of nobody else: the same for the same label.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`].
    fn derive(&self, label: &[u8], key: &mut [u8; 32]) -> Result<(), StorageError>;
    /// Keeps `value` under `name`, all or nothing.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    fn put(&self, name: &str, value: &[u8]) -> Result<(), StorageError>;
    /// What was kept under `name`.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    fn get(&self, name: &str) -> Result<Vec<u8>, StorageError>;
    /// All names, in order.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    fn list(&self) -> Result<Vec<String>, StorageError>;
    /// Forgets what was kept under `name`.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    fn delete(&self, name: &str) -> Result<(), StorageError>;
    /// Evidence about this service, bound to `nonce`.
    ///
    /// # Errors
    ///
    /// [`EvidenceError`].
    fn evidence(&self, nonce: &[u8; NONCE_LEN]) -> Result<Vec<u8>, EvidenceError>;
    /// A line for whoever looks after the machine. The host sees it.
    fn log(&self, line: Arguments<'_>);
    /// Waits until no other session has this, and has it until it is dropped. A machine that serves one
    /// call at a time has nothing to do for that.
    fn alone(&self) -> Box<dyn Held + '_> {
        Box::new(())
    }
}

/// Something to have for a while.
pub trait Held {}
impl<T> Held for T {}

/// What a service gets from its machine. Clones are the same.
#[derive(Clone)]
pub struct Platform {
    machine: Arc<dyn Machine>,
    /// The service asked whether the call was cancelled, and it was.
    noticed: Arc<AtomicBool>,
}

impl core::fmt::Debug for Platform {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Platform")
    }
}

impl Platform {
    /// The platform of this machine.
    pub fn new(machine: Arc<dyn Machine>) -> Self {
        Self { machine, noticed: Arc::default() }
    }

    /// Fills `bytes` with randomness of the machine's own.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.machine.fill_random(bytes);
    }

    /// Random bytes of the machine's own.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.machine.fill_random(&mut bytes);
        bytes
    }

    /// Time since some moment before the session. It never decreases; a host that controls the
    /// machine's clock can make it run fast or slow.
    pub fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }

    /// Time since 1970 as the host has it, for logs. A host lies when it likes to.
    pub fn host_time(&self) -> Option<Duration> {
        self.machine.host_time()
    }

    /// Whether the client of the call that runs wants it to end. A method that takes long asks now
    /// and then, and returns.
    pub fn is_cancelled(&self) -> bool {
        let cancelled = self.machine.is_cancelled();
        if cancelled {
            self.noticed.store(true, Ordering::Relaxed);
        }
        cancelled
    }

    /// Whether the service noticed that its call was cancelled; forgets it. Asking the machine at the
    /// end of every call would cost a system call.
    pub(crate) fn take_noticed(&self) -> bool {
        self.noticed.swap(false, Ordering::Relaxed)
    }

    /// A key of this service on this machine, and of nobody else: the same for the same label.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`] where the machine has no such key.
    pub fn derive(&self, label: &[u8], key: &mut [u8; 32]) -> Result<(), StorageError> {
        self.machine.derive(label, key)
    }

    /// Storage that nobody but this service reads or writes.
    pub fn sealed(&self) -> Sealed<NoFreshness> {
        Sealed { machine: Arc::clone(&self.machine), freshness: PhantomData }
    }

    /// Runs `section`, while no other session runs one: what it reads of sealed storage is still there
    /// when it writes. A section within a section waits for itself.
    pub fn exclusively<R>(&self, section: impl FnOnce() -> R) -> R {
        let _alone = self.machine.alone();
        section()
    }

    /// Evidence about this service, bound to `nonce`, for a verifier.
    ///
    /// # Errors
    ///
    /// [`EvidenceError`].
    pub fn evidence(&self, nonce: &[u8; NONCE_LEN]) -> Result<Vec<u8>, EvidenceError> {
        self.machine.evidence(nonce)
    }

    /// A line for whoever looks after the machine. The host sees it; `strongroom::log!` leaves it
    /// out of release builds.
    pub fn log(&self, line: Arguments<'_>) {
        self.machine.log(line);
    }
}

/// The host may restore old contents, and nobody notices.
#[derive(Clone, Copy, Debug)]
pub struct NoFreshness;

/// Storage of this service: the host keeps it, can neither read nor change it, and can delete it.
///
/// `F` says what is known about its age. With [`NoFreshness`] a host can put back what was kept
/// before: do not build on a counter in it.
pub struct Sealed<F> {
    machine: Arc<dyn Machine>,
    freshness: PhantomData<F>,
}

impl<F> core::fmt::Debug for Sealed<F> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Sealed")
    }
}

impl<F> Sealed<F> {
    /// Keeps `value` under `name`, all or nothing, also when the power fails.
    ///
    /// # Errors
    ///
    /// [`StorageError::TooLarge`] over [`NAME_MAX`] or [`VALUE_MAX`] bytes or without a name, and
    /// what the machine says.
    pub fn put(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        if value.len() > VALUE_MAX {
            return Err(StorageError::TooLarge);
        }
        self.machine.put(checked(name)?, value)
    }

    /// What was kept under `name`.
    ///
    /// # Errors
    ///
    /// [`StorageError::Absent`], [`StorageError::Damaged`], and what the machine says.
    pub fn get(&self, name: &str) -> Result<Vec<u8>, StorageError> {
        self.machine.get(checked(name)?)
    }

    /// All names, in order.
    ///
    /// # Errors
    ///
    /// What the machine says.
    pub fn list(&self) -> Result<Vec<String>, StorageError> {
        self.machine.list()
    }

    /// Forgets what was kept under `name`.
    ///
    /// # Errors
    ///
    /// [`StorageError::Absent`], and what the machine says.
    pub fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.machine.delete(checked(name)?)
    }
}

const fn checked(name: &str) -> Result<&str, StorageError> {
    if name.is_empty() || name.len() > NAME_MAX { Err(StorageError::TooLarge) } else { Ok(name) }
}
