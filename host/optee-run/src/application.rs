// SPDX-License-Identifier: MIT
//! The trusted application, called.

use crate::{Called, RunError};
use strongroom_optee_package::Uuid;
use strongroom_tee::{Access, Operation, Parameter, Session, SharedMemory, Tee};
use strongroom_wire::turn::BUFFER;

/// The command that takes a turn.
const TURN: u32 = 0;

/// A session with a trusted application, and the buffer that both see.
#[derive(Debug)]
pub struct Application {
    session: Session,
    shared: SharedMemory,
}

impl Application {
    /// Opens a session with a packed trusted application.
    ///
    /// # Errors
    ///
    /// [`RunError`] says at which step it failed.
    pub fn open(uuid: Uuid) -> Result<Self, RunError> {
        let tee = Tee::connect().map_err(RunError::NoTee)?;
        let shared = tee.allocate(BUFFER, Access::Both).map_err(RunError::Shared)?;
        let name = strongroom_tee::Uuid::from_bytes(uuid.0);
        let session = tee.open(name).map_err(|source| RunError::Open { uuid, source })?;
        Ok(Self { session, shared })
    }
}

impl Called for Application {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), RunError> {
        self.shared.write(offset, bytes).map_err(RunError::Shared)
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), RunError> {
        self.shared.read(offset, bytes).map_err(RunError::Shared)
    }

    fn call(&mut self) -> Result<(), RunError> {
        let whole = Parameter::whole(&mut self.shared);
        let mut operation =
            Operation::new([whole, Parameter::none(), Parameter::none(), Parameter::none()]);
        self.session.invoke(TURN, &mut operation).map_err(RunError::of_call)
    }
}
