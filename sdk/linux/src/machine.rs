// SPDX-License-Identifier: MIT
//! What an enclave with a Linux gives a service.

use crate::root::derived;
use crate::sealed::{self, Store};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Arguments;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use strongroom_service::platform::{EvidenceError, Held, Machine, NONCE_LEN, StorageError};
use zeroize::Zeroizing;

/// Where the manifest mounts the folder of the host in which sealed storage lies.
pub const STORAGE: &str = "/sealed";
/// Where evidence is asked for.
const REPORTS: &str = "/sys/kernel/config/tsm/report";
/// What sets the key of the store apart from those that a service derives.
const STORE_LABEL: &[u8] = b"strongroom sealed storage 1\0";
const SERVICE_LABEL: &[u8] = b"strongroom service key 1\0";

/// The enclave, as one session sees it.
#[derive(Debug)]
pub(crate) struct Enclave {
    /// Its client's connection.
    stream: UnixStream,
    began: Instant,
}

impl Enclave {
    pub(crate) fn of(stream: UnixStream) -> Self {
        Self { stream, began: Instant::now() }
    }

    fn store(&self) -> Result<Store, StorageError> {
        let folder = PathBuf::from(STORAGE);
        if !folder.is_dir() {
            return Err(StorageError::Unavailable);
        }
        let mut key = Zeroizing::new([0; sealed::KEY_LEN]);
        derived(STORE_LABEL, &[], &mut key)?;
        Ok(Store::in_folder(folder, key))
    }
}

impl Machine for Enclave {
    fn fill_random(&self, bytes: &mut [u8]) {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match getrandom(rest, GetRandomFlags::empty()) {
                Ok(count) => filled = filled.saturating_add(count),
                Err(rustix::io::Errno::INTR) => {}
                // The kernel starts nothing without a source; without randomness nothing is safe.
                Err(_) => std::process::abort(),
            }
        }
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    fn host_time(&self) -> Option<Duration> {
        SystemTime::now().duration_since(UNIX_EPOCH).ok()
    }

    fn is_cancelled(&self) -> bool {
        // A client that has left wants no answer.
        let mut polled = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let found = poll(&mut polled, Some(&Timespec::default()));
        let [polled] = polled;
        found.is_ok() && !polled.revents().is_empty()
    }

    fn derive(&self, label: &[u8], key: &mut [u8; 32]) -> Result<(), StorageError> {
        derived(SERVICE_LABEL, label, key)
    }

    fn put(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut nonce = [0; sealed::NONCE_LEN];
        self.fill_random(&mut nonce);
        self.store()?.put(name, value, &nonce)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StorageError> {
        self.store()?.get(name)
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        self.store()?.list()
    }

    fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.store()?.delete(name)
    }

    fn evidence(&self, nonce: &[u8; NONCE_LEN]) -> Result<Vec<u8>, EvidenceError> {
        static ITEMS: AtomicU64 = AtomicU64::new(0);
        if !Path::new(REPORTS).is_dir() {
            return Err(EvidenceError::Unsupported);
        }
        let number = ITEMS.fetch_add(1, Ordering::Relaxed);
        let item = Path::new(REPORTS).join(format!("service-{}-{number}", std::process::id()));
        let made = fs::create_dir(&item)
            .and_then(|()| fs::write(item.join("inblob"), nonce))
            .and_then(|()| fs::read(item.join("outblob")));
        // It may not have been made.
        let _ = fs::remove_dir(&item);
        made.map_err(|error| {
            EvidenceError::Refused(error.raw_os_error().unwrap_or_default().unsigned_abs())
        })
    }

    fn log(&self, line: Arguments<'_>) {
        eprintln!("{line}");
    }

    fn alone(&self) -> Box<dyn Held + '_> {
        static ALONE: Mutex<()> = Mutex::new(());
        // What a section that panicked has left is what a machine without power has.
        Box::new(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
