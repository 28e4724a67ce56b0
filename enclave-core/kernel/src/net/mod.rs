// SPDX-License-Identifier: MIT
//! Sockets (`socket(7)`): UNIX sockets, and TCP and UDP between the programs of the enclave.
//!
//! A [`Socket`] is the file; a [`Protocol`] is what its kind does: [`unix`], [`inet`] (TCP),
//! [`udp`]. Connected sockets exchange bytes through two [`stream::Channel`]s. There are no
//! packets and no interface but `lo`.
//!
//! The world outside is reached through what the manifest grants, and only by TCP ([`host`]): a
//! connection to a granted address and port is one that the host makes; a socket that listens on a
//! granted port also accepts what the host accepted. A host that is granted by name has the address
//! 198.18.0.N, N being one more than the grant's index among the manifest's connects
//! ([`Kernel::granted_hosts`]), so that a line in `/etc/hosts` leads there. Everything else is
//! unreachable.

mod ancillary;
mod connection;
mod inet;
mod interface;
mod listening;
mod patience;
mod ports;
mod stream;
mod udp;
mod unix;
mod unix_datagram;
mod unix_name;

pub(crate) mod address;
pub(crate) mod host;
pub(crate) mod options;

pub(crate) use ancillary::{ControlBuffer, Label, own_credentials, probe, read_control};
pub(crate) use connection::{Connection, Listener};
pub(crate) use inet::{Arrivals, connect_kernel as connect_kernel_to_port};
pub(crate) use listening::Outlet;
pub(crate) use patience::Patience;
pub(crate) use stream::{Received, Want};
pub(crate) use unix::connect_kernel as connect_kernel_to_name;
pub(crate) use unix_name::CLIENT_NAME_PREFIX;

use crate::fs::{Attributes, File, InodeId, Kind, OpenFile, OpenFlags, Ready};
use crate::kernel::Kernel;
use crate::outcome::{Stop, SysResult};
use crate::signal::{self, SIGPIPE};
use crate::sync::{WaitQueue, Waiter};
use crate::task::{Call, Thread};
use crate::user::{Sink, Source, UserPtr};
use address::{Domain, Name};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use options::Options;
use spin::Mutex;
use strongroom_abi::{Errno, SocketCredentials};

/// What the sockets of the kernel share.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) unix: unix_name::AbstractNames,
    pub(crate) tcp: ports::Ports<inet::Arrivals>,
    pub(crate) udp: ports::Ports<udp::Inbox>,
    pub(crate) flight: ancillary::Flight,
    pub(crate) outside: host::Outside,
}

/// `SOCK_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketKind {
    Stream = 1,
    Datagram = 2,
    Packets = 5,
}

/// A half of a connection, as one end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Receive,
    Send,
}

/// What `shutdown(2)` shuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shutdown {
    Receive,
    Send,
    Both,
}

impl Shutdown {
    /// Whether it concerns a direction.
    pub(crate) fn covers(self, direction: Direction) -> bool {
        match self {
            Self::Receive => direction == Direction::Receive,
            Self::Send => direction == Direction::Send,
            Self::Both => true,
        }
    }
}

/// What is to be sent.
pub(crate) struct Outgoing<'a, 'b> {
    pub(crate) from: &'a mut Source<'b>,
    pub(crate) label: Label,
    /// Bytes of an address, if one was given.
    pub(crate) to: Option<&'a [u8]>,
    pub(crate) patience: Patience,
    /// Wait until all is sent; uses the call's progress.
    pub(crate) whole: bool,
}

