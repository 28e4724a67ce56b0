// SPDX-License-Identifier: MIT
//! A service with everything that an interface can have.

use serde::{Deserialize, Serialize};
use strongroom::{Caller, OpenError, Platform, Service, Stream, Streamed, platform::StorageError};

/// An error of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BenchError {
    /// Odd numbers are not taken.
    Odd(u32),
    /// The storage says so.
    Storage(StorageError),
}

impl std::fmt::Display for BenchError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl strongroom::gp::ErrorCode for BenchError {
    fn code(&self) -> u32 {
        match self {
            Self::Odd(number) => *number,
            // What nobody should give.
            Self::Storage(_) => 0,
        }
    }
}

/// One of each.
#[strongroom::service(version = 7)]
pub(crate) trait Bench {
    fn nothing(&self);
    #[gp(command = 10)]
    fn add(&mut self, number: u64) -> u64;
    #[gp(command = 11)]
    fn even(&self, number: u32) -> Result<u32, BenchError>;
    #[limit(request = 32, answer = 16)]
    fn joined(&self, text: &str, bytes: &[u8], times: Option<u8>) -> Vec<u8>;
    fn panics(&mut self, text: String);
    fn waits(&self) -> bool;
    #[limit(request = 65536, answer = 65536)]
    fn sums(&mut self, start: u32) -> Result<Streamed<u64, BenchError>, BenchError>;
    #[gp(command = 0xffff_fff0)]
    fn reversed(&self, bytes: [u8; 4], text: &str) -> Result<([u8; 4], u32), BenchError>;
    #[limit(request = 32, answer = 16)]
    #[gp(command = 12)]
    fn repeated(&self, bytes: &[u8], times: u32) -> Vec<u8>;
    #[gp(command = 13)]
    fn panics_too(&mut self);
}

/// The service.
#[derive(Debug)]
pub(crate) struct MyBench {
    platform: Platform,
    sum: u64,
}

impl Service for MyBench {
    fn open(platform: &Platform, caller: &Caller) -> Result<Self, OpenError> {
        match caller {
            Caller::Beside => Err(OpenError::Denied),
            Caller::Unknown | Caller::GlobalPlatform { .. } | Caller::Attested { .. } => {
                Ok(Self { platform: platform.clone(), sum: 0 })
            }
        }
    }
}

impl Bench for MyBench {
    fn nothing(&self) {}

    fn add(&mut self, number: u64) -> u64 {
        self.sum = self.sum.wrapping_add(number);
        self.sum
    }

    fn even(&self, number: u32) -> Result<u32, BenchError> {
        if number.is_multiple_of(2) { Ok(number) } else { Err(BenchError::Odd(number)) }
    }

    fn reversed(&self, mut bytes: [u8; 4], text: &str) -> Result<([u8; 4], u32), BenchError> {
        bytes.reverse();
        match u32::try_from(text.len()) {
            Ok(0) | Err(_) => Err(BenchError::Storage(StorageError::Absent)),
            Ok(length) => Ok((bytes, length)),
        }
    }

    fn repeated(&self, bytes: &[u8], times: u32) -> Vec<u8> {
        bytes.repeat(usize::try_from(times.min(100)).unwrap_or(0))
    }

    fn panics_too(&mut self) {
        self.panics("yes".into());
    }

    fn joined(&self, text: &str, bytes: &[u8], times: Option<u8>) -> Vec<u8> {
        [text.as_bytes(), bytes].concat().repeat(times.unwrap_or(1).into())
    }

    fn panics(&mut self, text: String) {
        if text == "yes" {
            panic!("as it was told to");
        }
    }

    fn waits(&self) -> bool {
        self.platform.is_cancelled()
    }

    fn sums(&mut self, start: u32) -> Result<Streamed<u64, BenchError>, BenchError> {
        self.even(start)?;
        Ok(Box::new(Sums(start.into())))
    }
}

/// Adds all bytes up, gives them back doubled, and takes none that is 0xff.
#[derive(Debug)]
struct Sums(u64);

impl Stream for Sums {
    type Output = u64;
    type Error = BenchError;

    fn write(&mut self, chunk: &[u8], out: &mut [u8]) -> Result<usize, BenchError> {
        for (to, from) in out.iter_mut().zip(chunk) {
            if *from == 0xff {
                return Err(BenchError::Odd(0xff));
            }
            *to = from.wrapping_mul(2);
            self.0 = self.0.wrapping_add((*from).into());
        }
        Ok(chunk.len())
    }

    fn finish(self: Box<Self>) -> Result<u64, BenchError> {
        Ok(self.0)
    }
}
