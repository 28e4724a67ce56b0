// SPDX-License-Identifier: MIT
//! Pseudo-terminals (`pty(7)`): the master's side, and how both are opened.

use super::{Behind, SCREEN_MAX, STEP, Terminal, adopt_on_open, pty_fs};
use crate::fs::{Attributes, File, InodeId, Kind, OpenFile, OpenFlags, Ready, device_number};
use crate::outcome::SysResult;
use crate::signal::{self, SIGCONT, SIGHUP};
use crate::sync::Waiter;
use crate::task::{Call, Limits, Thread};
use crate::user::{FromArgument as _, Sink, Source, UserPtr};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use strongroom_abi::Errno;

const TIOCPKT: u32 = 0x5420;
const TIOCGPTN: u32 = 0x8004_5430;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCGPTLCK: u32 = 0x8004_5439;
const TIOCGPTPEER: u32 = 0x5441;

/// Major device number of slaves (`UNIX98_PTY_SLAVE_MAJOR`).
pub(super) const SLAVE_MAJOR: u32 = 136;

/// The open master of a pseudo-terminal.
struct MasterFile {
    terminal: Arc<Terminal>,
    number: u32,
}

/// Opens `/dev/ptmx`: makes a pseudo-terminal.
pub(in crate::fs::devices) fn open_master(call: &Call<'_>) -> SysResult<Arc<dyn File>> {
    let kernel = call.kernel;
    let owner = {
        let credentials = call.thread.process.credentials.lock();
        pty_fs::Owner::new(credentials.euid, kernel.wall_ns())
    };
    let mut made = 0;
    let terminal = kernel.terminals.number(|number| {
        made = number;
        let device = device_number(SLAVE_MAJOR, number);
        Terminal::new(kernel, device, Behind::Master(number), owner)
    })?;
    Ok(Arc::new(MasterFile { terminal, number: made }))
}

/// Opens the slave with a number.
pub(in crate::fs::devices) fn open_slave(
    call: &Call<'_>,
    number: u32,
    flags: OpenFlags,
) -> SysResult<Arc<dyn File>> {
    let terminal = call.kernel.terminals.by_number(number).ok_or(Errno::ENXIO)?;
    {
        let state = terminal.state.lock();
        if state.master.locked || state.master.gone {
            return Err(Errno::EIO.into());
        }
    }
    let file = terminal.open();
    adopt_on_open(call, &terminal, flags);
    Ok(file)
}

impl MasterFile {
    /// `TIOCGPTPEER`: a descriptor of the slave, without a path.
    fn open_peer(&self, call: &Call<'_>, argument: usize) -> SysResult {
        let flags = OpenFlags::from_argument(argument)?;
        let file = self.terminal.open();
        let place = pty_fs::place_of(call.kernel, self.number);
        let open = OpenFile::new(call.kernel, file, place, flags);
        adopt_on_open(call, &self.terminal, flags);
        let limit = call.thread.process.limits.lock().soft(Limits::NOFILE);
        Ok(call.files.insert(open, flags.contains(OpenFlags::CLOSE_ON_EXEC), 0, limit)?)
    }
}

impl File for MasterFile {
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
        if to.room() == 0 {
            return Ok(0);
        }
        let mut state = self.terminal.state.lock();
        if state.screen.is_empty() {
            return if state.master.deserted {
                Err(Errno::EIO.into())
            } else {
                call.block_on(open, &self.terminal.outside)
            };
        }
        let bytes: Vec<u8> = state.screen.iter().copied().take(to.room()).collect();
        let count = to.put(&bytes)?;
        state.screen.drain(..count);
        drop(state);
        self.terminal.output.wake();
        Ok(count)
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        let total = from.left();
        from.skip(call.progress.done);
        while from.left() > 0 {
            let room = self.terminal.room();
            if room == 0 {
                if open.nonblocking() && call.progress.done > 0 {
                    return Ok(call.progress.done);
                }
                return call.block_on(open, &self.terminal.outside);
            }
            let bytes = from.take_vec(room.min(STEP))?;
            let count = self.terminal.type_in(&bytes);
            call.progress.done += count;
            if count < bytes.len() {
                return call.block_on(open, &self.terminal.outside);
            }
        }
        Ok(total)
    }

    fn poll(&self, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        let state = self.terminal.state.lock();
        if let Some(waiter) = waiter {
            self.terminal.outside.register(waiter);
        }
        Ready::READ.when(!state.screen.is_empty())
            | Ready::WRITE.when(state.discipline.room() > 0)
            | Ready::HANGUP.when(state.master.deserted)
    }

    fn forget(&self, waiter: &Waiter) {
        self.terminal.outside.deregister(waiter);
    }

    fn ioctl(
        &self,
        call: &mut Call<'_>,
        _open: &OpenFile,
        request: u32,
        argument: usize,
    ) -> SysResult {
        let word = UserPtr::<u32>::at(argument);
        match request {
            TIOCGPTN => word.write(call.memory, &self.number)?,
            TIOCSPTLCK => {
                let locked = word.read(call.memory)? != 0;
                self.terminal.state.lock().master.locked = locked;
            }
            TIOCGPTLCK => {
                let locked = u32::from(self.terminal.state.lock().master.locked);
                word.write(call.memory, &locked)?;
            }
            TIOCGPTPEER => return self.open_peer(call, argument),
            TIOCPKT => {
                if word.read(call.memory)? != 0 {
                    return Err(Errno::EINVAL.into());
                }
            }
            _ => return self.terminal.control(call, request, argument, true),
        }
        Ok(0)
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: device_number(5, 2) };
        let mut attributes = Attributes::anonymous(Kind::CharacterDevice, id, 0o666);
        attributes.device = device_number(5, 2);
        Ok(attributes)
    }

    fn label(&self) -> String {
        String::from("/dev/ptmx")
    }
}

impl Drop for MasterFile {
    /// The line is cut: whoever uses the terminal is hung up.
    fn drop(&mut self) {
        let terminal = &self.terminal;
        terminal.kernel.terminals.forget(self.number);
        let session = {
            let mut state = terminal.state.lock();
            state.master.gone = true;
            state.screen.clear();
            state.session
        };
        terminal.cut_off();
        if session == 0 {
            return;
        }
        let released = terminal.kernel.terminals.release(session);
        let group = released.map_or(0, |(_, group)| group);
        if let Some(leader) = terminal.kernel.processes.find(session)
            && leader.group() != group
        {
            for number in [SIGHUP, SIGCONT] {
                signal::send_to_process(&leader, signal::info_kernel(number));
            }
        }
        terminal.hang_up_group(group);
    }
}

const _: () = assert!(STEP <= SCREEN_MAX, "a step of output fits an empty screen");
