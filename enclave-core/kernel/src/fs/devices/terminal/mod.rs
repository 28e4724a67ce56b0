// SPDX-License-Identifier: MIT
//! Terminals (`tty(4)`): the console where the host has one, and pseudo-terminals.
//!
//! A [`Terminal`] is the side that programs read and write as a terminal; what is behind it is a
//! pseudo-terminal's master ([`pty`]) or the console of the host. Bytes go through the
//! [`discipline`] both ways. [`jobs`] has sessions and foreground groups, [`control`] the `ioctl`s.

mod control;
mod discipline;
mod jobs;
mod pty;
mod pty_fs;

pub(crate) use jobs::Terminals;
pub(super) use pty::{open_master, open_slave};
pub(crate) use pty_fs::pseudo_terminals;

use super::console::Console;
use crate::fs::{Attributes, File, InodeId, Kind, OpenFile, OpenFlags, Ready};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::signal::{self, SIGTTIN, SIGTTOU, SIGWINCH};
use crate::sync::{WaitQueue, Waiter};
use crate::task::{Call, Thread};
use crate::user::{Sink, Source};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use discipline::{Discipline, Effects};
use spin::Mutex;
use strongroom_abi::{Errno, WindowSize};

/// Bytes that a master has not read yet; then writers wait.
const SCREEN_MAX: usize = 64 * 1024;
/// Bytes treated at once.
const STEP: usize = 4096;

/// What is behind a terminal.
enum Behind {
    Console(Arc<Console>),
    /// A master with this number.
    Master(u32),
}

struct State {
    discipline: Discipline,
    size: WindowSize,
    /// The session whose controlling terminal it is, and the group in its foreground; 0 for none.
    session: u32,
    foreground: u32,
    last_input_ns: u64,
    /// Nothing more will be typed: the host's input has ended.
    ended: bool,
    /// Rises when all open files are cut off.
    generation: u32,
    /// Bytes for the master.
    screen: VecDeque<u8>,
    master: Master,
}

/// What a terminal knows about its master.
struct Master {
    gone: bool,
    /// Slaves cannot be opened yet (`unlockpt(3)`).
    locked: bool,
    slaves: usize,
    /// The last slave was closed, and none was opened since.
    deserted: bool,
    owner: pty_fs::Owner,
}

/// See the module's text.
pub(crate) struct Terminal {
    kernel: &'static Kernel,
    device: u64,
    behind: Behind,
    state: Mutex<State>,
    /// Woken when something can be read.
    input: WaitQueue,
    /// Woken when there is room to write.
    output: WaitQueue,
    /// Woken when the master can read or write.
    outside: WaitQueue,
}

impl Terminal {
    fn new(
        kernel: &'static Kernel,
        device: u64,
        behind: Behind,
        owner: pty_fs::Owner,
    ) -> Arc<Self> {
        let queue = || WaitQueue::new(kernel.scheduler);
        let master = Master { gone: false, locked: true, slaves: 0, deserted: false, owner };
        let state = State {
            discipline: Discipline::new(),
            size: WindowSize::default(),
            session: 0,
            foreground: 0,
            last_input_ns: 0,
            ended: false,
            generation: 0,
            screen: VecDeque::new(),
            master,
        };
        Arc::new(Self {
            kernel,
            device,
            behind,
            state: Mutex::new(state),
            input: queue(),
            output: queue(),
            outside: queue(),
        })
    }

    /// The terminal of the host's console.
    pub(super) fn on_console(
        kernel: &'static Kernel,
        device: u64,
        console: &Arc<Console>,
        size: WindowSize,
    ) -> Arc<Self> {
        let behind = Behind::Console(Arc::clone(console));
        let terminal = Self::new(kernel, device, behind, pty_fs::Owner::default());
        terminal.state.lock().size = size;
        terminal
    }

    /// Opens it.
    pub(super) fn open(self: &Arc<Self>) -> Arc<dyn File> {
        let mut state = self.state.lock();
        state.master.slaves += 1;
        state.master.deserted = false;
        let generation = state.generation;
        drop(state);
        Arc::new(TerminalFile { terminal: Arc::clone(self), generation })
    }

