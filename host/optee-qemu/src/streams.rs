// SPDX-License-Identifier: MIT
//! Standard input of a command: read here, sent on as far as the command takes it.

use std::{
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::mpsc::Receiver,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios,
};

use crate::protocol::{DATA_MAX, Size, ToGuest, WINDOW, send};

/// How often a terminal's size is looked at while nothing is typed.
const SIZE_INTERVAL: Duration = Duration::from_millis(250);

/// Where a command's standard input comes from.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// It has none: it reads an end of file.
    Empty,
    /// These bytes.
    Bytes(&'a [u8]),
    /// What is read from that descriptor until its end; no more of it than is sent on.
    Descriptor(BorrowedFd<'a>),
    /// As [`Self::Descriptor`], and the terminal's size is followed. Raw mode is the caller's
    /// business.
    Terminal(BorrowedFd<'a>),
}

/// Sends `input` until it ends or the command does; then `over` reads as closed and `taken` too.
pub(crate) fn feed(
    input: Input<'_>,
    stream: &mut UnixStream,
    taken: &Receiver<u32>,
    over: &UnixStream,
) -> io::Result<()> {
    let mut feeder = Feeder { stream, taken, window: WINDOW };
    let fed = match input {
        Input::Empty => send(feeder.stream, &ToGuest::InputEnd),
        Input::Bytes(bytes) => feeder.bytes(bytes),
        Input::Descriptor(descriptor) => feeder.descriptor(descriptor, over, None),
        Input::Terminal(descriptor) => {
            feeder.descriptor(descriptor, over, terminal_size(descriptor))
        }
    };
    match fed {
        // The machine is gone: whoever receives says why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

struct Feeder<'a> {
    stream: &'a mut UnixStream,
    taken: &'a Receiver<u32>,
    window: usize,
}

impl Feeder<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(DATA_MAX) {
            if !self.has_room(chunk.len()) {
                return Ok(());
            }
            self.data(chunk)?;
        }
        send(self.stream, &ToGuest::InputEnd)
    }

    fn descriptor(
        &mut self,
        from: BorrowedFd<'_>,
        over: &UnixStream,
        mut size: Option<Size>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; DATA_MAX];
        while self.has_room(DATA_MAX) {
            match wait(from, over, size.is_some().then_some(SIZE_INTERVAL))? {
                Woken::Over => return Ok(()),
                Woken::Readable => {
                    let count = rustix::io::read(from, &mut buffer)?;
                    let Some(chunk @ [_, ..]) = buffer.get(..count) else { break };
                    self.data(chunk)?;
                }
                Woken::Interval => {}
            }
            if size.is_some()
                && let Some(other) = terminal_size(from).filter(|other| Some(*other) != size)
            {
                size = Some(other);
                send(self.stream, &ToGuest::Resize(other))?;
            }
        }
        send(self.stream, &ToGuest::InputEnd)
    }

    fn data(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.window = self.window.saturating_sub(chunk.len());
        send(self.stream, &ToGuest::Input(chunk.to_vec()))
    }

    /// Waits for room in the window; false when the command has ended.
    fn has_room(&mut self, wanted: usize) -> bool {
        while let Ok(count) = self.taken.try_recv() {
            self.give(count);
        }
        while self.window < wanted {
            let Ok(count) = self.taken.recv() else { return false };
            self.give(count);
        }
        true
    }

    fn give(&mut self, count: u32) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        // An agent that takes more than it got does not make the window larger.
        self.window = self.window.saturating_add(count).min(WINDOW);
    }
}

enum Woken {
    Over,
    Readable,
    Interval,
}

