// SPDX-License-Identifier: MIT
//! Trusted services from a Rust trait: the same source for an OP-TEE trusted application and a
//! program in an SEV-SNP guest.
//!
//! ```
//! use strongroom::{Caller, OpenError, Platform, Service};
//!
//! #[strongroom::service]
//! pub trait Counter {
//!     fn add(&mut self, number: u32) -> u32;
//! }
//!
//! struct MyCounter(u32);
//!
//! impl Service for MyCounter {
//!     fn open(_platform: &Platform, _caller: &Caller) -> Result<Self, OpenError> {
//!         Ok(Self(0))
//!     }
//! }
//!
//! impl Counter for MyCounter {
//!     fn add(&mut self, number: u32) -> u32 {
//!         self.0 = self.0.wrapping_add(number);
//!         self.0
//!     }
//! }
//!
//! // In a test, without any machine; `strongroom-connect` has the ways to real services.
//! let machine = strongroom_testing::Fake::new();
//! let mut client = CounterClient::connect(machine.serve::<MyCounter, CounterInterface>())?;
//! assert_eq!(client.add(2)?, 2);
//! assert_eq!(client.add(3)?, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub use strongroom_macros::service;
pub use strongroom_service::*;

#[cfg(target_os = "none")]
#[doc(hidden)]
pub use strongroom_service_optee as optee;

#[cfg(feature = "linux")]
#[doc(hidden)]
pub use strongroom_service_linux as linux;

/// Makes a program of a service: `serve!(MySigner, SignerInterface)`, in a crate of its own that is
/// `no_std` and `no_main` for OP-TEE, whose build script is `optee_utee_build`'s. There it gives the
/// entry points of a trusted application.
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! serve {
    ($service:ty, $interface:ty) => {
        $crate::optee::entry_points!($service, $interface);
    };
}

/// Makes a program of a service: `serve!(MySigner, SignerInterface)`. It gives `main`: the service
/// listens, and ends with the enclave.
#[cfg(feature = "linux")]
#[macro_export]
macro_rules! serve {
    ($service:ty, $interface:ty) => {
        fn main() -> std::process::ExitCode {
            $crate::linux::serve::<$service, $interface>()
        }
    };
}

/// Writes a line for whoever looks after the machine, who is not trusted: `log!(platform, "text
/// {number}")`. Release builds leave it out, text and all.
#[macro_export]
macro_rules! log {
    ($platform:expr, $($words:tt)*) => {
        if cfg!(debug_assertions) {
            $platform.log(format_args!($($words)*));
        }
    };
}
