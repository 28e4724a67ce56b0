// SPDX-License-Identifier: MIT
//! In the place of [`application`](crate::application) where no client library for a TEE is linked.

use crate::{Called, RunError};
use strongroom_optee_package::Uuid;

/// A session with a trusted application; there are none.
#[derive(Debug)]
pub enum Application {}

impl Application {
    /// Opens nothing.
    ///
    /// # Errors
    ///
    /// [`RunError::NotHere`].
    pub const fn open(_: Uuid) -> Result<Self, RunError> {
        Err(RunError::NotHere)
    }
}

impl Called for Application {
    fn write(&mut self, _: usize, _: &[u8]) -> Result<(), RunError> {
        match *self {}
    }

    fn read(&self, _: usize, _: &mut [u8]) -> Result<(), RunError> {
        match *self {}
    }

    fn call(&mut self) -> Result<(), RunError> {
        match *self {}
    }
}
