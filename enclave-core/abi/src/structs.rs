// SPDX-License-Identifier: MIT
//! Structures that cross the system-call boundary and look the same on both architectures.
//!
//! Every one is plain bytes without padding, so that copying it out leaks nothing.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! plain {
    ($($(#[$meta:meta])* $name:ident ($size:literal) { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$meta])*
        #[expect(missing_docs, reason = "fields are named as in the manual page of the structure")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind,)* }
        const _: () = assert!(size_of::<$name>() == $size);
    )*};
}

pub(crate) use plain;

plain! {
    /// `struct timespec`.
    Timespec (16) { seconds: i64, nanoseconds: i64, }
    /// `struct timeval`.
    Timeval (16) { seconds: i64, microseconds: i64, }
    /// `struct itimerval`.
    Itimerval (32) { interval: Timeval, value: Timeval, }
    /// `struct itimerspec`.
    Itimerspec (32) { interval: Timespec, value: Timespec, }
    /// `struct iovec`.
    Iovec (16) { base: u64, length: u64, }
    /// `struct pollfd`.
    PollFd (8) { fd: i32, events: u16, revents: u16, }
    /// `struct rlimit`.
    Rlimit (16) { current: u64, maximum: u64, }
    /// `struct stack_t` of `sigaltstack(2)`.
    SignalStack (24) { sp: u64, flags: i32, padding: u32, size: u64, }
    /// `struct kernel_sigaction` as `rt_sigaction(2)` takes it.
    SignalAction (32) { handler: u64, flags: u64, restorer: u64, mask: u64, }
    /// `siginfo_t`, its common head and the words of its union.
    SignalInfo (128) { signo: i32, errno: i32, code: i32, padding: i32, fields: [u64; 14], }
    /// `struct rusage`.
    Rusage (144) { user: Timeval, system: Timeval, maxrss: i64, rest: [i64; 13], }
    /// `struct tms`.
    Tms (32) { utime: i64, stime: i64, cutime: i64, cstime: i64, }
    /// `struct sysinfo`.
    Sysinfo (112) {
        uptime: i64, loads: [u64; 3], totalram: u64, freeram: u64, sharedram: u64, bufferram: u64,
        totalswap: u64, freeswap: u64, procs: u16, pad: u16, pad2: u32, totalhigh: u64,
        freehigh: u64, mem_unit: u32, tail: u32,
    }
    /// `struct statfs`.
    Statfs (120) {
        kind: i64, bsize: i64, blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64,
        fsid: [i32; 2], namelen: i64, frsize: i64, flags: i64, spare: [i64; 4],
    }
    /// `struct statx_timestamp`.
    StatxTimestamp (16) { seconds: i64, nanoseconds: u32, reserved: i32, }
    /// `struct statx`.
    Statx (256) {
        mask: u32, blksize: u32, attributes: u64, nlink: u32, uid: u32, gid: u32, mode: u16,
        spare0: u16, ino: u64, size: u64, blocks: u64, attributes_mask: u64,
        atime: StatxTimestamp, btime: StatxTimestamp, ctime: StatxTimestamp, mtime: StatxTimestamp,
        rdev_major: u32, rdev_minor: u32, dev_major: u32, dev_minor: u32, mnt_id: u64,
        dio_mem_align: u32, dio_offset_align: u32, spare3: [u64; 12],
    }
    /// `struct clone_args` of `clone3(2)`, version 2.
    CloneArgs (88) {
        flags: u64, pidfd: u64, child_tid: u64, parent_tid: u64, exit_signal: u64, stack: u64,
        stack_size: u64, tls: u64, set_tid: u64, set_tid_size: u64, cgroup: u64,
    }
    /// `struct open_how` of `openat2(2)`.
    OpenHow (24) { flags: u64, mode: u64, resolve: u64, }
    /// `struct flock`.
    Flock (32) { kind: i16, whence: i16, pad: u32, start: i64, length: i64, pid: i32, pad2: u32, }
    /// `struct msghdr`.
    MessageHeader (56) {
        name: u64, name_length: u32, pad: u32, iov: u64, iov_length: u64, control: u64,
        control_length: u64, flags: u32, pad2: u32,
    }
    /// `struct cmsghdr`.
    ControlHeader (16) { length: u64, level: i32, kind: i32, }
    /// `struct mmsghdr` of `sendmmsg(2)` and `recvmmsg(2)`.
    MultipleMessageHeader (64) { header: MessageHeader, length: u32, pad: u32, }
    /// `struct ucred` (`SCM_CREDENTIALS`, `SO_PEERCRED`).
    SocketCredentials (12) { pid: i32, uid: u32, gid: u32, }
    /// `struct linger`.
    Linger (8) { onoff: i32, seconds: i32, }
    /// `struct winsize`.
    WindowSize (8) { rows: u16, columns: u16, x_pixels: u16, y_pixels: u16, }
    /// The kernel's `struct termios` (`TCGETS`).
    Termios (36) { iflag: u32, oflag: u32, cflag: u32, lflag: u32, line: u8, cc: [u8; 19], }
    /// `struct robust_list_head`.
    RobustListHead (24) { list: u64, futex_offset: i64, pending: u64, }
    /// `struct signalfd_siginfo`.
    SignalFdInfo (128) {
        signo: u32, errno: i32, code: i32, pid: u32, uid: u32, fd: i32, tid: u32, band: u32,
        overrun: u32, trapno: u32, status: i32, int: i32, ptr: u64, utime: u64, stime: u64,
        addr: u64, rest: [u64; 6],
    }
    /// `struct sigevent`, as far as `timer_create(2)` reads it.
    SignalEvent (64) { value: u64, signo: i32, notify: i32, tid: i32, pad: i32, rest: [u64; 5], }
}

/// `struct utsname`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Utsname {
    /// sysname, nodename, release, version, machine, domainname; NUL-terminated each.
    pub fields: [[u8; 65]; 6],
}
const _: () = assert!(size_of::<Utsname>() == 390);
