// SPDX-License-Identifier: MIT
//! Granted sockets: outgoing connections to listed hosts and ports, listening on listed addresses;
//! and the connections of those who come for an attested session.
//!
//! All sockets are non-blocking; an operation that cannot be carried out at once waits in its
//! handle's queue until the session's poll loop finds the socket ready. Only resolving a name and
//! connecting take a thread.

use super::attach::AttachListener;
use super::errors::host_error;
use super::link::Sender;
use super::stream::{Listener, Stream, wire_address};
use rustix::event::PollFlags;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use strongroom_wire::frame::DATA_MAX;
use strongroom_wire::message::{Address, Answer, HostError, SocketAsk};

/// Most sockets that an enclave may hold at a time.
const HANDLES_MAX: usize = 900;
/// Most connects that may be under way.
const CONNECTS_MAX: usize = 64;
/// Longest wait for a peer to accept.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// A host and port that the program may connect to. Plaintext and untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectAccess {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// An address of the host at which the program may listen. Plaintext and untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAccess {
    /// Where the host listens; port 0 picks a free one.
    pub address: SocketAddr,
    /// The port that the program binds.
    pub port: u16,
}

/// The sockets of a session.
#[derive(Debug)]
pub(super) struct Sockets {
    sender: Sender,
    connects: Vec<ConnectAccess>,
    listens: Vec<ListenAccess>,
    /// Given away when the enclave asks for it.
    attach: Option<AttachListener>,
    handles: BTreeMap<u32, Handle>,
    next: u32,
    connecting: usize,
    connected: (mpsc::Sender<Connected>, mpsc::Receiver<Connected>),
    /// Written to when something arrives in `connected`.
    wake: Arc<UnixStream>,
}

/// The end of a connect.
#[derive(Debug)]
struct Connected {
    ticket: u64,
    result: Result<TcpStream, HostError>,
}

#[derive(Debug)]
enum Handle {
    Listener { socket: Listener, accepts: VecDeque<u64> },
    Stream { socket: Stream, receives: VecDeque<Receive>, sends: VecDeque<Send> },
}

#[derive(Debug)]
struct Receive {
    ticket: u64,
    max: usize,
}

#[derive(Debug)]
enum Send {
    Bytes { ticket: u64, bytes: Vec<u8>, sent: usize },
    Finish { ticket: u64 },
}

impl Sockets {
    pub(super) fn new(
        sender: Sender,
        connects: Vec<ConnectAccess>,
        listens: Vec<ListenAccess>,
        attach: Option<AttachListener>,
        wake: UnixStream,
    ) -> Self {
        Self {
            sender,
            connects,
            listens,
            attach,
            handles: BTreeMap::new(),
            next: 1,
            connecting: 0,
            connected: mpsc::channel(),
            wake: Arc::new(wake),
        }
    }

    /// Carries out one request, or queues it.
    pub(super) fn serve(&mut self, ticket: u64, ask: &SocketAsk<'_>) {
        let refused = match *ask {
            SocketAsk::Connect { grant } => self.connect(ticket, grant),
            SocketAsk::Listen { grant, backlog } => self.listen(ticket, grant, backlog),
            SocketAsk::Attach { .. } => self.attach(ticket),
            SocketAsk::Accept { handle } => self.queue(handle, |handle| match handle {
                Handle::Listener { accepts, .. } => {
                    accepts.push_back(ticket);
                    true
                }
                Handle::Stream { .. } => false,
            }),
            SocketAsk::Receive { handle, max } => {
                let max = usize::try_from(max).unwrap_or(DATA_MAX).min(DATA_MAX);
                self.queue(handle, |handle| match handle {
                    Handle::Stream { receives, .. } => {
                        receives.push_back(Receive { ticket, max });
                        max > 0
                    }
                    Handle::Listener { .. } => false,
                })
            }
            SocketAsk::Send { handle, bytes } => {
                let send = Send::Bytes { ticket, bytes: bytes.to_vec(), sent: 0 };
                self.queue_send(handle, send)
            }
            SocketAsk::Finish { handle } => self.queue_send(handle, Send::Finish { ticket }),
            SocketAsk::Close { handle } => {
                self.close(handle);
                Ok(())
            }
        };
        if let Err(error) = refused {
            self.sender.reply(ticket, Err(error));
        }
    }

