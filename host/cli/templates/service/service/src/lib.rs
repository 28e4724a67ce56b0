// SPDX-License-Identifier: MIT
//! Counts, for whoever may call, and goes on where it was when the enclave starts again.

#![cfg_attr(target_os = "none", no_std)]

use core::fmt;
use serde::{Deserialize, Serialize};
use strongroom::{Caller, OpenError, Platform, Service, platform::StorageError};

/// The name in sealed storage.
const COUNT: &str = "count";

/// What callers see. Change it, and both sides notice when they meet.
#[strongroom::service]
pub trait Counter {
    /// Adds to the count; what it is then.
    fn add(&mut self, number: u32) -> Result<u64, CountError>;
    /// What the count is.
    fn count(&self) -> Result<u64, CountError>;
}

/// Why nothing was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CountError {
    /// There is no number as large.
    TooMuch,
    /// Sealed storage failed.
    Storage(StorageError),
}

impl fmt::Display for CountError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch => formatter.write_str("the count is as high as it goes"),
            Self::Storage(error) => write!(formatter, "the count is lost: {error}"),
        }
    }
}

/// The service: one for each session. What sessions share lies in sealed storage.
pub struct Keeper {
    platform: Platform,
}

impl Service for Keeper {
    fn open(platform: &Platform, _caller: &Caller) -> Result<Self, OpenError> {
        Ok(Self { platform: platform.clone() })
    }
}

impl Counter for Keeper {
    fn add(&mut self, number: u32) -> Result<u64, CountError> {
        let sum = self.count()?.checked_add(number.into()).ok_or(CountError::TooMuch)?;
        let put = self.platform.sealed().put(COUNT, &sum.to_le_bytes());
        put.map(|()| sum).map_err(CountError::Storage)
    }

    fn count(&self) -> Result<u64, CountError> {
        match self.platform.sealed().get(COUNT) {
            Ok(bytes) => {
                let bytes = bytes.try_into().map_err(|_| CountError::Storage(StorageError::Damaged))?;
                Ok(u64::from_le_bytes(bytes))
            }
            Err(StorageError::Absent) => Ok(0),
            Err(error) => Err(CountError::Storage(error)),
        }
    }
}
