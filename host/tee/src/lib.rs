// SPDX-License-Identifier: MIT
//! Calls any GlobalPlatform trusted application from the normal world: sessions, typed parameters,
//! shared memory, cancellation, errors with their origin.
//!
//! Source: GlobalPlatform, TEE Client API Specification 1.0 (GPD_SPE_007). The implementation is
//! the system's `libteec`, over `/dev/tee0`.
//!
//! ```no_run
//! use strongroom_tee::{Operation, Parameter, Tee, Uuid};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Tee::connect()?.open(Uuid::parse_str("cb3e5ba0-adf1-11e0-998b-0002a5d5c51b")?)?;
//! let mut digest = [0; 32];
//! let mut operation = Operation::new([
//!     Parameter::input(b"abc"),
//!     Parameter::output(&mut digest),
//!     Parameter::none(),
//!     Parameter::none(),
//! ]);
//! session.invoke(2, &mut operation)?;
//! assert_eq!(operation.size(1), Some(32));
//! # Ok(())
//! # }
//! ```
//!
//! A trusted application may answer with any code and any size; nothing here trusts either. Sizes
//! that are reported back are bounded by nothing: compare them with the buffer that was lent.

mod cancel;
mod error;
mod memory;
mod operation;
mod session;

pub use cancel::Canceller;
pub use error::{Code, Origin, TeeError};
pub use memory::{Access, SharedMemory};
pub use operation::{Operation, Parameter};
pub use session::{Login, Session, Tee};
pub use uuid::Uuid;

// Programs for a machine with a TEE link its client library; on any other machine this crate is
// checked and its own tests run, without one.
#[cfg_attr(target_arch = "aarch64", link(name = "teec"))]
#[expect(unsafe_code, reason = "the declaration of a library: it has nothing in it")]
unsafe extern "C" {}
