// SPDX-License-Identifier: MIT
//! System calls as a C library would wrap them. Results are the kernel's: negative for an errno.

use crate::guest::Guest;
use strongroom_abi::arch::clone_tail;
use strongroom_abi::{Errno, Sysno};

/// `O_RDONLY`.
pub const OPEN_READ: usize = 0;
/// `O_WRONLY`.
pub const OPEN_WRITE: usize = 1;
/// `O_RDWR`.
pub const OPEN_READ_WRITE: usize = 2;
/// `O_CREAT`.
pub const OPEN_CREATE: usize = 0o100;
/// `O_EXCL`.
pub const OPEN_EXCLUSIVE: usize = 0o200;
/// `O_TRUNC`.
pub const OPEN_TRUNCATE: usize = 0o1000;
/// `O_APPEND`.
pub const OPEN_APPEND: usize = 0o2000;
/// `O_NONBLOCK`.
pub const OPEN_NONBLOCK: usize = 0o4000;
/// `PROT_NONE`.
pub const PROT_NONE: usize = 0;
/// `PROT_READ`.
pub const PROT_READ: usize = 1;
/// `PROT_WRITE`.
pub const PROT_WRITE: usize = 2;
/// `PROT_EXEC`.
pub const PROT_EXEC: usize = 4;
/// `MAP_SHARED`.
pub const MAP_SHARED: usize = 1;
/// `MAP_PRIVATE`.
pub const MAP_PRIVATE: usize = 2;
/// `MAP_FIXED`.
pub const MAP_FIXED: usize = 0x10;
/// `MAP_ANONYMOUS`.
pub const MAP_ANONYMOUS: usize = 0x20;

/// `AT_FDCWD`.
const WORKING_DIRECTORY: usize = -100isize as usize;
/// `SIGCHLD`, the exit signal of a fork.
const CHILD_SIGNAL: usize = 17;
/// `CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM`.
const THREAD_FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;
/// `CLONE_CHILD_CLEARTID`.
const CLEAR_TID: usize = 0x20_0000;
/// Memory for a new thread's stack.
const THREAD_STACK: usize = 64 * 1024;
/// `SA_RESTORER`.
const WITH_RESTORER: usize = 0x0400_0000;
/// `SA_SIGINFO`.
const WITH_INFO: usize = 4;

/// A result as `Result`: the value, or the errno.
fn checked(result: isize) -> Result<usize, Errno> {
    if result >= 0 {
        return Ok(result as usize);
    }
    let errno = errno_of(result);
    Err(errno.expect("a known errno"))
}

fn errno_of(result: isize) -> Option<Errno> {
    const KNOWN: [Errno; 43] = [
        Errno::EPERM,
        Errno::ENOENT,
        Errno::ESRCH,
        Errno::EINTR,
        Errno::EIO,
        Errno::ENXIO,
        Errno::E2BIG,
        Errno::ENOEXEC,
        Errno::EBADF,
        Errno::ECHILD,
        Errno::EAGAIN,
        Errno::ENOMEM,
        Errno::EACCES,
        Errno::EFAULT,
        Errno::EBUSY,
        Errno::EEXIST,
        Errno::EXDEV,
        Errno::ENODEV,
        Errno::ENOTDIR,
        Errno::EISDIR,
        Errno::EINVAL,
        Errno::ENFILE,
        Errno::EMFILE,
        Errno::ENOTTY,
        Errno::ETXTBSY,
        Errno::EFBIG,
        Errno::ENOSPC,
        Errno::ESPIPE,
        Errno::EROFS,
        Errno::EMLINK,
        Errno::EPIPE,
        Errno::EDOM,
        Errno::ERANGE,
        Errno::EDEADLK,
        Errno::ENAMETOOLONG,
        Errno::ENOLCK,
        Errno::ENOSYS,
        Errno::ENOTEMPTY,
        Errno::ELOOP,
        Errno::EPROTO,
        Errno::EOVERFLOW,
        Errno::ETIMEDOUT,
        Errno::ELIBBAD,
    ];
    KNOWN.into_iter().find(|errno| errno.as_return() == result)
}