/// What a kind of socket does. The socket is passed along for its options.
pub(crate) trait Protocol: Send + Sync {
    /// `bind(2)`.
    fn bind(&self, call: &mut Call<'_>, socket: &Socket, address: &[u8]) -> SysResult<()>;

    /// `listen(2)`.
    fn listen(&self, _call: &mut Call<'_>, _socket: &Socket, _backlog: usize) -> SysResult<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// `accept(2)`: the new socket's behaviour, and its peer.
    fn accept(
        &self,
        _call: &mut Call<'_>,
        _patience: &Patience,
    ) -> SysResult<(Box<dyn Protocol>, Name)> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// `connect(2)`.
    fn connect(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        address: &[u8],
        patience: &Patience,
    ) -> SysResult<()>;

    /// `getsockname(2)`.
    fn local(&self) -> Name;

    /// `getpeername(2)`.
    fn peer(&self) -> Result<Name, Errno>;

    /// Sends.
    fn send(&self, call: &mut Call<'_>, socket: &Socket, message: Outgoing<'_, '_>) -> SysResult;

    /// Receives.
    fn receive(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        patience: &Patience,
        to: &mut Sink<'_>,
        want: Want,
    ) -> SysResult<Received>;

    /// `shutdown(2)`.
    fn shutdown(&self, how: Shutdown) -> Result<(), Errno>;

    /// As [`File::poll`].
    fn poll(&self, waiter: Option<&Waiter>) -> Ready;

    /// As [`File::forget`].
    fn forget(&self, waiter: &Waiter);

    /// `ioctl(FIONREAD)`.
    fn readable_bytes(&self) -> Result<usize, Errno>;

    /// `SO_ERROR`: the error that waits, once.
    fn take_error(&self) -> Option<Errno>;

    /// `SO_ACCEPTCONN`.
    fn is_listening(&self) -> bool {
        false
    }

    /// Whether it has an address of its own choice already.
    fn is_bound(&self) -> bool;

    /// `SO_PEERCRED`.
    fn peer_credentials(&self) -> Option<SocketCredentials> {
        None
    }

    /// Breaks the connection, as closing does with a linger time of zero.
    fn reset(&self) {}

    /// `SO_SNDBUF`.
    fn set_send_capacity(&self, _bytes: usize) {}
}

/// A socket, as a file.
pub(crate) struct Socket {
    kernel: &'static Kernel,
    number: u64,
    pub(crate) domain: Domain,
    pub(crate) kind: SocketKind,
    pub(crate) options: Mutex<Options>,
    pub(crate) protocol: Box<dyn Protocol>,
}

impl Socket {
    /// A new socket, not connected.
    pub(crate) fn new(kernel: &'static Kernel, domain: Domain, kind: SocketKind) -> Arc<Self> {
        let queue = Arc::new(WaitQueue::new(kernel.scheduler));
        let protocol: Box<dyn Protocol> = match (domain, kind) {
            (Domain::Unix, SocketKind::Datagram) => {
                Box::new(unix_datagram::UnixDatagram::new(kernel, queue))
            }
            (Domain::Unix, SocketKind::Stream | SocketKind::Packets) => {
                Box::new(unix::UnixSocket::new(kernel, kind, queue))
            }
            (Domain::Inet | Domain::Inet6, SocketKind::Datagram) => {
                Box::new(udp::UdpSocket::new(kernel, domain, queue))
            }
            (Domain::Inet | Domain::Inet6, SocketKind::Stream | SocketKind::Packets) => {
                Box::new(inet::TcpSocket::new(kernel, domain, queue))
            }
        };
        Self::with(kernel, domain, kind, Options::default(), protocol)
    }

    /// Two UNIX sockets that are connected to each other.
    pub(crate) fn pair(call: &Call<'_>, kind: SocketKind) -> (Arc<Self>, Arc<Self>) {
        let kernel = call.kernel;
        let credentials = own_credentials(call);
        let (one, other): (Box<dyn Protocol>, Box<dyn Protocol>) = match kind {
            SocketKind::Datagram => {
                let (one, other) = unix_datagram::UnixDatagram::pair(kernel);
                (Box::new(one), Box::new(other))
            }
            SocketKind::Stream | SocketKind::Packets => {
                let (one, other) = unix::UnixSocket::pair(kernel, kind, credentials);
                (Box::new(one), Box::new(other))
            }
        };
        let make = |protocol| Self::with(kernel, Domain::Unix, kind, Options::default(), protocol);
        (make(one), make(other))
    }

    fn with(
        kernel: &'static Kernel,
        domain: Domain,
        kind: SocketKind,
        options: Options,
        protocol: Box<dyn Protocol>,
    ) -> Arc<Self> {
        let number = kernel.next_number();
        Arc::new(Self { kernel, number, domain, kind, options: Mutex::new(options), protocol })
    }

    /// The socket behind an open file.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` when there is none.
    pub(crate) fn of(open: &OpenFile) -> Result<&Self, Errno> {
        open.file.as_any().downcast_ref().ok_or(Errno::ENOTSOCK)
    }

    /// An open file for it.
    pub(crate) fn open(self: Arc<Self>, nonblocking: bool) -> Arc<OpenFile> {
        let mut flags = OpenFlags::READ_WRITE;
        flags.set(OpenFlags::NONBLOCK, nonblocking);
        OpenFile::new(self.kernel, self, None, flags)
    }

    /// `accept(2)`: a socket with the options of this one, and its peer.
    pub(crate) fn accept(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
    ) -> SysResult<(Arc<Self>, Name)> {
        let patience = self.patience(open, Direction::Receive, false);
        let (protocol, peer) = self.protocol.accept(call, &patience)?;
        let options = self.options.lock().clone();
        Ok((Self::with(self.kernel, self.domain, self.kind, options, protocol), peer))
    }

    /// How long operations of one direction wait.
    pub(crate) fn patience(
        &self,
        open: &OpenFile,
        direction: Direction,
        dont_wait: bool,
    ) -> Patience {
        let options = self.options.lock();
        Patience {
            nonblocking: dont_wait || open.nonblocking(),
            timeout_ns: match direction {
                Direction::Receive => options.receive_timeout_ns,
                Direction::Send => options.send_timeout_ns,
            },
            answer: Errno::EAGAIN,
        }
    }

    /// Sends; a stream whose peer is gone raises `SIGPIPE`, unless `quiet`.
    pub(crate) fn send(
        &self,
        call: &mut Call<'_>,
        message: Outgoing<'_, '_>,
        quiet: bool,
    ) -> SysResult {
        let outcome = self.protocol.send(call, self, message);
        if outcome == Err(Stop::Errno(Errno::EPIPE)) && self.kind == SocketKind::Stream && !quiet {
            signal::send_to_thread(call.thread, signal::info_from(SIGPIPE, 0, 0, 0));
        }
        outcome
    }

    fn is_stream(&self) -> bool {
        self.kind == SocketKind::Stream
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.options.get_mut().resets() {
            self.protocol.reset();
        }
    }
}

/// `ioctl(2)` requests.
const FIONREAD: u32 = 0x541b;
const SIOCOUTQ: u32 = 0x5411;
const SIOCATMARK: u32 = 0x8905;

impl File for Socket {
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
        if to.room() == 0 && self.is_stream() {
            return Ok(0);
        }
        let patience = self.patience(open, Direction::Receive, false);
        let received = self.protocol.receive(call, self, &patience, to, Want::default())?;
        Ok(received.count)
    }

    fn keeps_bytes(&self) -> bool {
        true
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        open: &OpenFile,
        _offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        let patience = self.patience(open, Direction::Send, false);
        let label = Label { source: None, credentials: own_credentials(call), rights: None };
        let message = Outgoing { from, label, to: None, patience, whole: true };
        self.send(call, message, false)
    }

    fn poll(&self, _open: &OpenFile, waiter: Option<&Waiter>) -> Ready {
        self.protocol.poll(waiter)
    }

    fn forget(&self, waiter: &Waiter) {
        self.protocol.forget(waiter);
    }

    fn ioctl(
        &self,
        call: &mut Call<'_>,
        _open: &OpenFile,
        request: u32,
        argument: usize,
    ) -> SysResult {
        let answer = match request {
            FIONREAD => self.protocol.readable_bytes()? as u32,
            // What was sent has arrived; urgent data does not exist.
            SIOCOUTQ | SIOCATMARK => 0,
            _ => return interface::control(call, request, argument),
        };
        UserPtr::<u32>::at(argument).write(call.memory, &answer)?;
        Ok(0)
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: self.number };
        Ok(Attributes::anonymous(Kind::Socket, id, 0o777))
    }

    fn label(&self) -> String {
        format!("socket:[{}]", self.number)
    }
}
