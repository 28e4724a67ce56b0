// SPDX-License-Identifier: MIT
//! Signals: numbers and sets, dispositions, what is pending, sending and acting (`signal(7)`).

mod deliver;
mod send;
mod timers;

pub(crate) use deliver::{
    Settled, deliver, is_on, is_pending, next_pending, reported_stack, return_from_handler, settle,
    stack_overflow, take,
};
pub(crate) use send::{force, forget_ignored, send_to_group, send_to_process, send_to_thread};
pub(crate) use timers::{IntervalTimer, ProcessTimers, TimerTarget};

use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;
use strongroom_abi::{SignalInfo, SignalStack};

pub(crate) const SIGHUP: u8 = 1;
pub(crate) const SIGINT: u8 = 2;
pub(crate) const SIGQUIT: u8 = 3;
pub(crate) const SIGILL: u8 = 4;
pub(crate) const SIGTRAP: u8 = 5;
pub(crate) const SIGBUS: u8 = 7;
pub(crate) const SIGFPE: u8 = 8;
pub(crate) const SIGKILL: u8 = 9;
pub(crate) const SIGSEGV: u8 = 11;
pub(crate) const SIGPIPE: u8 = 13;
pub(crate) const SIGALRM: u8 = 14;
pub(crate) const SIGCHLD: u8 = 17;
pub(crate) const SIGCONT: u8 = 18;
pub(crate) const SIGSTOP: u8 = 19;
pub(crate) const SIGTSTP: u8 = 20;
pub(crate) const SIGTTIN: u8 = 21;
pub(crate) const SIGTTOU: u8 = 22;
pub(crate) const SIGURG: u8 = 23;
pub(crate) const SIGVTALRM: u8 = 26;
pub(crate) const SIGPROF: u8 = 27;
pub(crate) const SIGWINCH: u8 = 28;
/// The first real-time signal: from here on every instance is queued.
const SIGRTMIN: u8 = 32;
/// The highest number.
pub(crate) const SIGNAL_MAX: u8 = 64;

/// `si_code` values.
pub(crate) mod code {
    pub(crate) const USER: i32 = 0;
    pub(crate) const KERNEL: i32 = 0x80;
    pub(crate) const TIMER: i32 = -2;
    pub(crate) const TKILL: i32 = -6;
    pub(crate) const CHILD_EXITED: i32 = 1;
    pub(crate) const CHILD_KILLED: i32 = 2;
    pub(crate) const CHILD_STOPPED: i32 = 5;
    pub(crate) const CHILD_CONTINUED: i32 = 6;
    pub(crate) const UNMAPPED: i32 = 1;
    pub(crate) const FORBIDDEN: i32 = 2;
    pub(crate) const NO_DATA: i32 = 2;
    pub(crate) const MISALIGNED: i32 = 1;
    pub(crate) const INTEGER_DIVIDE: i32 = 1;
    pub(crate) const ILLEGAL_OPERAND: i32 = 2;
    pub(crate) const TRACE: i32 = 2;
}

/// A set of signals; bit `n - 1` is signal `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SignalSet(pub(crate) u64);

impl SignalSet {
    /// What can never be blocked.
    pub(crate) const UNBLOCKABLE: Self = Self::of(SIGKILL).with(SIGSTOP);
    const STOPPING: Self = Self::of(SIGSTOP).with(SIGTSTP).with(SIGTTIN).with(SIGTTOU);
    const IGNORED_BY_DEFAULT: Self = Self::of(SIGCHLD).with(SIGCONT).with(SIGURG).with(SIGWINCH);
    /// Signals caused by an instruction, which are acted upon before others.
    const SYNCHRONOUS: Self =
        Self::of(SIGSEGV).with(SIGBUS).with(SIGILL).with(SIGTRAP).with(SIGFPE);

    /// The set of one signal.
    pub(crate) const fn of(signal: u8) -> Self {
        Self(1u64.wrapping_shl(signal.wrapping_sub(1) as u32))
    }

