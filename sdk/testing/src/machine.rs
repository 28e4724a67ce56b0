// SPDX-License-Identifier: MIT
//! The machine.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Arguments,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use strongroom_service::{
    Platform, Service,
    dispatch::Dispatch,
    platform::{EvidenceError, Held, Machine, NONCE_LEN, StorageError},
};

use crate::{GpSession, Way};

/// What the host keeps: a copy of it can be put back later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored(BTreeMap<String, Vec<u8>>);

/// A machine for tests. Clones are the same machine.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    alone: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct State {
    randomness: ChaCha20Rng,
    monotonic: Duration,
    host_time: Option<Duration>,
    stored: Stored,
    full: bool,
    cancelled: bool,
    /// Writes until the power goes.
    power: Option<u32>,
    log: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            randomness: ChaCha20Rng::seed_from_u64(0),
            monotonic: Duration::ZERO,
            host_time: None,
            stored: Stored::default(),
            full: false,
            cancelled: false,
            power: None,
            log: Vec::new(),
        }
    }
}

impl Fake {
    /// A machine that has just started: time 0, randomness from seed 0, nothing stored.
    pub fn new() -> Self {
        Self::default()
    }

    /// A machine with randomness from another seed.
    pub fn seeded(seed: u64) -> Self {
        let fake = Self::new();
        fake.state().randomness = ChaCha20Rng::seed_from_u64(seed);
        fake
    }

    /// The way to a service on this machine; each use opens a session.
    pub fn serve<S, I>(&self) -> Way<S, I>
    where
        S: Service,
        I: Dispatch<S>,
    {
        Way::to(self.clone())
    }

    /// Opens a session as a client does that knows GlobalPlatform only.
    ///
    /// # Errors
    ///
    /// The code that it gets.
    pub fn open_gp<S, I>(&self) -> Result<GpSession<S, I>, u32>
    where
        S: Service,
        I: Dispatch<S>,
    {
        GpSession::open(self)
    }

    /// What services get.
    pub fn platform(&self) -> Platform {
        Platform::new(Arc::new(self.clone()))
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state();
        state.monotonic = state.monotonic.saturating_add(time);
    }

    /// The host says that it is so late.
    pub fn set_host_time(&self, time: Option<Duration>) {
        self.state().host_time = time;
    }

    /// The client of every call from now on wants it to end, or no longer does.
    pub fn set_cancelled(&self, cancelled: bool) {
        self.state().cancelled = cancelled;
    }

    /// The host keeps nothing more, or does again.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// The power goes when so many more values were written: what was to come after that does not happen,
    /// and the call that was under way panics. Then the machine starts again.
    pub fn cut_power_after(&self, writes: u32) {
        self.state().power = Some(writes);
    }

    /// What the host keeps now.
    pub fn stored(&self) -> Stored {
        self.state().stored.clone()
    }

    /// The host puts back what it kept before.
    pub fn restore(&self, stored: &Stored) {
        self.state().stored = stored.clone();
    }

    /// The host changes a byte of each thing it keeps.
    pub fn damage(&self) {
        for value in self.state().stored.0.values_mut() {
            // An empty value is damaged by growing.
            match value.first_mut() {
                Some(byte) => *byte ^= 1,
                None => value.push(1),
            }
        }
    }

    /// Lines of the log so far.
    pub fn log_lines(&self) -> Vec<String> {
        self.state().log.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept begins with a hash over name and contents: a stand-in for authentication.
fn sealed(name: &str, value: &[u8]) -> Vec<u8> {
    let mut sealed = Sha256::digest([name.as_bytes(), &[0], value].concat()).to_vec();
    sealed.extend(value);
    sealed
}

impl Machine for Fake {
    fn fill_random(&self, bytes: &mut [u8]) {
        self.state().randomness.fill_bytes(bytes);
    }

    fn monotonic(&self) -> Duration {
        self.state().monotonic
    }

    fn host_time(&self) -> Option<Duration> {
        self.state().host_time
    }

    fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    fn derive(&self, label: &[u8], key: &mut [u8; 32]) -> Result<(), StorageError> {
        *key = Sha256::digest([b"a key that everybody has", label].concat()).into();
        Ok(())
    }

    fn put(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut state = self.state();
        if state.full {
            return Err(StorageError::Full);
        }
        state.stored.0.insert(name.to_owned(), sealed(name, value));
        state.power = state.power.map(|left| left.saturating_sub(1));
        if state.power == Some(0) {
            state.power = None;
            drop(state);
            panic!("the power is gone");
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StorageError> {
        let state = self.state();
        let kept = state.stored.0.get(name).ok_or(StorageError::Absent)?;
        let value = kept.get(32..).ok_or(StorageError::Damaged)?;
        if sealed(name, value) == *kept { Ok(value.to_vec()) } else { Err(StorageError::Damaged) }
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.state().stored.0.keys().cloned().collect())
    }

    fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.state().stored.0.remove(name).map(|_| ()).ok_or(StorageError::Absent)
    }

    fn evidence(&self, _nonce: &[u8; NONCE_LEN]) -> Result<Vec<u8>, EvidenceError> {
        Err(EvidenceError::Unsupported)
    }

    fn log(&self, line: Arguments<'_>) {
        self.state().log.push(line.to_string());
    }

    fn alone(&self) -> Box<dyn Held + '_> {
        Box::new(self.alone.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
