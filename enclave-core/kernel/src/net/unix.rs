// SPDX-License-Identifier: MIT
//! UNIX sockets with connections: streams and sequenced packets.

use crate::fs::Ready;
use crate::kernel::Kernel;
use crate::net::address::{AF_UNSPEC, Name, UnixName, family_of};
use crate::net::connection::{Connection, Discipline, Listener};
use crate::net::own_credentials;
use crate::net::stream::{Received, Want};
use crate::net::unix_name::Rendezvous;
use crate::net::{Direction, Outgoing, Patience, Protocol, Shutdown, Socket, SocketKind};
use crate::outcome::SysResult;
use crate::sync::{WaitQueue, Waiter};
use crate::task::Call;
use crate::user::Sink;
use alloc::boxed::Box;
use alloc::sync::Arc;
use spin::Mutex;
use strongroom_abi::{Errno, SocketCredentials};

/// Whom a program sees at the other end of a connection that the kernel has made: the overflow user
/// and group, so that nobody takes it for root.
const NOBODY: SocketCredentials = SocketCredentials { pid: 0, uid: 65_534, gid: 65_534 };

/// A connection with what is known of its peer.
struct Link {
    connection: Connection,
    peer: UnixName,
    credentials: SocketCredentials,
}

/// A connection that waits to be accepted.
pub(crate) struct Arrival {
    link: Link,
    queue: Arc<WaitQueue>,
}

enum Stage {
    Fresh,
    Listening(Arc<Listener<Arrival>>),
    Connected(Arc<Link>),
}

struct State {
    name: UnixName,
    rendezvous: Option<Arc<Rendezvous>>,
    stage: Stage,
}

/// See the module's text.
pub(crate) struct UnixSocket {
    kernel: &'static Kernel,
    kind: SocketKind,
    queue: Arc<WaitQueue>,
    state: Mutex<State>,
}

const fn discipline(kind: SocketKind) -> Discipline {
    match kind {
        SocketKind::Packets => Discipline::UnixPackets,
        SocketKind::Stream | SocketKind::Datagram => Discipline::UnixStream,
    }
}

impl UnixSocket {
    /// Neither named nor connected.
    pub(crate) fn new(kernel: &'static Kernel, kind: SocketKind, queue: Arc<WaitQueue>) -> Self {
        Self::at(kernel, kind, queue, UnixName::Unnamed, Stage::Fresh)
    }

    fn at(
        kernel: &'static Kernel,
        kind: SocketKind,
        queue: Arc<WaitQueue>,
        name: UnixName,
        stage: Stage,
    ) -> Self {
        let state = Mutex::new(State { name, rendezvous: None, stage });
        Self { kernel, kind, queue, state }
    }

    /// `socketpair(2)`.
    pub(crate) fn pair(
        kernel: &'static Kernel,
        kind: SocketKind,
        credentials: SocketCredentials,
    ) -> (Self, Self) {
        let one = Arc::new(WaitQueue::new(kernel.scheduler));
        let other = Arc::new(WaitQueue::new(kernel.scheduler));
        let (near, far) = Connection::pair(discipline(kind), &one, &other);
        let make = |queue, connection| {
            let link = Link { connection, peer: UnixName::Unnamed, credentials };
            Self::at(kernel, kind, queue, UnixName::Unnamed, Stage::Connected(Arc::new(link)))
        };
        (make(one, near), make(other, far))
    }

    fn link(&self, otherwise: Errno) -> Result<Arc<Link>, Errno> {
        match &self.state.lock().stage {
            Stage::Connected(link) => Ok(Arc::clone(link)),
            Stage::Fresh | Stage::Listening(_) => Err(otherwise),
        }
    }

    fn not_connected(&self) -> Errno {
        // Linux's unix_stream_recvmsg; the other types say what one expects.
        if self.kind == SocketKind::Stream { Errno::EINVAL } else { Errno::ENOTCONN }
    }
}