    /// Sets the window's size and tells the foreground group of a change.
    pub(super) fn resize(&self, size: WindowSize) {
        let group = {
            let mut state = self.state.lock();
            if state.size == size {
                return;
            }
            state.size = size;
            state.foreground
        };
        self.signal_group(group, SIGWINCH);
    }

    /// Sends the foreground group a signal; false when there is none.
    pub(super) fn signal_foreground(&self, number: u8) -> bool {
        let group = self.state.lock().foreground;
        self.signal_group(group, number)
    }

    fn signal_group(&self, group: u32, number: u8) -> bool {
        group != 0 && signal::send_to_group(self.kernel, group, signal::info_kernel(number)) > 0
    }

    /// Nothing more will be typed.
    pub(super) fn end_input(&self) {
        self.state.lock().ended = true;
        self.wake();
    }

    /// Bytes that can be typed now.
    fn room(&self) -> usize {
        self.state.lock().discipline.room()
    }

    /// Bytes are typed; returns how many were taken.
    pub(super) fn type_in(&self, bytes: &[u8]) -> usize {
        let mut effects = Effects::default();
        let (count, group) = {
            let mut state = self.state.lock();
            let mut count = 0;
            for byte in bytes {
                if state.discipline.room() == 0 {
                    break;
                }
                state.discipline.typed(*byte, &mut effects);
                count += 1;
            }
            state.last_input_ns = self.kernel.now_ns();
            if effects.flush_output {
                state.screen.clear();
            }
            self.show(&mut state, &effects.echo);
            (count, state.foreground)
        };
        self.wake();
        for number in effects.signals {
            self.signal_group(group, number);
        }
        count
    }

    /// Puts bytes on the screen that were treated already.
    fn show(&self, state: &mut State, bytes: &[u8]) {
        match &self.behind {
            Behind::Console(console) => console.show(bytes),
            // Echo comes on top of what writers may put there, up to as much again.
            Behind::Master(_) => {
                let room = (2 * SCREEN_MAX).saturating_sub(state.screen.len());
                state.screen.extend(bytes.iter().take(room));
            }
        }
    }

    fn wake(&self) {
        self.input.wake();
        self.output.wake();
        self.outside.wake();
    }

    fn read(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        generation: u32,
        to: &mut Sink<'_>,
    ) -> SysResult {
        self.check_background(call, SIGTTIN)?;
        if to.room() == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.generation != generation {
            return Ok(0);
        }
        let bytes = match state.discipline.peek(to.room()) {
            Some(bytes) if is_enough(call, open, &state, &bytes, to.room()) => bytes,
            Some(bytes) if state.ended => bytes,
            None if state.ended => return Ok(0),
            Some(_) | None => return call.block_on(open, &self.input),
        };
        let count = to.put(&bytes)?;
        state.discipline.consume(count);
        drop(state);
        self.outside.wake();
        if let Behind::Console(console) = &self.behind {
            console.feed();
        }
        Ok(count)
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        generation: u32,
        from: &mut Source<'_>,
    ) -> SysResult {
        if self.state.lock().discipline.stops_writers() {
            self.check_background(call, SIGTTOU)?;
        }
        let total = from.left();
        from.skip(call.progress.done);
        let mut state = self.state.lock();
        loop {
            if state.generation != generation {
                return Err(Errno::EIO.into());
            }
            if from.left() == 0 {
                return Ok(total);
            }
            let room = match &self.behind {
                Behind::Console(console) => console.room(&call.waiter()),
                Behind::Master(_) => state.screen.len() < SCREEN_MAX,
            };
            if state.discipline.stopped || !room {
                if open.nonblocking() && call.progress.done > 0 {
                    return Ok(call.progress.done);
                }
                return call.block_on(open, &self.output);
            }
            let bytes = from.take_vec(STEP)?;
            let mut screen = Vec::new();
            state.discipline.print(&bytes, &mut screen);
            self.show(&mut state, &screen);
            call.progress.done += bytes.len();
            self.outside.wake();
        }
    }

