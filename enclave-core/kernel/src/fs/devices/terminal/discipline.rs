// SPDX-License-Identifier: MIT
//! The line discipline (`termios(3)`): what becomes of bytes that are typed, and of bytes that are
//! printed. Pure: no thread, no queue, no lock.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use strongroom_abi::Termios;

bitflags::bitflags! {
    /// `c_iflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Input: u32 {
        const ISTRIP = 0o40;
        const INLCR = 0o100;
        const IGNCR = 0o200;
        const ICRNL = 0o400;
        const IXON = 0o2000;
        const IXANY = 0o4000;
        const IMAXBEL = 0o20000;
        const IUTF8 = 0o40000;
    }

    /// `c_oflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Output: u32 {
        const OPOST = 0o1;
        const ONLCR = 0o4;
        const OCRNL = 0o10;
        const ONOCR = 0o20;
        const ONLRET = 0o40;
        const XTABS = 0o14000;
    }

    /// `c_lflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Local: u32 {
        const ISIG = 0o1;
        const ICANON = 0o2;
        const ECHO = 0o10;
        const ECHOE = 0o20;
        const ECHOK = 0o40;
        const ECHONL = 0o100;
        const NOFLSH = 0o200;
        const TOSTOP = 0o400;
        const ECHOCTL = 0o1000;
        const ECHOKE = 0o4000;
        const IEXTEN = 0o100_000;
    }
}

/// Places of special characters in `c_cc`.
mod cc {
    pub(super) const INTR: usize = 0;
    pub(super) const QUIT: usize = 1;
    pub(super) const ERASE: usize = 2;
    pub(super) const KILL: usize = 3;
    pub(super) const EOF: usize = 4;
    pub(super) const TIME: usize = 5;
    pub(super) const MIN: usize = 6;
    pub(super) const START: usize = 8;
    pub(super) const STOP: usize = 9;
    pub(super) const SUSP: usize = 10;
    pub(super) const EOL: usize = 11;
    pub(super) const REPRINT: usize = 12;
    pub(super) const WERASE: usize = 14;
    pub(super) const LNEXT: usize = 15;
    pub(super) const EOL2: usize = 16;
}

/// Most bytes that wait to be read (`MAX_CANON` is the same).
const INPUT_MAX: usize = 4096;
/// Width of a tab stop.
const TAB: usize = 8;

const NL: u8 = b'\n';
const CR: u8 = b'\r';
const BELL: u8 = 7;

/// What typing has caused besides input.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// Bytes for the screen.
    pub(super) echo: Vec<u8>,
    /// Signals for the foreground group, in order.
    pub(super) signals: Vec<u8>,
    /// Output that waits is thrown away, because of a signal.
    pub(super) flush_output: bool,
}

/// See the module's text.
pub(super) struct Discipline {
    settings: Termios,
    /// The line being edited, in canonical mode.
    line: Vec<u8>,
    /// Bytes that can be read.
    ready: VecDeque<u8>,
    /// In canonical mode, the lengths of the lines in `ready`; 0 is an end of file.
    lines: VecDeque<usize>,
    /// The next character is taken as it is.
    literal: bool,
    /// Output is held up (`^S`).
    pub(super) stopped: bool,
    column: usize,
}

impl Discipline {
    /// With the settings that a Linux terminal starts with.
    pub(super) fn new() -> Self {
        let mut settings = Termios {
            iflag: (Input::ICRNL | Input::IXON).bits(),
            oflag: (Output::OPOST | Output::ONLCR).bits(),
            cflag: 0o277, // B38400, CS8, CREAD
            lflag: (Local::ISIG
                | Local::ICANON
                | Local::ECHO
                | Local::ECHOE
                | Local::ECHOK
                | Local::ECHOCTL
                | Local::ECHOKE
                | Local::IEXTEN)
                .bits(),
            ..Termios::default()
        };
        let characters = [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0];
        settings.cc.iter_mut().zip(characters).for_each(|(to, from)| *to = from);
        Self {
            settings,
            line: Vec::new(),
            ready: VecDeque::new(),
            lines: VecDeque::new(),
            literal: false,
            stopped: false,
            column: 0,
        }
    }

