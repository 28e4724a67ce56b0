// SPDX-License-Identifier: MIT
//! The connection to a TEE, and sessions with trusted applications.

use core::{cell::UnsafeCell, ffi::CStr};
use std::sync::Arc;

use optee_teec_sys as raw;
use uuid::Uuid;

use crate::{
    Access, Canceller, Operation, SharedMemory, TeeError,
    error::{checked, own},
};

/// As whom a session is opened: what the trusted application learns about its client, from the
/// kernel.
///
/// Source: TEE Client API Specification 1.0, section 4.4.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Login {
    /// Nothing.
    #[default]
    Public,
    /// The user this process runs as.
    User,
    /// A group that it is in.
    Group(u32),
    /// The program.
    Application,
    /// The program and the user.
    UserApplication,
    /// The program and a group.
    GroupApplication(u32),
}

impl Login {
    const fn method(self) -> u32 {
        match self {
            Self::Public => raw::TEEC_LOGIN_PUBLIC,
            Self::User => raw::TEEC_LOGIN_USER,
            Self::Group(_) => raw::TEEC_LOGIN_GROUP,
            Self::Application => raw::TEEC_LOGIN_APPLICATION,
            Self::UserApplication => raw::TEEC_LOGIN_USER_APPLICATION,
            Self::GroupApplication(_) => raw::TEEC_LOGIN_GROUP_APPLICATION,
        }
    }

    const fn group(self) -> Option<u32> {
        match self {
            Self::Group(group) | Self::GroupApplication(group) => Some(group),
            Self::Public | Self::User | Self::Application | Self::UserApplication => None,
        }
    }
}

/// An initialised context of the client library.
pub(crate) struct Context(Box<UnsafeCell<raw::TEEC_Context>>);

// SAFETY: after it was initialised the library only reads it: it holds a file descriptor and flags.
#[expect(unsafe_code, reason = "plain numbers behind a cell")]
unsafe impl Send for Context {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "plain numbers behind a cell")]
unsafe impl Sync for Context {}

impl Context {
    pub(crate) const fn pointer(&self) -> *mut raw::TEEC_Context {
        self.0.get()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was initialised, is finalised once, and sessions and memory hold it alive.
        #[expect(unsafe_code, reason = "the client library")]
        unsafe {
            raw::TEEC_FinalizeContext(self.0.get());
        }
    }
}

/// A connection to a TEE.
#[derive(Clone)]
pub struct Tee {
    context: Arc<Context>,
}

impl Tee {
    /// Connects to the system's TEE.
    ///
    /// # Errors
    ///
    /// [`crate::Code::ItemNotFound`] when there is none.
    pub fn connect() -> Result<Self, TeeError> {
        Self::initialize(None)
    }

    /// Connects to the TEE of that name.
    ///
    /// # Errors
    ///
    /// [`crate::Code::ItemNotFound`] when there is no such one.
    pub fn connect_to(name: &CStr) -> Result<Self, TeeError> {
        Self::initialize(Some(name))
    }

    fn initialize(name: Option<&CStr>) -> Result<Self, TeeError> {
        let imp = raw::TEEC_Context__Imp { fd: -1, reg_mem: false, memref_null: false };
        let context = Box::new(UnsafeCell::new(raw::TEEC_Context { imp }));
        let name = name.map_or(core::ptr::null(), CStr::as_ptr);
        // SAFETY: the name is null or ends with a zero byte; the context has room for what the
        // library writes, and nobody else sees it.
        #[expect(unsafe_code, reason = "the client library")]
        let result = unsafe { raw::TEEC_InitializeContext(name, context.get()) };
        // A context that was not initialised must not be finalised.
        checked(result, raw::TEEC_ORIGIN_API)?;
        Ok(Self { context: Arc::new(Context(context)) })
    }

    /// Opens a session with a trusted application, without login and parameters.
    ///
    /// # Errors
    ///
    /// [`crate::Code::ItemNotFound`] when there is no such application,
    /// [`crate::Code::Security`] when its signature is wrong, and what it answers itself.
    pub fn open(&self, application: Uuid) -> Result<Session, TeeError> {
        self.open_with(application, Login::Public, &mut Operation::empty())
    }