impl Guest {
    /// A call whose result is taken apart into value and errno.
    ///
    /// # Errors
    ///
    /// The errno that the kernel answered.
    pub fn try_call<const COUNT: usize>(
        &mut self,
        call: Sysno,
        arguments: [usize; COUNT],
    ) -> Result<usize, Errno> {
        checked(self.call(call, arguments))
    }

    /// Puts bytes on the stack for good; returns their address, a multiple of 16.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let address = (self.stack_pointer() - bytes.len()) & !15;
        self.set_stack_pointer(address);
        self.store(address, bytes);
        address
    }

    /// Puts a string with its terminator on the stack.
    pub fn push_string(&mut self, text: &str) -> usize {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.push(&bytes)
    }

    /// Room on the stack, zeroed.
    pub fn room(&mut self, length: usize) -> usize {
        self.push(&vec![0; length])
    }

    /// Does something and gives back the stack that it used.
    pub fn scoped<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        let stack = self.stack_pointer();
        let value = body(self);
        self.set_stack_pointer(stack);
        value
    }

    /// Loads `length` bytes.
    pub fn bytes(&mut self, address: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.load(address, &mut bytes);
        bytes
    }

    /// Loads 32 bits.
    pub fn load_u32(&mut self, address: usize) -> u32 {
        let mut bytes = [0; 4];
        self.load(address, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Stores 32 bits.
    pub fn store_u32(&mut self, address: usize, value: u32) {
        self.store(address, &value.to_le_bytes());
    }

    /// Loads 64 bits.
    pub fn load_u64(&mut self, address: usize) -> u64 {
        let mut bytes = [0; 8];
        self.load(address, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// `write(2)`.
    ///
    /// # Errors
    ///
    /// As for [`Guest::try_call`], here and below.
    pub fn write(&mut self, descriptor: usize, bytes: &[u8]) -> Result<usize, Errno> {
        self.scoped(|guest| {
            let address = guest.push(bytes);
            guest.try_call(Sysno::Write, [descriptor, address, bytes.len()])
        })
    }

    /// Writes a line to standard output.
    pub fn say(&mut self, text: &str) {
        let line = format!("{text}\n");
        assert_eq!(self.write(1, line.as_bytes()), Ok(line.len()), "the console takes it");
    }

    /// `read(2)`.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn read(&mut self, descriptor: usize, length: usize) -> Result<Vec<u8>, Errno> {
        self.scoped(|guest| {
            let address = guest.room(length);
            let count = guest.try_call(Sysno::Read, [descriptor, address, length])?;
            Ok(guest.bytes(address, count))
        })
    }

    /// `openat(2)`, with permissions 0644.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn open(&mut self, path: &str, flags: usize) -> Result<usize, Errno> {
        self.scoped(|guest| {
            let path = guest.push_string(path);
            guest.try_call(Sysno::Openat, [WORKING_DIRECTORY, path, flags, 0o644])
        })
    }

    /// A call on one path: `mkdirat`, `unlinkat` and the like; `last` is what follows the path.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn at(&mut self, call: Sysno, path: &str, last: usize) -> Result<usize, Errno> {
        self.scoped(|guest| {
            let path = guest.push_string(path);
            guest.try_call(call, [WORKING_DIRECTORY, path, last])
        })
    }

    /// `renameat(2)`.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<usize, Errno> {
        self.scoped(|guest| {
            let from = guest.push_string(from);
            let to = guest.push_string(to);
            let directory = WORKING_DIRECTORY;
            guest.try_call(Sysno::Renameat2, [directory, from, directory, to])
        })
    }

    /// `close(2)`.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn close(&mut self, descriptor: usize) -> Result<usize, Errno> {
        self.try_call(Sysno::Close, [descriptor])
    }

    /// `pipe2(2)`: reading end, writing end.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn pipe(&mut self, flags: usize) -> Result<(usize, usize), Errno> {
        self.scoped(|guest| {
            let ends = guest.room(8);
            guest.try_call(Sysno::Pipe2, [ends, flags])?;
            Ok((guest.load_u32(ends) as usize, guest.load_u32(ends + 4) as usize))
        })
    }

    /// `mmap(2)` of private anonymous memory that can be read and written.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn allocate(&mut self, length: usize) -> Result<usize, Errno> {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS;
        self.try_call(Sysno::Mmap, [0, length, PROT_READ | PROT_WRITE, flags, usize::MAX, 0])
    }

    /// `fork(2)`.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn fork(
        &mut self,
        child: impl FnOnce(&mut Self) -> u8 + Send + 'static,
    ) -> Result<usize, Errno> {
        checked(self.call_with_child(Sysno::Clone, [CHILD_SIGNAL], child))
    }

    /// `clone(2)` of a thread with a stack of its own; `clear_tid` is where joiners wait.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn thread(
        &mut self,
        clear_tid: usize,
        body: impl FnOnce(&mut Self) -> u8 + Send + 'static,
    ) -> Result<usize, Errno> {
        let stack = self.allocate(THREAD_STACK)? + THREAD_STACK;
        let (fourth, fifth) = clone_tail(clear_tid, 0);
        let arguments = [THREAD_FLAGS | CLEAR_TID, stack, 0, fourth, fifth];
        let whole = |guest: &mut Self| {
            let status = body(guest);
            guest.call(Sysno::Exit, [usize::from(status)]);
            status
        };
        checked(self.call_with_child(Sysno::Clone, arguments, whole))
    }

    /// `wait4(2)`: number and status.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn wait(&mut self, pid: isize, options: usize) -> Result<(usize, u32), Errno> {
        self.scoped(|guest| {
            let status = guest.room(4);
            let pid = guest.try_call(Sysno::Wait4, [pid as usize, status, options])?;
            Ok((pid, guest.load_u32(status)))
        })
    }

    /// `rt_sigaction(2)` with a handler made by [`crate::Machine::handler`].
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn on_signal(
        &mut self,
        signal: usize,
        handler: usize,
        flags: usize,
    ) -> Result<usize, Errno> {
        self.scoped(|guest| {
            let flags = flags | WITH_RESTORER | WITH_INFO;
            let words = [handler, flags, handler, 0];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let action = guest.push(&bytes);
            guest.try_call(Sysno::RtSigaction, [signal, action, 0, 8])
        })
    }

    /// `rt_sigprocmask(2)`, setting the mask.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn set_mask(&mut self, mask: u64) -> Result<usize, Errno> {
        self.scoped(|guest| {
            let address = guest.push(&mask.to_le_bytes());
            guest.try_call(Sysno::RtSigprocmask, [2, address, 0, 8])
        })
    }

    /// `kill(2)`.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn kill(&mut self, pid: usize, signal: usize) -> Result<usize, Errno> {
        self.try_call(Sysno::Kill, [pid, signal])
    }

    /// `getpid(2)`.
    pub fn pid(&mut self) -> usize {
        self.call(Sysno::Getpid, []) as usize
    }

    /// `nanosleep(2)`.
    ///
    /// # Errors
    ///
    /// The errno.
    pub fn sleep(&mut self, nanoseconds: u64) -> Result<usize, Errno> {
        self.scoped(|guest| {
            let time = guest.push_time(nanoseconds);
            guest.try_call(Sysno::Nanosleep, [time, 0])
        })
    }

    /// A `struct timespec` on the stack.
    pub fn push_time(&mut self, nanoseconds: u64) -> usize {
        let words = [nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.push(&bytes)
    }

    /// The monotonic clock, as the guest sees it.
    pub fn now_ns(&mut self) -> u64 {
        self.scoped(|guest| {
            let time = guest.room(16);
            guest.call(Sysno::ClockGettime, [1, time]);
            guest.load_u64(time) * 1_000_000_000 + guest.load_u64(time + 8)
        })
    }
}
