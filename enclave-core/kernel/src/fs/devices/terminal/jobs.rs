// SPDX-License-Identifier: MIT
//! Sessions and their terminals, foreground and background (`credentials(7)`, `tcsetpgrp(3)`).

use super::{Behind, Terminal};
use crate::kernel::Kernel;
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::signal::{Action, SIGCONT, SIGHUP, SIGTTIN};
use crate::task::{Call, Process};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use spin::Mutex;
use strongroom_abi::Errno;

/// Most pseudo-terminals at once.
const MASTERS_MAX: u32 = 4096;

/// All terminals of the kernel that somebody can find.
#[derive(Default)]
pub(crate) struct Terminals {
    /// Controlling terminals by session.
    sessions: Mutex<BTreeMap<u32, Arc<Terminal>>>,
    /// Pseudo-terminals by number.
    masters: Mutex<BTreeMap<u32, Weak<Terminal>>>,
}

impl Terminals {
    /// The controlling terminal of a session.
    pub(crate) fn controlling(&self, session: u32) -> Option<Arc<Terminal>> {
        self.sessions.lock().get(&session).cloned()
    }

    /// Device number and foreground group of a session's terminal, as `/proc/PID/stat` has them.
    pub(crate) fn of_session(&self, session: u32) -> (u64, i64) {
        self.controlling(session).map_or((0, -1), |terminal| {
            let foreground = terminal.state.lock().foreground;
            (terminal.device, i64::from(foreground))
        })
    }

    /// Makes a terminal the controlling one of a leader's session, and its group the foreground.
    pub(crate) fn adopt(&self, leader: &Process, terminal: &Arc<Terminal>) {
        let session = leader.session();
        let former = {
            let mut state = terminal.state.lock();
            state.foreground = leader.group();
            core::mem::replace(&mut state.session, session)
        };
        let mut sessions = self.sessions.lock();
        sessions.remove(&former);
        sessions.insert(session, Arc::clone(terminal));
    }

    /// Takes a session's terminal away; returns it and the group that was in its foreground.
    pub(super) fn release(&self, session: u32) -> Option<(Arc<Terminal>, u32)> {
        let terminal = self.sessions.lock().remove(&session)?;
        let mut state = terminal.state.lock();
        state.session = 0;
        let group = core::mem::take(&mut state.foreground);
        drop(state);
        Some((terminal, group))
    }

    /// Gives a new pseudo-terminal the lowest free number.
    pub(super) fn number(
        &self,
        make: impl FnOnce(u32) -> Arc<Terminal>,
    ) -> Result<Arc<Terminal>, Errno> {
        let mut masters = self.masters.lock();
        let number = (0..MASTERS_MAX).find(|number| !masters.contains_key(number));
        let number = number.ok_or(Errno::ENOSPC)?;
        let terminal = make(number);
        masters.insert(number, Arc::downgrade(&terminal));
        Ok(terminal)
    }

    /// A pseudo-terminal by number.
    pub(super) fn by_number(&self, number: u32) -> Option<Arc<Terminal>> {
        self.masters.lock().get(&number)?.upgrade()
    }

    /// The numbers in use.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.masters.lock().keys().copied().collect()
    }

    /// A master was closed.
    pub(super) fn forget(&self, number: u32) {
        self.masters.lock().remove(&number);
    }
}

impl Kernel {
    /// A session leader ends: its terminal is released and hung up, and the foreground group told.
    pub(crate) fn leave_terminal(&self, leader: &Process) {
        let Some((terminal, group)) = self.terminals.release(leader.session()) else { return };
        if let Behind::Master(_) = terminal.behind {
            terminal.cut_off();
        }
        terminal.hang_up_group(group);
    }
}

impl Terminal {
    /// Cuts all open files off: reads give the end of file, writes fail.
    pub(super) fn cut_off(&self) {
        let mut state = self.state.lock();
        state.generation = state.generation.wrapping_add(1);
        state.master.slaves = 0;
        state.master.deserted = true;
        state.discipline.flush_input();
        drop(state);
        self.wake();
    }

    /// Tells a group that its terminal is gone.
    pub(super) fn hang_up_group(&self, group: u32) {
        for number in [SIGHUP, SIGCONT] {
            self.signal_group(group, number);
        }
    }

    /// Whether it is the controlling terminal of a process.
    pub(super) fn controls(&self, process: &Process) -> bool {
        let session = self.state.lock().session;
        session != 0 && session == process.session()
    }

    /// Stops the group of a caller in the background with `number` (`SIGTTIN` or `SIGTTOU`), as
    /// job control demands; the call is attempted again when it continues.
    pub(super) fn check_background(&self, call: &Call<'_>, number: u8) -> SysResult<()> {
        let process = &call.thread.process;
        let foreground = self.state.lock().foreground;
        let group = process.group();
        if foreground == 0 || foreground == group || !self.controls(process) {
            return Ok(());
        }
        let ignored = process.handlers.action(number).handler == Action::IGNORE;
        if ignored || call.thread.signals.lock().mask.has(number) {
            return if number == SIGTTIN { Err(Errno::EIO.into()) } else { Ok(()) };
        }
        if is_orphaned(call.kernel, group) {
            return Err(Errno::EIO.into());
        }
        // Attempted again with a handler about to run: the signal was sent already.
        if !call.progress.interrupted {
            self.signal_group(group, number);
        }
        Err(Stop::Sleep(Interrupt::Restart))
    }

    /// `TIOCSPGRP`.
    pub(super) fn set_foreground(&self, process: &Process, group: u32) -> SysResult {
        if !self.controls(process) {
            return Err(Errno::ENOTTY.into());
        }
        if group.cast_signed() < 0 {
            return Err(Errno::EINVAL.into());
        }
        let members = process.kernel.processes.in_group(group);
        let Some(member) = members.first() else { return Err(Errno::ESRCH.into()) };
        if member.session() != process.session() {
            return Err(Errno::EPERM.into());
        }
        self.state.lock().foreground = group;
        Ok(0)
    }

    /// `TIOCSCTTY`.
    pub(super) fn take_control(self: &Arc<Self>, call: &Call<'_>, steal: bool) -> SysResult {
        let process = &call.thread.process;
        let leads = process.session() == process.pid;
        if leads && self.controls(process) {
            return Ok(0);
        }
        if !leads || call.kernel.terminals.controlling(process.pid).is_some() {
            return Err(Errno::EPERM.into());
        }
        let taken = self.state.lock().session != 0;
        if taken && !(steal && process.credentials.lock().is_root()) {
            return Err(Errno::EPERM.into());
        }
        call.kernel.terminals.adopt(process, self);
        Ok(0)
    }

    /// `TIOCNOTTY`: a leader gives the terminal up for its whole session.
    pub(super) fn give_up_control(&self, call: &Call<'_>) -> SysResult {
        let process = &call.thread.process;
        if !self.controls(process) {
            return Err(Errno::ENOTTY.into());
        }
        if process.session() == process.pid
            && let Some((terminal, group)) = call.kernel.terminals.release(process.pid)
        {
            terminal.hang_up_group(group);
        }
        Ok(0)
    }
}

/// Whether nobody in the session could continue a group that stops.
fn is_orphaned(kernel: &Kernel, group: u32) -> bool {
    !kernel.processes.in_group(group).iter().any(|member| {
        member
            .parent()
            .is_some_and(|parent| parent.group() != group && parent.session() == member.session())
    })
}
