// SPDX-License-Identifier: MIT
//! How a system call ends: a value, an errno, or a reason to wait and be called again.

use strongroom_abi::Errno;
use strongroom_south::{Fault, OutOfMemory};

/// The result of a system call or of a part of one.
pub(crate) type SysResult<T = usize> = Result<T, Stop>;

/// Why a call did not finish.
///
/// Whoever returns anything but [`Stop::Errno`] has changed nothing, or has noted its progress so
/// that the next attempt goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It failed.
    Errno(Errno),
    /// A page of the guest has to be brought in first.
    Page(Fault),
    /// The thread is registered with what it waits for, and sleeps until that wakes it.
    Sleep(Interrupt),
    /// Let other threads run, then try again.
    Turn,
    /// It wants the thread's processor state, which is whole only when user mode was left.
    Context,
}

/// What a signal handler does to a sleeping call. Signals without a handler never end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Restarted if the handler has `SA_RESTART`, else `EINTR`.
    Restart,
    /// Always `EINTR`.
    Fail,
    /// Not interrupted; only a fatal signal ends it.
    Never,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Page(fault)
    }
}

impl From<OutOfMemory> for Stop {
    fn from(_: OutOfMemory) -> Self {
        Self::Errno(Errno::ENOMEM)
    }
}