    /// `TCGETS`.
    pub(super) const fn settings(&self) -> Termios {
        self.settings
    }

    /// `TCSETS`.
    pub(super) fn set(&mut self, settings: Termios) {
        let was_canonical = self.has(Local::ICANON);
        self.settings = settings;
        let is_canonical = self.has(Local::ICANON);
        if was_canonical && !is_canonical {
            self.ready.extend(self.line.drain(..));
            self.lines.clear();
        } else if !was_canonical && is_canonical && !self.ready.is_empty() {
            self.lines.push_back(self.ready.len());
        }
        if !self.input_flags().contains(Input::IXON) {
            self.stopped = false;
        }
    }

    /// Whether background writers are stopped.
    pub(super) const fn stops_writers(&self) -> bool {
        self.has(Local::TOSTOP)
    }

    const fn has(&self, flag: Local) -> bool {
        self.settings.lflag & flag.bits() != 0
    }

    const fn input_flags(&self) -> Input {
        Input::from_bits_truncate(self.settings.iflag)
    }

    fn is(&self, byte: u8, place: usize) -> bool {
        byte != 0 && self.settings.cc.get(place) == Some(&byte)
    }

    fn number(&self, place: usize) -> u8 {
        self.settings.cc.get(place).copied().unwrap_or(0)
    }

    /// Bytes that may be typed now. A line that is too long still takes its end.
    pub(super) fn room(&self) -> usize {
        let used = self.ready.len() + self.line.len();
        let room = INPUT_MAX.saturating_sub(used + 1);
        if self.has(Local::ICANON) && self.lines.is_empty() { room.max(1) } else { room }
    }

    /// A byte is typed.
    pub(super) fn typed(&mut self, byte: u8, effects: &mut Effects) {
        let flags = self.input_flags();
        let byte = if flags.contains(Input::ISTRIP) { byte & 0x7f } else { byte };
        if core::mem::take(&mut self.literal) {
            self.echo_character(byte, effects);
            self.accept(byte, effects);
            return;
        }
        if flags.contains(Input::IXON) {
            if self.is(byte, cc::START) {
                self.stopped = false;
                return;
            }
            if self.is(byte, cc::STOP) {
                self.stopped = true;
                return;
            }
        }
        if flags.contains(Input::IXON | Input::IXANY) {
            self.stopped = false;
        }
        if self.signalled(byte, effects) {
            return;
        }
        let byte = match byte {
            CR if flags.contains(Input::IGNCR) => return,
            CR if flags.contains(Input::ICRNL) => NL,
            NL if flags.contains(Input::INLCR) => CR,
            other => other,
        };
        if self.has(Local::ICANON) && self.edited(byte, effects) {
            return;
        }
        self.echo_character(byte, effects);
        self.accept(byte, effects);
    }

    /// Whether the byte is a signal's.
    fn signalled(&mut self, byte: u8, effects: &mut Effects) -> bool {
        use crate::signal::{SIGINT, SIGQUIT, SIGTSTP};
        if !self.has(Local::ISIG) {
            return false;
        }
        let keys = [(cc::INTR, SIGINT), (cc::QUIT, SIGQUIT), (cc::SUSP, SIGTSTP)];
        let Some((_, signal)) = keys.into_iter().find(|(place, _)| self.is(byte, *place)) else {
            return false;
        };
        if !self.has(Local::NOFLSH) {
            self.flush_input();
            effects.flush_output = true;
            effects.echo.clear();
        }
        self.stopped = false;
        self.echo_character(byte, effects);
        effects.signals.push(signal);
        true
    }