    fn queue_send(&mut self, handle: u32, send: Send) -> Result<(), HostError> {
        self.queue(handle, |handle| match handle {
            Handle::Stream { sends, .. } => {
                sends.push_back(send);
                true
            }
            Handle::Listener { .. } => false,
        })
    }

    /// Lets `add` put an operation into a handle's queue, and tries it at once.
    fn queue(
        &mut self,
        number: u32,
        add: impl FnOnce(&mut Handle) -> bool,
    ) -> Result<(), HostError> {
        let handle = self.handles.get_mut(&number).ok_or(HostError::Invalid)?;
        if !add(handle) {
            return Err(HostError::Invalid);
        }
        self.progress(number);
        Ok(())
    }

    fn connect(&mut self, ticket: u64, grant: u16) -> Result<(), HostError> {
        let access = self.connects.get(usize::from(grant)).ok_or(HostError::Denied)?.clone();
        if self.connecting >= CONNECTS_MAX {
            return Err(HostError::Failed);
        }
        self.connecting += 1;
        let (results, wake) = (self.connected.0.clone(), Arc::clone(&self.wake));
        std::thread::spawn(move || {
            let result = connect(&access);
            // A session that is over wants neither the connection nor the wake-up.
            let _ = results.send(Connected { ticket, result });
            let _ = (&*wake).write(&[0]);
        });
        Ok(())
    }

    /// Takes in the connects that have ended.
    pub(super) fn collect(&mut self) {
        while let Ok(Connected { ticket, result }) = self.connected.1.try_recv() {
            self.connecting = self.connecting.saturating_sub(1);
            let outcome = result.and_then(|socket| {
                let address = socket.local_addr().map_err(|error| host_error(&error))?;
                Ok((self.add_stream(Stream::Tcp(socket))?, wire_address(address)))
            });
            let answer = outcome.map(|(handle, address)| Answer::Handle(handle, address));
            self.sender.reply(ticket, answer);
        }
    }

    fn listen(&mut self, ticket: u64, grant: u16, backlog: u16) -> Result<(), HostError> {
        let access = self.listens.get(usize::from(grant)).ok_or(HostError::Denied)?;
        let failed = |error: io::Error| host_error(&error);
        let socket = TcpListener::bind(access.address).map_err(failed)?;
        rustix::net::listen(&socket, i32::from(backlog)).map_err(|error| failed(error.into()))?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let socket = Listener::Granted(socket);
        let handle = self.add(Handle::Listener { socket, accepts: VecDeque::new() })?;
        self.sender.reply(ticket, Ok(Answer::Handle(handle, wire_address(address))));
        Ok(())
    }

    /// The system's own backlog will do: the socket listens since before the enclave was there.
    fn attach(&mut self, ticket: u64) -> Result<(), HostError> {
        let socket = Listener::Attach(self.attach.take().ok_or(HostError::Unsupported)?);
        let handle = self.add(Handle::Listener { socket, accepts: VecDeque::new() })?;
        self.sender.reply(ticket, Ok(Answer::Handle(handle, Address::V4([0; 4], 0))));
        Ok(())
    }

    fn add_stream(&mut self, socket: Stream) -> Result<u32, HostError> {
        socket.prepare().map_err(|error| host_error(&error))?;
        self.add(Handle::Stream { socket, receives: VecDeque::new(), sends: VecDeque::new() })
    }

    fn add(&mut self, handle: Handle) -> Result<u32, HostError> {
        if self.handles.len() >= HANDLES_MAX {
            return Err(HostError::Failed);
        }
        // Numbers are not used again, so a late request cannot reach another connection.
        let number = self.next;
        self.next = self.next.checked_add(1).ok_or(HostError::Failed)?;
        self.handles.insert(number, handle);
        Ok(number)
    }