    fn poll(&self, generation: u32, waiter: Option<&Waiter>) -> Ready {
        let state = self.state.lock();
        if let Some(waiter) = waiter {
            self.input.register(waiter);
            self.output.register(waiter);
        }
        if state.generation != generation {
            return Ready::READ | Ready::WRITE | Ready::ERROR | Ready::HANGUP;
        }
        Ready::READ.when(state.discipline.is_readable() || state.ended)
            | Ready::WRITE.when(!state.discipline.stopped && state.screen.len() < SCREEN_MAX)
    }
}

/// Whether a read returns with these bytes (`VMIN` and `VTIME` of `termios(3)`); sets its
/// deadline where not.
fn is_enough(
    call: &mut Call<'_>,
    open: &OpenFile,
    state: &State,
    bytes: &[u8],
    wanted: usize,
) -> bool {
    if state.discipline.is_canonical() {
        return true;
    }
    let (least, time_ns) = (state.discipline.least(wanted), state.discipline.time_ns());
    if bytes.is_empty() {
        if least > 0 {
            return false;
        }
        call.set_timeout(time_ns);
        return time_ns == 0 || call.timed_out();
    }
    if bytes.len() >= least || open.nonblocking() {
        return true;
    }
    // The clock between two characters runs from the last one.
    call.progress.deadline_ns = (time_ns > 0).then(|| state.last_input_ns.saturating_add(time_ns));
    call.timed_out()
}

/// An open terminal.
struct TerminalFile {
    terminal: Arc<Terminal>,
    /// The terminal's when it was opened; cut off when that has risen.
    generation: u32,
}

impl File for TerminalFile {
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
        self.terminal.read(call, open, self.generation, to)
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        self.terminal.write(call, open, self.generation, from)
    }

    fn poll(&self, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        self.terminal.poll(self.generation, waiter)
    }

    fn forget(&self, waiter: &Waiter) {
        self.terminal.input.deregister(waiter);
        self.terminal.output.deregister(waiter);
    }

    fn ioctl(
        &self,
        call: &mut Call<'_>,
        _open: &OpenFile,
        request: u32,
        argument: usize,
    ) -> SysResult {
        if self.terminal.state.lock().generation != self.generation {
            return Err(Errno::EIO.into());
        }
        self.terminal.control(call, request, argument, false)
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: self.terminal.device };
        let mut attributes = Attributes::anonymous(Kind::CharacterDevice, id, 0o620);
        attributes.device = self.terminal.device;
        Ok(attributes)
    }

    fn label(&self) -> String {
        String::from("/dev/console")
    }
}

impl Drop for TerminalFile {
    fn drop(&mut self) {
        let mut state = self.terminal.state.lock();
        if state.generation != self.generation {
            return;
        }
        state.master.slaves = state.master.slaves.saturating_sub(1);
        state.master.deserted = state.master.slaves == 0;
        drop(state);
        self.terminal.outside.wake();
    }
}

/// Opens the terminal of a process's session (`/dev/tty`).
pub(super) fn open_controlling(call: &Call<'_>) -> SysResult<Arc<dyn File>> {
    let session = call.thread.process.session();
    let terminal = call.kernel.terminals.controlling(session).ok_or(Errno::ENXIO)?;
    Ok(terminal.open())
}

/// A session leader without a terminal gets the one it opens, unless it asks not to.
fn adopt_on_open(call: &Call<'_>, terminal: &Arc<Terminal>, flags: OpenFlags) {
    let process = &call.thread.process;
    let free = terminal.state.lock().session == 0;
    if free
        && !flags.contains(OpenFlags::NO_TERMINAL)
        && process.session() == process.pid
        && call.kernel.terminals.controlling(process.pid).is_none()
    {
        call.kernel.terminals.adopt(process, terminal);
    }
}