    /// Whether the byte edits or ends the line.
    fn edited(&mut self, byte: u8, effects: &mut Effects) -> bool {
        let extended = self.has(Local::IEXTEN);
        if self.is(byte, cc::ERASE) {
            self.erase(effects);
        } else if self.is(byte, cc::KILL) {
            self.kill(effects);
        } else if extended && self.is(byte, cc::WERASE) {
            self.erase_word(effects);
        } else if extended && self.is(byte, cc::LNEXT) {
            self.literal = true;
            if self.has(Local::ECHO) && self.has(Local::ECHOCTL) {
                self.print(b"^\x08", &mut effects.echo);
            }
        } else if extended && self.has(Local::ECHO) && self.is(byte, cc::REPRINT) {
            self.reprint(byte, effects);
        } else if byte == NL {
            if self.has(Local::ECHO) || self.has(Local::ECHONL) {
                self.print(b"\n", &mut effects.echo);
            }
            self.end_line(Some(NL));
        } else if self.is(byte, cc::EOF) {
            self.end_line(None);
        } else if self.is(byte, cc::EOL) || (extended && self.is(byte, cc::EOL2)) {
            self.echo_character(byte, effects);
            self.end_line(Some(byte));
        } else {
            return false;
        }
        true
    }

    fn end_line(&mut self, end: Option<u8>) {
        self.line.extend(end);
        self.lines.push_back(self.line.len());
        self.ready.extend(self.line.drain(..));
    }

    /// Takes a byte as input.
    fn accept(&mut self, byte: u8, effects: &mut Effects) {
        if self.ready.len() + self.line.len() + 1 >= INPUT_MAX {
            if self.input_flags().contains(Input::IMAXBEL) {
                effects.echo.push(BELL);
            }
        } else if self.has(Local::ICANON) {
            self.line.push(byte);
        } else {
            self.ready.push_back(byte);
        }
    }

    fn echo_character(&mut self, byte: u8, effects: &mut Effects) {
        if self.has(Local::ECHO) {
            let shown = self.shown(byte);
            self.print(&shown, &mut effects.echo);
        }
    }

    /// How a byte is echoed: control characters as `^X`.
    fn shown(&self, byte: u8) -> Vec<u8> {
        let control = byte.is_ascii_control() && !matches!(byte, b'\t' | NL);
        if control && self.has(Local::ECHOCTL) {
            alloc::vec![b'^', byte ^ 0x40]
        } else {
            alloc::vec![byte]
        }
    }

    /// Columns that the edited line takes on the screen, up to `length`.
    fn width(&self, length: usize) -> usize {
        let utf8 = self.input_flags().contains(Input::IUTF8);
        self.line.iter().take(length).fold(0, |column, byte| match byte {
            b'\t' => (column / TAB + 1) * TAB,
            _ if utf8 && is_continuation(*byte) => column,
            _ => column + self.shown(*byte).len(),
        })
    }

    /// Shortens the edited line and wipes what was cut off from the screen.
    fn cut(&mut self, length: usize, effects: &mut Effects) {
        let wiped = self.width(self.line.len()).saturating_sub(self.width(length));
        self.line.truncate(length);
        for _ in 0..wiped {
            self.print(b"\x08 \x08", &mut effects.echo);
        }
    }

    /// The length of the edited line without its last character.
    fn without_last(&self) -> usize {
        let utf8 = self.input_flags().contains(Input::IUTF8);
        let mut length = self.line.len().saturating_sub(1);
        while utf8 && self.line.get(length).copied().is_some_and(is_continuation) && length > 0 {
            length -= 1;
        }
        length
    }

    fn erase(&mut self, effects: &mut Effects) {
        if self.line.is_empty() {
            return;
        }
        let length = self.without_last();
        if self.has(Local::ECHO) && self.has(Local::ECHOE) {
            self.cut(length, effects);
        } else {
            self.line.truncate(length);
            let key = self.number(cc::ERASE);
            self.echo_character(key, effects);
        }
    }

    fn erase_word(&mut self, effects: &mut Effects) {
        let blanks = self.line.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
        let end = self.line.len() - blanks;
        let word = self.line.iter().take(end).rev();
        let length = end - word.take_while(|byte| !byte.is_ascii_whitespace()).count();
        if self.has(Local::ECHO) {
            self.cut(length, effects);
        } else {
            self.line.truncate(length);
        }
    }