impl Protocol for UnixSocket {
    fn bind(&self, call: &mut Call<'_>, _socket: &Socket, address: &[u8]) -> SysResult<()> {
        let name = UnixName::parse(address)?;
        if self.is_bound() {
            return Err(Errno::EINVAL.into());
        }
        let rendezvous = Rendezvous::claim(call, name, self.kind, None)?;
        let mut state = self.state.lock();
        state.name = rendezvous.name.clone();
        state.rendezvous = Some(rendezvous);
        Ok(())
    }

    fn listen(&self, call: &mut Call<'_>, _socket: &Socket, backlog: usize) -> SysResult<()> {
        let credentials = own_credentials(call);
        let mut state = self.state.lock();
        let rendezvous = state.rendezvous.clone().ok_or(Errno::EINVAL)?;
        match &state.stage {
            Stage::Connected(_) => Err(Errno::EINVAL.into()),
            Stage::Listening(listener) => {
                listener.set_backlog(backlog);
                Ok(())
            }
            Stage::Fresh => {
                let listener = Arc::new(Listener::new(self.kernel, &self.queue, backlog));
                *rendezvous.listener.lock() = Some((Arc::clone(&listener), credentials));
                state.stage = Stage::Listening(listener);
                self.kernel.listening.wake();
                Ok(())
            }
        }
    }

    fn accept(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
    ) -> SysResult<(Box<dyn Protocol>, Name)> {
        let (listener, name) = {
            let state = self.state.lock();
            match &state.stage {
                Stage::Listening(listener) => (Arc::clone(listener), state.name.clone()),
                Stage::Fresh | Stage::Connected(_) => return Err(Errno::EINVAL.into()),
            }
        };
        let Arrival { link, queue } = listener.accept(call, patience)?;
        let peer = Name::Unix(link.peer.clone());
        let stage = Stage::Connected(Arc::new(link));
        Ok((Box::new(Self::at(self.kernel, self.kind, queue, name, stage)), peer))
    }

    fn connect(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        address: &[u8],
        patience: &Patience,
    ) -> SysResult<()> {
        let name = UnixName::parse(address)?;
        match &self.state.lock().stage {
            Stage::Fresh => {}
            Stage::Connected(_) => return Err(Errno::EISCONN.into()),
            Stage::Listening(_) => return Err(Errno::EINVAL.into()),
        }
        let rendezvous = Rendezvous::find(call, &name, self.kind)?;
        let arrivals = rendezvous.listener.lock().clone();
        let (listener, credentials) = arrivals.ok_or(Errno::ECONNREFUSED)?;
        listener.reserve(call, patience)?;
        if !self.is_bound() && socket.options.lock().passes_credentials() {
            self.bind(call, socket, &crate::net::address::AF_UNIX.to_ne_bytes())?;
        }
        let queue = Arc::new(WaitQueue::new(self.kernel.scheduler));
        let (near, far) = Connection::pair(discipline(self.kind), &self.queue, &queue);
        near.outgoing.set_capacity(socket.options.lock().send_capacity());
        let own = self.state.lock().name.clone();
        let link = Link { connection: far, peer: own, credentials: own_credentials(call) };
        if listener.push(Arrival { link, queue }).is_err() {
            return Err(Errno::ECONNREFUSED.into());
        }
        let peer = rendezvous.name.clone();
        let link = Link { connection: near, peer, credentials };
        self.state.lock().stage = Stage::Connected(Arc::new(link));
        self.queue.wake();
        Ok(())
    }

    fn local(&self) -> Name {
        Name::Unix(self.state.lock().name.clone())
    }

    fn peer(&self) -> Result<Name, Errno> {
        self.link(Errno::ENOTCONN).map(|link| Name::Unix(link.peer.clone()))
    }

