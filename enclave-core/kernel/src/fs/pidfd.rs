// SPDX-License-Identifier: MIT
//! Processes with a descriptor (`pidfd_open(2)`): readable when the process has ended.

use crate::fs::{Attributes, File, InodeId, Kind, OpenFile, OpenFlags, Ready};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::sync::Waiter;
use crate::task::{Process, ProcessState, Thread};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use strongroom_abi::Errno;

/// See the module's text.
pub(crate) struct PidFd {
    process: Arc<Process>,
}

impl PidFd {
    /// A descriptor's open file for a process; `flags` may have `NONBLOCK`.
    pub(crate) fn open(
        kernel: &'static Kernel,
        process: Arc<Process>,
        flags: OpenFlags,
    ) -> Arc<OpenFile> {
        OpenFile::new(kernel, Arc::new(Self { process }), None, OpenFlags::READ_WRITE | flags)
    }

    /// The process behind an open file; `EBADF` where it is no such descriptor.
    pub(crate) fn process(open: &OpenFile) -> Result<&Arc<Process>, Errno> {
        let file: &Self = open.file.as_any().downcast_ref().ok_or(Errno::EBADF)?;
        Ok(&file.process)
    }
}

impl File for PidFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        if let Some(waiter) = waiter {
            self.process.released.register(waiter);
        }
        match *self.process.state.lock() {
            ProcessState::Zombie(_) => Ready::READ,
            ProcessState::Gone => Ready::READ | Ready::HANGUP,
            ProcessState::Running | ProcessState::Stopped { .. } | ProcessState::Continued => {
                Ready::empty()
            }
        }
    }

    fn forget(&self, waiter: &Waiter) {
        self.process.released.deregister(waiter);
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: u64::from(self.process.pid) };
        Ok(Attributes::anonymous(Kind::Regular, id, 0o700))
    }

    fn label(&self) -> String {
        String::from("anon_inode:[pidfd]")
    }

    fn details(&self) -> String {
        let gone = *self.process.state.lock() == ProcessState::Gone;
        let pid = if gone { -1 } else { self.process.pid.cast_signed() };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }
}