    /// As [`Self::open`], with a login and parameters.
    ///
    /// # Errors
    ///
    /// As for [`Self::open`].
    pub fn open_with(
        &self,
        application: Uuid,
        login: Login,
        operation: &mut Operation<'_>,
    ) -> Result<Session, TeeError> {
        let (time_low, time_mid, time_high, node) = application.as_fields();
        let uuid = raw::TEEC_UUID {
            timeLow: time_low,
            timeMid: time_mid,
            timeHiAndVersion: time_high,
            clockSeqAndNode: *node,
        };
        let session = raw::TEEC_Session__Imp { ctx: core::ptr::null_mut(), session_id: 0 };
        let body = Box::new(UnsafeCell::new(raw::TEEC_Session { imp: session }));
        let group = login.group();
        let data = group.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        let mut origin = raw::TEEC_ORIGIN_API;
        // SAFETY: the context is initialised and held alive by the session; `uuid`, `group` and
        // `origin` outlive the call; the session has an address of its own that stays; the
        // operation is borrowed mutably, and what its parameters point to is borrowed by it.
        #[expect(unsafe_code, reason = "the client library")]
        let result = unsafe {
            raw::TEEC_OpenSession(
                self.context.pointer(),
                body.get(),
                &raw const uuid,
                login.method(),
                data.cast(),
                operation.pointer(),
                &raw mut origin,
            )
        };
        checked(result, origin)?;
        Ok(Session { body, _context: Arc::clone(&self.context) })
    }

    /// Makes memory that trusted applications see as well.
    ///
    /// # Errors
    ///
    /// [`crate::Code::OutOfMemory`].
    pub fn allocate(&self, length: usize, access: Access) -> Result<SharedMemory, TeeError> {
        SharedMemory::allocate(Arc::clone(&self.context), length, access)
    }

    /// Lets trusted applications see bytes that are there; [`SharedMemory::into_bytes`] gives them
    /// back.
    ///
    /// # Errors
    ///
    /// [`crate::Code::OutOfMemory`].
    pub fn register(&self, bytes: Vec<u8>, access: Access) -> Result<SharedMemory, TeeError> {
        SharedMemory::register(Arc::clone(&self.context), bytes, access)
    }
}

impl core::fmt::Debug for Tee {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Tee")
    }
}

/// A session with a trusted application. Dropping it closes it.
///
/// Threads may share it: the TEE lets one call of a session run at a time.
pub struct Session {
    /// At an address of its own: operations refer to it while they run.
    body: Box<UnsafeCell<raw::TEEC_Session>>,
    _context: Arc<Context>,
}

// SAFETY: after it was opened the library only reads it: it holds a number and its context's
// address, and the context stays where it is.
#[expect(unsafe_code, reason = "plain numbers and an address behind a cell")]
unsafe impl Send for Session {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "plain numbers and an address behind a cell")]
unsafe impl Sync for Session {}

impl Session {
    /// Invokes a command.
    ///
    /// # Errors
    ///
    /// [`crate::Code::TargetDead`] when the trusted application panics or has panicked: the session
    /// is of no use any more, a new one works. Otherwise what the application answers.
    pub fn invoke(&self, command: u32, operation: &mut Operation<'_>) -> Result<(), TeeError> {
        self.call(command, operation.pointer())
    }

    /// As [`Self::invoke`], so that it can be cancelled.
    ///
    /// # Errors
    ///
    /// As for [`Self::invoke`]; [`crate::Code::Cancel`]; [`crate::Code::Busy`] when the canceller
    /// serves another call.
    pub fn invoke_cancellable(
        &self,
        command: u32,
        operation: &mut Operation<'_>,
        canceller: &Canceller,
    ) -> Result<(), TeeError> {
        canceller.watch(operation, |operation| self.call(command, operation))
    }

    fn call(&self, command: u32, operation: *mut raw::TEEC_Operation) -> Result<(), TeeError> {
        if operation.is_null() {
            return Err(own(crate::Code::BadParameters));
        }
        let mut origin = raw::TEEC_ORIGIN_API;
        // SAFETY: the session is open and stays where it is; the operation is borrowed mutably by
        // our caller, and what its parameters point to is borrowed by it; `origin` outlives the call.
        #[expect(unsafe_code, reason = "the client library")]
        let result = unsafe {
            raw::TEEC_InvokeCommand(self.body.get(), command, operation, &raw mut origin)
        };
        checked(result, origin)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: it was opened, is closed once, and no call of it runs: calls borrow it.
        #[expect(unsafe_code, reason = "the client library")]
        unsafe {
            raw::TEEC_CloseSession(self.body.get());
        }
    }
}

impl core::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Session")
    }
}

#[cfg(test)]
mod tests {
    use super::Login;

    #[test]
    fn logins_have_the_numbers_of_the_specification_and_groups_their_data() {
        let seen = [
            Login::Public,
            Login::User,
            Login::Group(7),
            Login::Application,
            Login::UserApplication,
            Login::GroupApplication(8),
        ]
        .map(|login| (login.method(), login.group()));
        let wanted = [(0, None), (1, None), (2, Some(7)), (4, None), (5, None), (6, Some(8))];
        assert_eq!(seen, wanted);
    }
}