fn wait(from: BorrowedFd<'_>, over: &UnixStream, limit: Option<Duration>) -> io::Result<Woken> {
    let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    let mut polled = [
        PollFd::from_borrowed_fd(over.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(from, PollFlags::IN),
    ];
    match poll(&mut polled, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [over, from] = polled;
    Ok(if !over.revents().is_empty() {
        Woken::Over
    } else if !from.revents().is_empty() {
        Woken::Readable
    } else {
        Woken::Interval
    })
}

/// The size of a terminal, if it is one.
pub(crate) fn terminal_size(terminal: BorrowedFd<'_>) -> Option<Size> {
    let size = termios::tcgetwinsize(terminal).ok()?;
    Some(Size { rows: size.ws_row, columns: size.ws_col })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::receive;
    use std::{os::fd::OwnedFd, sync::mpsc, thread};

    /// Feeds `input` in a thread; the host's end, the sender of receipts, the end of the command.
    fn feeding(
        input: impl FnOnce(&mut UnixStream, &Receiver<u32>, &UnixStream) -> io::Result<()>
        + Send
        + 'static,
    ) -> (UnixStream, mpsc::Sender<u32>, UnixStream, thread::JoinHandle<io::Result<()>>) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (over, end) = UnixStream::pair().unwrap();
        let (take, taken) = mpsc::channel();
        let feeder = thread::spawn(move || input(&mut ours, &taken, &end));
        (theirs, take, over, feeder)
    }

    fn length(message: &ToGuest) -> usize {
        match message {
            ToGuest::Input(bytes) => bytes.len(),
            ToGuest::Run(_) | ToGuest::InputEnd | ToGuest::Resize(_) | ToGuest::PowerOff => 0,
        }
    }

    #[test]
    fn no_more_is_sent_than_the_window_until_it_is_taken() {
        let bytes = vec![7; WINDOW + DATA_MAX];
        let (mut theirs, take, _over, feeder) =
            feeding(move |stream, taken, over| feed(Input::Bytes(&bytes), stream, taken, over));
        let mut seen = 0;
        while seen < WINDOW {
            seen += length(&receive(&mut theirs).unwrap());
        }
        theirs.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let error = receive::<ToGuest>(&mut theirs).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "more than the window came");
        theirs.set_read_timeout(None).unwrap();
        take.send(u32::try_from(DATA_MAX).unwrap()).unwrap();
        assert_eq!(length(&receive(&mut theirs).unwrap()), DATA_MAX);
        assert_eq!(receive::<ToGuest>(&mut theirs).unwrap(), ToGuest::InputEnd);
        feeder.join().unwrap().unwrap();
    }

    #[test]
    fn a_command_that_ends_is_not_fed_any_more() {
        let bytes = vec![7; 2 * WINDOW];
        let (mut theirs, take, over, feeder) =
            feeding(move |stream, taken, over| feed(Input::Bytes(&bytes), stream, taken, over));
        receive::<ToGuest>(&mut theirs).unwrap();
        let drain = thread::spawn(move || while receive::<ToGuest>(&mut theirs).is_ok() {});
        drop((take, over));
        feeder.join().unwrap().unwrap();
        drain.join().unwrap();
    }

    #[test]
    fn a_descriptor_is_left_alone_when_the_command_ends() {
        let (typed, terminal) = UnixStream::pair().unwrap();
        let terminal = OwnedFd::from(terminal);
        let (mut theirs, take, over, feeder) = feeding(move |stream, taken, over| {
            feed(Input::Descriptor(terminal.as_fd()), stream, taken, over)
        });
        rustix::io::write(&typed, b"typed").unwrap();
        assert_eq!(receive::<ToGuest>(&mut theirs).unwrap(), ToGuest::Input(b"typed".to_vec()));
        drop((take, over));
        feeder.join().unwrap().unwrap();
        drop(typed);
    }

    #[test]
    fn the_end_of_a_descriptor_is_passed_on() {
        let (typed, terminal) = UnixStream::pair().unwrap();
        let terminal = OwnedFd::from(terminal);
        let (mut theirs, _take, _over, feeder) = feeding(move |stream, taken, over| {
            feed(Input::Descriptor(terminal.as_fd()), stream, taken, over)
        });
        drop(typed);
        assert_eq!(receive::<ToGuest>(&mut theirs).unwrap(), ToGuest::InputEnd);
        feeder.join().unwrap().unwrap();
    }
}
