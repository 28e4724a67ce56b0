// SPDX-License-Identifier: MIT
//! Runs services in a test's own process, on a machine that the test decides over: time, randomness,
//! sealed storage, and the host that keeps it. Deterministic, and never shipped.
#![forbid(unsafe_code)]

mod gp;
mod hostile;
mod machine;
mod transport;

pub use gp::{GpSession, Parameter};
pub use hostile::attack;
pub use machine::{Fake, Stored};
pub use transport::{InProcess, Way};

/// Makes a test that plays a hostile client: `fuzz!(MyService, SignerInterface)`, or with a number of
/// calls as a third argument; there are 10,000 otherwise. Every call has to get an answer, and a
/// panic fails the test.
#[macro_export]
macro_rules! fuzz {
    ($service:ty, $interface:ty) => {
        $crate::fuzz!($service, $interface, 10_000);
    };
    ($service:ty, $interface:ty, $calls:expr) => {
        #[test]
        fn a_hostile_client_gets_answers_only() {
            $crate::attack::<$service, $interface>($calls, 1);
        }
    };
}
