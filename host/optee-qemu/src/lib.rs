// SPDX-License-Identifier: MIT
//! Boots OP-TEE in QEMU's `virt` machine for ARMv8 and runs commands in its normal world.
//!
//! A [`Machine`] is a QEMU process. Its secure world is the flash image of [`Image`] (TF-A with
//! OP-TEE inside); its normal world is a Linux kernel with everything in a memory file system.
//! The first process there is the agent of this crate. It loads the OP-TEE driver, starts
//! `tee-supplicant`, and takes commands over a virtio serial port: standard input and both outputs
//! pass through byte for byte, and an exit status comes back.
//!
//! ```no_run
//! use strongroom_optee_qemu::{Command, Image, Input, Machine, Options};
//!
//! # fn main() -> Result<(), strongroom_optee_qemu::Error> {
//! let image = Image::in_directory("build/optee", "build/strongroom-optee-agent");
//! let mut machine = Machine::boot(&Options::new(image, "logs"))?;
//! let command = Command::new(["xtest", "1001"]);
//! let (mut output, mut errors) = (std::io::stdout(), std::io::stderr());
//! let status = machine.run(&command, Input::Empty, &mut output, &mut errors)?;
//! machine.power_off()?;
//! assert_eq!(status.code(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! QEMU protects nothing from its host: this is a place to develop and test, not a TEE.
#![forbid(unsafe_code)]

pub mod agent;
pub mod cpio;
mod error;
mod image;
mod machine;
mod options;
pub mod protocol;
mod qemu;
mod streams;

pub use error::Error;
pub use image::{Image, ImageError};
pub use machine::{Captured, Machine, PowerSwitch};
pub use options::{Command, Logs, Options};
pub use protocol::{Size, Status};
pub use streams::Input;
