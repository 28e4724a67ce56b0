// SPDX-License-Identifier: MIT
//! `ioctl_tty(2)`: what terminals and masters have in common.

use super::{Behind, Terminal};
use crate::outcome::SysResult;
use crate::signal::SIGTTOU;
use crate::task::Call;
use crate::user::UserPtr;
use alloc::sync::Arc;
use strongroom_abi::{Errno, Termios, WindowSize};

const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSW: u32 = 0x5403;
const TCSETSF: u32 = 0x5404;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCEXCL: u32 = 0x540c;
const TIOCNXCL: u32 = 0x540d;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCOUTQ: u32 = 0x5411;
const TIOCSTI: u32 = 0x5412;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const TIOCINQ: u32 = 0x541b;
const TIOCNOTTY: u32 = 0x5422;
const TIOCSETD: u32 = 0x5423;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TIOCGSID: u32 = 0x5429;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;

/// The speed that every terminal pretends, in baud.
const SPEED: u32 = 38_400;

impl Terminal {
    /// Carries an `ioctl` out; `outside` for one on the master.
    pub(super) fn control(
        self: &Arc<Self>,
        call: &mut Call<'_>,
        request: u32,
        argument: usize,
        outside: bool,
    ) -> SysResult {
        match request {
            TCGETS | TCGETS2 => self.settings(call, request, argument),
            TCSETS | TCSETSW | TCSETSF | TCSETS2 | TCSETSW2 | TCSETSF2 => {
                self.change_settings(call, request, argument)
            }
            TIOCGWINSZ => {
                let size = self.state.lock().size;
                UserPtr::<WindowSize>::at(argument).write(call.memory, &size)?;
                Ok(0)
            }
            TIOCSWINSZ => {
                let size = UserPtr::<WindowSize>::at(argument).read(call.memory)?;
                self.resize(size);
                Ok(0)
            }
            TIOCGPGRP | TIOCGSID => self.group_or_session(call, request, argument, outside),
            TIOCSPGRP => {
                self.check_background(call, SIGTTOU)?;
                let group = UserPtr::<i32>::at(argument).read(call.memory)?;
                let group = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
                self.set_foreground(&call.thread.process, group)
            }
            TIOCSCTTY if outside => Err(Errno::ENOTTY.into()),
            TIOCSCTTY => self.take_control(call, argument == 1),
            TIOCNOTTY => self.give_up_control(call),
            TIOCINQ | TIOCOUTQ => self.queued(call, request, argument, outside),
            TCFLSH => self.flush(call, argument),
            TCXONC => self.hold(call, argument),
            TCSBRK | TCSBRKP => {
                self.check_background(call, SIGTTOU)?;
                Ok(0)
            }
            TIOCEXCL | TIOCNXCL => Ok(0),
            TIOCGETD => {
                UserPtr::<u32>::at(argument).write(call.memory, &0)?;
                Ok(0)
            }
            TIOCSETD => match UserPtr::<u32>::at(argument).read(call.memory)? {
                0 => Ok(0),
                _ => Err(Errno::EINVAL.into()),
            },
            // Typing on behalf of another is refused, as by Linux without dev.tty.legacy_tiocsti.
            TIOCSTI => Err(Errno::EIO.into()),
            _ => Err(Errno::ENOTTY.into()),
        }
    }

    fn settings(&self, call: &Call<'_>, request: u32, argument: usize) -> SysResult {
        let settings = self.state.lock().discipline.settings();
        let head = UserPtr::<Termios>::at(argument);
        head.write(call.memory, &settings)?;
        if request == TCGETS2 {
            let speeds = UserPtr::<[u32; 2]>::at(head.element(1).address());
            speeds.write(call.memory, &[SPEED; 2])?;
        }
        Ok(0)
    }

    fn change_settings(&self, call: &Call<'_>, request: u32, argument: usize) -> SysResult {
        self.check_background(call, SIGTTOU)?;
        let settings = UserPtr::<Termios>::at(argument).read(call.memory)?;
        let mut state = self.state.lock();
        if matches!(request, TCSETSF | TCSETSF2) {
            state.discipline.flush_input();
        }
        state.discipline.set(settings);
        drop(state);
        self.wake();
        Ok(0)
    }

    fn group_or_session(
        &self,
        call: &Call<'_>,
        request: u32,
        argument: usize,
        outside: bool,
    ) -> SysResult {
        if !outside && !self.controls(&call.thread.process) {
            return Err(Errno::ENOTTY.into());
        }
        let (session, foreground) = {
            let state = self.state.lock();
            (state.session, state.foreground)
        };
        if request == TIOCGSID && session == 0 {
            return Err(Errno::ENOTTY.into());
        }
        let value = if request == TIOCGSID { session } else { foreground };
        UserPtr::<u32>::at(argument).write(call.memory, &value)?;
        Ok(0)
    }

    fn queued(&self, call: &Call<'_>, request: u32, argument: usize, outside: bool) -> SysResult {
        let state = self.state.lock();
        let count = match (request == TIOCINQ, outside) {
            (true, true) | (false, false) => state.screen.len(),
            (true, false) => state.discipline.readable_bytes(),
            (false, true) => 0,
        };
        drop(state);
        UserPtr::<u32>::at(argument).write(call.memory, &(count as u32))?;
        Ok(0)
    }

    /// `tcflush(3)`: 0 input, 1 output, 2 both.
    fn flush(&self, call: &Call<'_>, which: usize) -> SysResult {
        self.check_background(call, SIGTTOU)?;
        if which > 2 {
            return Err(Errno::EINVAL.into());
        }
        let mut state = self.state.lock();
        if which != 1 {
            state.discipline.flush_input();
        }
        if which != 0 {
            state.screen.clear();
        }
        drop(state);
        self.wake();
        if let Behind::Console(console) = &self.behind {
            console.feed();
        }
        Ok(0)
    }

    /// `tcflow(3)`: 0 holds output up, 1 lets it go on; 2 and 3 would tell the other side.
    fn hold(&self, call: &Call<'_>, what: usize) -> SysResult {
        self.check_background(call, SIGTTOU)?;
        match what {
            0 | 1 => self.state.lock().discipline.stopped = what == 0,
            2 | 3 => {}
            _ => return Err(Errno::EINVAL.into()),
        }
        self.output.wake();
        Ok(0)
    }
}