    fn send(
        &self,
        call: &mut Call<'_>,
        _socket: &Socket,
        mut message: Outgoing<'_, '_>,
    ) -> SysResult {
        let link = self.link(Errno::ENOTCONN)?;
        if message.to.is_some() && self.kind == SocketKind::Stream {
            return Err(Errno::EISCONN.into());
        }
        let Outgoing { from, patience, label, whole, .. } = &mut message;
        link.connection.send(call, patience, from, label, *whole)
    }

    fn receive(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        patience: &Patience,
        to: &mut Sink<'_>,
        mut want: Want,
    ) -> SysResult<Received> {
        let link = self.link(self.not_connected())?;
        want.credentials = socket.options.lock().passes_credentials();
        want.whole &= self.kind == SocketKind::Stream;
        let mut received = link.connection.receive(call, patience, to, want)?;
        if !want.credentials {
            received.credentials = None;
        }
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let listener = match &self.state.lock().stage {
            Stage::Fresh => return Err(Errno::ENOTCONN),
            Stage::Listening(listener) => Arc::clone(listener),
            Stage::Connected(link) => {
                link.connection.shutdown(how);
                return Ok(());
            }
        };
        if how.covers(Direction::Receive) {
            reset_all(&listener);
        }
        Ok(())
    }

    fn poll(&self, waiter: Option<&Waiter>) -> Ready {
        if let Some(waiter) = waiter {
            self.queue.register(waiter);
        }
        match &self.state.lock().stage {
            Stage::Fresh => Ready::WRITE | Ready::HANGUP,
            Stage::Listening(listener) => Ready::READ.when(listener.has_waiting()),
            Stage::Connected(link) => link.connection.readiness(),
        }
    }

    fn forget(&self, waiter: &Waiter) {
        self.queue.deregister(waiter);
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        let link = self.link(Errno::EINVAL)?;
        Ok(link.connection.incoming.readable_bytes(self.kind == SocketKind::Packets))
    }

    fn take_error(&self) -> Option<Errno> {
        self.link(Errno::ENOTCONN).ok()?.connection.incoming.take_error()
    }

    fn is_listening(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Listening(_))
    }

    fn is_bound(&self) -> bool {
        self.state.lock().name != UnixName::Unnamed
    }

    fn peer_credentials(&self) -> Option<SocketCredentials> {
        self.link(Errno::ENOTCONN).ok().map(|link| link.credentials)
    }

    fn set_send_capacity(&self, bytes: usize) {
        if let Ok(link) = self.link(Errno::ENOTCONN) {
            link.connection.outgoing.set_capacity(bytes);
        }
    }
}

/// Connects the kernel itself to whoever listens under an abstract name; the program sees a peer of
/// the name `own`, of no process and of nobody. `queue` is woken for the kernel's end. With nobody
/// there, or no room, nothing: `waiter` is woken when that changes.
pub(crate) fn connect_kernel(
    kernel: &'static Kernel,
    to: &[u8],
    own: &UnixName,
    (queue, waiter): (&Arc<WaitQueue>, &Waiter),
) -> Option<Connection> {
    kernel.listening.register(waiter);
    let rendezvous = kernel.net.unix.find(to)?;
    let (listener, _) = rendezvous.listener.lock().clone()?;
    listener.room_queue().register(waiter);
    if rendezvous.kind != SocketKind::Stream || !listener.has_room() {
        return None;
    }
    let far_queue = Arc::new(WaitQueue::new(kernel.scheduler));
    let (near, far) = Connection::pair(Discipline::UnixStream, queue, &far_queue);
    let link = Link { connection: far, peer: own.clone(), credentials: NOBODY };
    listener.push(Arrival { link, queue: far_queue }).ok()?;
    Some(near)
}

fn reset_all(listener: &Listener<Arrival>) {
    for arrival in listener.close() {
        arrival.link.connection.reset();
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Stage::Listening(listener) = &self.state.lock().stage {
            reset_all(listener);
        }
    }
}

/// Whether an address asks for the connection to be dissolved.
pub(crate) fn dissolves(address: &[u8]) -> Result<bool, Errno> {
    Ok(family_of(address)? == AF_UNSPEC)
}
