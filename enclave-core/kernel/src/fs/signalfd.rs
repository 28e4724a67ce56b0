// SPDX-License-Identifier: MIT
//! Signals as data (`signalfd(2)`): a read takes pending signals of the thread that reads and of
//! its process.

use crate::fs::{Attributes, File, InodeId, Kind, OpenFile, Ready};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::signal::{SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, SignalSet};
use crate::signal::{code, is_pending, next_pending, take};
use crate::sync::{WaitQueue, Waiter};
use crate::task::{Call, Process, Thread};
use crate::user::Sink;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use spin::Mutex;
use strongroom_abi::{Errno, SignalFdInfo, SignalInfo};
use zerocopy::IntoBytes;

/// See the module's text.
pub(crate) struct SignalFd {
    number: u64,
    wanted: Mutex<SignalSet>,
    /// Woken when the set changes.
    changed: WaitQueue,
    /// Processes on whose behalf waiters were registered.
    askers: Mutex<Vec<Weak<Process>>>,
}

impl SignalFd {
    /// For signals of a set.
    pub(crate) fn new(kernel: &'static Kernel, wanted: SignalSet) -> Arc<Self> {
        Arc::new(Self {
            number: kernel.next_number(),
            wanted: Mutex::new(wanted.blockable()),
            changed: WaitQueue::new(kernel.scheduler),
            askers: Mutex::default(),
        })
    }

    /// Changes the set.
    pub(crate) fn set_wanted(&self, wanted: SignalSet) {
        *self.wanted.lock() = wanted.blockable();
        self.changed.wake();
    }

    fn wanted(&self) -> SignalSet {
        *self.wanted.lock()
    }

    fn register(&self, by: &Thread, waiter: &Waiter) {
        self.changed.register(waiter);
        by.process.signal_arrived.register(waiter);
        let process = Arc::downgrade(&by.process);
        let mut askers = self.askers.lock();
        if !askers.iter().any(|asker| asker.ptr_eq(&process)) {
            askers.retain(|asker| asker.strong_count() > 0);
            askers.push(process);
        }
    }
}

impl File for SignalFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        to: &mut Sink<'_>,
    ) -> SysResult {
        let room = to.room() / size_of::<SignalFdInfo>();
        if room == 0 {
            return Err(Errno::EINVAL.into());
        }
        let wanted = self.wanted();
        let mut done = 0;
        while done < room
            && let Some(info) = next_pending(call.thread, wanted)
        {
            match to.put(describe(&info).as_bytes()) {
                Ok(_) => {}
                // What was taken so far is handed over; this one stays.
                Err(_) if done > 0 => break,
                Err(fault) => return Err(fault.into()),
            }
            take(call.thread, SignalSet::of(info.signo as u8));
            done += 1;
        }
        if done == 0 {
            self.changed.register(&call.waiter());
            return call.block_on(open, &call.thread.process.signal_arrived);
        }
        Ok(done * size_of::<SignalFdInfo>())
    }

    /// Without knowing who asks, nothing is known to be pending.
    fn poll(&self, _open: &OpenFile, _waiter: Option<&Waiter>) -> Ready {
        Ready::empty()
    }

    fn poll_by(&self, by: &Thread, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        if let Some(waiter) = waiter {
            self.register(by, waiter);
        }
        Ready::IN.when(is_pending(by, self.wanted()))
    }

    fn forget(&self, waiter: &Waiter) {
        self.changed.deregister(waiter);
        let askers: Vec<_> = self.askers.lock().iter().filter_map(Weak::upgrade).collect();
        for process in askers {
            process.signal_arrived.deregister(waiter);
        }
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: self.number };
        Ok(Attributes::anonymous(Kind::CharacterDevice, id, 0o600))
    }

    fn label(&self) -> String {
        String::from("anon_inode:[signalfd]")
    }

    fn details(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.wanted().0)
    }
}

/// `siginfo_t` as `struct signalfd_siginfo`: the words of the union have names there.
fn describe(info: &SignalInfo) -> SignalFdInfo {
    let [first, second, third, fourth, ..] = info.fields;
    let low = |word: u64| word as u32;
    let high = |word: u64| (word >> 32) as u32;
    let signal = info.signo as u8;
    let common = SignalFdInfo {
        signo: info.signo.cast_unsigned(),
        errno: info.errno,
        code: info.code,
        ..SignalFdInfo::default()
    };
    match (signal, info.code) {
        (_, code::TIMER) => SignalFdInfo {
            tid: low(first),
            overrun: high(first),
            int: low(second).cast_signed(),
            ptr: second,
            ..common
        },
        (SIGCHLD, 1..=6) => SignalFdInfo {
            pid: low(first),
            uid: high(first),
            status: low(second).cast_signed(),
            utime: third,
            stime: fourth,
            ..common
        },
        (SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP, 1..code::KERNEL) => {
            SignalFdInfo { addr: first, ..common }
        }
        _ => SignalFdInfo {
            pid: low(first),
            uid: high(first),
            int: low(second).cast_signed(),
            ptr: second,
            ..common
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(signal: u8, code: i32, fields: [u64; 2]) -> SignalInfo {
        let mut info = SignalInfo { signo: i32::from(signal), code, ..SignalInfo::default() };
        info.fields[..2].copy_from_slice(&fields);
        info
    }

    #[test]
    fn senders_and_children_are_described() {
        let user = describe(&info(10, code::USER, [7 | 1000 << 32, 0]));
        assert_eq!((user.signo, user.pid, user.uid), (10, 7, 1000));
        let child = describe(&info(SIGCHLD, code::CHILD_EXITED, [9, 3]));
        assert_eq!((child.pid, child.status), (9, 3));
    }

    #[test]
    fn timers_and_faults_are_described() {
        let timer = describe(&info(14, code::TIMER, [1 | 2 << 32, 99]));
        assert_eq!((timer.tid, timer.overrun, timer.int, timer.ptr), (1, 2, 99, 99));
        let fault = describe(&info(SIGSEGV, code::UNMAPPED, [0x1000, 0]));
        assert_eq!((fault.addr, fault.pid), (0x1000, 0));
    }
}