    /// Closes a handle; what waits on it fails. An unknown handle is closed already.
    fn close(&mut self, number: u32) {
        let tickets: Vec<u64> = match self.handles.remove(&number) {
            None => return,
            Some(Handle::Listener { accepts, .. }) => accepts.into(),
            Some(Handle::Stream { receives, sends, .. }) => receives
                .iter()
                .map(|receive| receive.ticket)
                .chain(sends.iter().map(|send| match send {
                    Send::Bytes { ticket, .. } | Send::Finish { ticket } => *ticket,
                }))
                .collect(),
        };
        for ticket in tickets {
            self.sender.reply(ticket, Err(HostError::Reset));
        }
    }

    /// The sockets that operations wait for, and what for.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>, PollFlags)> {
        self.handles.iter().filter_map(|(number, handle)| {
            let (socket, reads, writes) = match handle {
                Handle::Listener { socket, accepts } => {
                    (socket.as_fd(), !accepts.is_empty(), false)
                }
                Handle::Stream { socket, receives, sends } => {
                    (socket.as_fd(), !receives.is_empty(), !sends.is_empty())
                }
            };
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, writes);
            (!flags.is_empty()).then_some((*number, socket, flags))
        })
    }

    /// Carries out what a handle's socket is ready for.
    pub(super) fn progress(&mut self, number: u32) {
        let mut accepted = Vec::new();
        match self.handles.get_mut(&number) {
            Some(Handle::Listener { socket, accepts }) => accept(socket, accepts, &mut accepted),
            Some(Handle::Stream { socket, receives, sends }) => {
                receive(socket, receives, &self.sender);
                send(socket, sends, &self.sender);
            }
            None => {}
        }
        for (ticket, result) in accepted {
            let outcome = result
                .and_then(|(socket, peer)| Ok(Answer::Accepted(self.add_stream(socket)?, peer)));
            self.sender.reply(ticket, outcome);
        }
    }
}

type AcceptResult = (u64, Result<(Stream, Address), HostError>);

fn accept(socket: &Listener, accepts: &mut VecDeque<u64>, accepted: &mut Vec<AcceptResult>) {
    while let Some(ticket) = accepts.front().copied() {
        match socket.accept() {
            Err(error) if must_wait(&error) => return,
            result => accepted.push((ticket, result.map_err(|error| host_error(&error)))),
        }
        accepts.pop_front();
    }
}

fn receive(mut socket: &Stream, receives: &mut VecDeque<Receive>, sender: &Sender) {
    while let Some(Receive { ticket, max }) = receives.front() {
        let mut bytes = vec![0; *max];
        match socket.read(&mut bytes) {
            Ok(count) => {
                let data = bytes.get(..count).unwrap_or_default();
                sender.reply(*ticket, Ok(Answer::Data(data)));
            }
            Err(error) if must_wait(&error) => return,
            Err(error) => sender.reply(*ticket, Err(host_error(&error))),
        }
        receives.pop_front();
    }
}

fn send(mut socket: &Stream, sends: &mut VecDeque<Send>, sender: &Sender) {
    while let Some(next) = sends.front_mut() {
        let (ticket, result) = match next {
            Send::Finish { ticket } => (*ticket, socket.finish()),
            Send::Bytes { ticket, bytes, sent } => {
                let rest = bytes.get(*sent..).unwrap_or_default();
                match socket.write(rest) {
                    Ok(count) if count < rest.len() => {
                        *sent += count;
                        continue;
                    }
                    Ok(_) => (*ticket, Ok(())),
                    Err(error) if must_wait(&error) => return,
                    Err(error) => (*ticket, Err(error)),
                }
            }
        };
        sender.reply(ticket, result.map(|()| Answer::Done).map_err(|error| host_error(&error)));
        sends.pop_front();
    }
}

fn must_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Tries the addresses of a name in turn.
fn connect(access: &ConnectAccess) -> Result<TcpStream, HostError> {
    let addresses =
        (access.host.as_str(), access.port).to_socket_addrs().map_err(|_| HostError::NotFound)?;
    let mut outcome = Err(HostError::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                outcome = Err(HostError::TimedOut);
            }
            Err(error) => outcome = Err(host_error(&error)),
        }
    }
    outcome
}