    /// With another signal.
    pub(crate) const fn with(self, signal: u8) -> Self {
        Self(self.0 | Self::of(signal).0)
    }

    /// Without a signal.
    pub(crate) const fn without(self, signal: u8) -> Self {
        Self(self.0 & !Self::of(signal).0)
    }

    /// Whether a signal is in it.
    pub(crate) const fn has(self, signal: u8) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    /// As a mask: what can never be blocked is left out.
    pub(crate) const fn blockable(self) -> Self {
        Self(self.0 & !Self::UNBLOCKABLE.0)
    }

    /// All others.
    pub(crate) const fn complement(self) -> Self {
        Self(!self.0)
    }

    /// Whether none is in it.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As a mask, changed as `sigprocmask(2)` says; none where `how` is none of its ways.
    pub(crate) const fn changed(self, how: u32, by: u64) -> Option<Self> {
        let set = match how {
            0 => self.0 | by,
            1 => self.0 & !by,
            2 => by,
            _ => return None,
        };
        Some(Self(set).blockable())
    }

    /// The signal that is acted upon first.
    fn first(self) -> Option<u8> {
        let urgent = self.0 & Self::SYNCHRONOUS.0;
        let set = if urgent != 0 { urgent } else { self.0 };
        (set != 0).then(|| set.trailing_zeros() as u8 + 1)
    }
}

/// What a process does about a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Action {
    /// 0 is the default, 1 to ignore it, else the handler's address.
    pub(crate) handler: usize,
    pub(crate) flags: ActionFlags,
    pub(crate) restorer: usize,
    pub(crate) mask: SignalSet,
}

bitflags::bitflags! {
    /// `SA_*` of `sigaction(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct ActionFlags: u64 {
        const NO_CHILD_STOP = 1;
        const NO_CHILD_WAIT = 2;
        const INFO = 4;
        const RESTORER = 0x0400_0000;
        const ON_STACK = 0x0800_0000;
        const RESTART = 0x1000_0000;
        const NO_DEFER = 0x4000_0000;
        const RESET_HAND = 0x8000_0000;
        const _ = !0;
    }
}

impl Action {
    pub(crate) const DEFAULT: usize = 0;
    pub(crate) const IGNORE: usize = 1;

    /// Whether the signal has no effect.
    fn ignores(self, signal: u8) -> bool {
        self.handler == Self::IGNORE
            || (self.handler == Self::DEFAULT && SignalSet::IGNORED_BY_DEFAULT.has(signal))
    }

    /// Whether a function of the program is called.
    fn is_handler(self) -> bool {
        self.handler > Self::IGNORE
    }
}

/// Dispositions of a process, shared after `clone(CLONE_SIGHAND)`.
pub(crate) struct Handlers {
    actions: Mutex<[Action; SIGNAL_MAX as usize]>,
}

