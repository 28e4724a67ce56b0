// SPDX-License-Identifier: MIT
//! Calls that leave something behind in the kernel's own memory: a file, a name, a thread, an area.
//!
//! They fail with `ENOMEM` while that memory is short. What gives memory back, waits, reads or writes
//! is not among them, so that a program can say what happened and end, or give something up and go on;
//! a file that keeps what is written to it says so itself ([`crate::fs::File::keeps_bytes`]).

use strongroom_abi::Sysno;

pub(crate) const MAKERS: &[Sysno] = &[
    // Descriptors and what is behind them.
    Sysno::Open,
    Sysno::Creat,
    Sysno::Openat,
    Sysno::Openat2,
    Sysno::Dup,
    Sysno::Dup2,
    Sysno::Dup3,
    Sysno::Fcntl,
    Sysno::Pipe,
    Sysno::Pipe2,
    Sysno::Eventfd,
    Sysno::Eventfd2,
    Sysno::Signalfd,
    Sysno::Signalfd4,
    Sysno::TimerfdCreate,
    Sysno::TimerCreate,
    Sysno::MemfdCreate,
    Sysno::PidfdOpen,
    Sysno::EpollCreate,
    Sysno::EpollCreate1,
    Sysno::EpollCtl,
    Sysno::Socket,
    Sysno::Socketpair,
    Sysno::Bind,
    Sysno::Connect,
    Sysno::Accept,
    Sysno::Accept4,
    Sysno::Sendto,
    Sysno::Sendmsg,
    Sysno::Sendmmsg,
    // Names.
    Sysno::Mkdir,
    Sysno::Mkdirat,
    Sysno::Mknod,
    Sysno::Mknodat,
    Sysno::Link,
    Sysno::Linkat,
    Sysno::Symlink,
    Sysno::Symlinkat,
    Sysno::Rename,
    Sysno::Renameat,
    Sysno::Renameat2,
    // Areas.
    Sysno::Mmap,
    Sysno::Mremap,
    Sysno::Mprotect,
    Sysno::Brk,
    // Threads, processes, and what is sent to them.
    Sysno::Clone,
    Sysno::Clone3,
    Sysno::Fork,
    Sysno::Vfork,
    Sysno::Execve,
    Sysno::RtSigqueueinfo,
    Sysno::RtTgsigqueueinfo,
];