    fn kill(&mut self, effects: &mut Effects) {
        let visibly =
            [Local::ECHO, Local::ECHOE, Local::ECHOK, Local::ECHOKE].map(|flag| self.has(flag));
        if visibly == [true; 4] {
            self.cut(0, effects);
            return;
        }
        self.line.clear();
        let key = self.number(cc::KILL);
        self.echo_character(key, effects);
        if self.has(Local::ECHO) && self.has(Local::ECHOK) {
            self.print(b"\n", &mut effects.echo);
        }
    }

    fn reprint(&mut self, key: u8, effects: &mut Effects) {
        self.echo_character(key, effects);
        self.print(b"\n", &mut effects.echo);
        for byte in self.line.clone() {
            self.echo_character(byte, effects);
        }
    }

    /// Bytes for the screen, treated as the output flags say.
    pub(super) fn print(&mut self, bytes: &[u8], screen: &mut Vec<u8>) {
        let flags = Output::from_bits_truncate(self.settings.oflag);
        if !flags.contains(Output::OPOST) {
            screen.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            match *byte {
                NL => {
                    if flags.contains(Output::ONLCR) {
                        screen.push(CR);
                    }
                    if flags.intersects(Output::ONLCR | Output::ONLRET) {
                        self.column = 0;
                    }
                    screen.push(NL);
                }
                CR if flags.contains(Output::ONOCR) && self.column == 0 => {}
                CR => {
                    screen.push(if flags.contains(Output::OCRNL) { NL } else { CR });
                    self.column = 0;
                }
                b'\t' => {
                    let spaces = TAB - self.column % TAB;
                    self.column += spaces;
                    if flags.contains(Output::XTABS) {
                        screen.extend(core::iter::repeat_n(b' ', spaces));
                    } else {
                        screen.push(b'\t');
                    }
                }
                8 => {
                    self.column = self.column.saturating_sub(1);
                    screen.push(8);
                }
                other => {
                    let counts = !other.is_ascii_control() && !is_continuation(other);
                    self.column += usize::from(counts);
                    screen.push(other);
                }
            }
        }
    }

    /// Whether whole lines are read.
    pub(super) const fn is_canonical(&self) -> bool {
        self.has(Local::ICANON)
    }

    /// Bytes for `FIONREAD`.
    pub(super) fn readable_bytes(&self) -> usize {
        self.ready.len()
    }

    /// Whether `poll(2)` says readable.
    pub(super) fn is_readable(&self) -> bool {
        if self.has(Local::ICANON) {
            return !self.lines.is_empty();
        }
        let least = if self.time_ns() == 0 { self.number(cc::MIN).max(1) } else { 1 };
        self.ready.len() >= usize::from(least)
    }

    /// `VTIME` in nanoseconds, 0 in canonical mode.
    pub(super) fn time_ns(&self) -> u64 {
        if self.has(Local::ICANON) { 0 } else { u64::from(self.number(cc::TIME)) * 100_000_000 }
    }

    /// How many bytes a reader that wants `wanted` waits for: 0 returns what there is.
    pub(super) fn least(&self, wanted: usize) -> usize {
        if self.has(Local::ICANON) { 1 } else { wanted.min(usize::from(self.number(cc::MIN))) }
    }

    /// What a read of at most `max` bytes gets: `None` while a line is not complete, empty at an
    /// end of file or when nothing is there.
    pub(super) fn peek(&self, max: usize) -> Option<Vec<u8>> {
        let available =
            if self.has(Local::ICANON) { *self.lines.front()? } else { self.ready.len() };
        Some(self.ready.iter().copied().take(available.min(max)).collect())
    }

    /// Takes out what was read.
    pub(super) fn consume(&mut self, count: usize) {
        self.ready.drain(..count.min(self.ready.len()));
        if let Some(line) = self.lines.front_mut() {
            *line = line.saturating_sub(count);
            if *line == 0 {
                self.lines.pop_front();
            }
        }
    }

    /// `tcflush(TCIFLUSH)`.
    pub(super) fn flush_input(&mut self) {
        self.line.clear();
        self.ready.clear();
        self.lines.clear();
    }
}

const fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
#[path = "discipline_tests.rs"]
mod tests;