impl Handlers {
    /// All default.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { actions: Mutex::new([Action::default(); SIGNAL_MAX as usize]) })
    }

    /// A copy for `fork`.
    pub(crate) fn duplicate(&self) -> Arc<Self> {
        Arc::new(Self { actions: Mutex::new(*self.actions.lock()) })
    }

    /// What is done about a signal.
    pub(crate) fn action(&self, signal: u8) -> Action {
        let actions = self.actions.lock();
        actions.get(usize::from(signal).wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// Changes what is done about a signal.
    pub(crate) fn set_action(&self, signal: u8, action: Action) {
        if let Some(slot) = self.actions.lock().get_mut(usize::from(signal).wrapping_sub(1)) {
            *slot = action;
        }
    }

    /// For `execve`: handlers become default, ignored stays ignored.
    pub(crate) fn reset_for_exec(&self) {
        for action in self.actions.lock().iter_mut() {
            let handler = if action.is_handler() { Action::DEFAULT } else { action.handler };
            *action = Action { handler, ..Action::default() };
        }
    }
}

/// Signals that have been sent and not acted upon.
#[derive(Default)]
pub(crate) struct Pending {
    set: SignalSet,
    queue: Vec<SignalInfo>,
}

/// Most queued instances of real-time signals for one process or thread.
const QUEUE_MAX: usize = 4096;

impl Pending {
    /// The numbers.
    pub(crate) const fn set(&self) -> SignalSet {
        self.set
    }

    /// Adds an instance; a standard signal that is pending already stays as it is.
    pub(crate) fn add(&mut self, info: SignalInfo) {
        // A number that is none would name another signal in the set, and never be found.
        let Some(signal @ 1..=SIGNAL_MAX) = u8::try_from(info.signo).ok() else { return };
        // A full queue keeps no standard signal out: `SIGKILL` has to get through.
        let full =
            if signal < SIGRTMIN { self.set.has(signal) } else { self.queue.len() >= QUEUE_MAX };
        if full {
            return;
        }
        self.set = self.set.with(signal);
        self.queue.push(info);
    }

    /// Adds to the overruns of a timer's signal (`timer_create(2)`) that still waits; whether
    /// there is one.
    fn add_overruns(&mut self, signal: u8, id: u32, overruns: u32) -> bool {
        let waiting = self.queue.iter_mut().find(|info| {
            info.signo == i32::from(signal)
                && info.code == code::TIMER
                && info.fields.first().is_some_and(|field| *field as u32 == id)
        });
        let Some([field, ..]) = waiting.map(|info| &mut info.fields) else { return false };
        let total = ((*field >> 32) as u32).saturating_add(overruns);
        *field = u64::from(id) | u64::from(total) << 32;
        true
    }

    /// Takes the first signal of a set.
    pub(crate) fn take(&mut self, wanted: SignalSet) -> Option<SignalInfo> {
        let signal = SignalSet(self.set.0 & wanted.0).first()?;
        let position = self.queue.iter().position(|info| info.signo == i32::from(signal))?;
        let info = self.queue.remove(position);
        if !self.queue.iter().any(|other| other.signo == info.signo) {
            self.set = self.set.without(signal);
        }
        Some(info)
    }

    /// Drops all instances of a set.
    fn drop_all(&mut self, unwanted: SignalSet) {
        self.set.0 &= !unwanted.0;
        self.queue.retain(|info| !unwanted.has(info.signo as u8));
    }
}

/// The part of signal state that belongs to a thread.
#[derive(Default)]
pub(crate) struct ThreadSignals {
    pub(crate) mask: SignalSet,
    pub(crate) pending: Pending,
    /// The mask to return to after a handler, where a call has replaced it while it waits.
    pub(crate) saved_mask: Option<SignalSet>,
    pub(crate) stack: SignalStack,
}

impl ThreadSignals {
    /// No alternate stack, this mask.
    pub(crate) fn with_mask(mask: SignalSet) -> Self {
        let stack = SignalStack { flags: STACK_DISABLED, ..SignalStack::default() };
        Self { mask, stack, ..Self::default() }
    }
}

/// `SS_ONSTACK`.
pub(crate) const STACK_IN_USE: i32 = 1;
/// `SS_DISABLE`.
pub(crate) const STACK_DISABLED: i32 = 2;
/// `SS_AUTODISARM`.
pub(crate) const STACK_AUTO_DISARM: i32 = i32::MIN;

/// A signal sent by `kill(2)` and its like.
pub(crate) fn info_from(signal: u8, code: i32, pid: u32, uid: u32) -> SignalInfo {
    let mut info = SignalInfo { signo: i32::from(signal), code, ..SignalInfo::default() };
    info.fields[0] = u64::from(pid) | u64::from(uid) << 32;
    info
}

/// A signal about an address.
pub(crate) fn info_at(signal: u8, code: i32, address: usize) -> SignalInfo {
    let mut info = SignalInfo { signo: i32::from(signal), code, ..SignalInfo::default() };
    info.fields[0] = address as u64;
    info
}

/// A signal from the kernel.
pub(crate) fn info_kernel(signal: u8) -> SignalInfo {
    info_from(signal, code::KERNEL, 0, 0)
}

#[cfg(test)]
mod tests;
