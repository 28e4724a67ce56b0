// SPDX-License-Identifier: MIT
//! TCP: byte streams between the programs of the enclave, and with granted peers outside.

use crate::fs::Ready;
use crate::kernel::Kernel;
use crate::net::address::{Domain, Name, destination, is_local, parse_inet, source_for, wildcard};
use crate::net::connection::{Connection, Discipline, Listener};
use crate::net::host::{self, CLIENT_ADDRESS, grant_for, listen_grant_for, own_address};
use crate::net::listening::Outlet;
use crate::net::ports::Binding;
use crate::net::stream::{Received, Want};
use crate::net::udp::claim_for;
use crate::net::unix::dissolves;
use crate::net::{Direction, Outgoing, Patience, Protocol, Shutdown, Socket};
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::sync::{WaitQueue, Waiter};
use crate::task::Call;
use crate::user::Sink;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_wire::message::SocketAsk;

/// Connections that can wait although the backlog is used up, for those who do not block.
const OVERFLOW_MAX: usize = 4096;

/// Where connections to a listening socket arrive.
pub(crate) type Arrivals = Listener<Arrival>;

/// A connection and its addresses.
struct Link {
    connection: Connection,
    local: SocketAddr,
    peer: SocketAddr,
}

/// A connection that waits to be accepted.
pub(crate) struct Arrival {
    link: Link,
    queue: Arc<WaitQueue>,
}

impl Arrival {
    /// `queue` is that of the socket to be.
    pub(crate) const fn new(
        connection: Connection,
        local: SocketAddr,
        peer: SocketAddr,
        queue: Arc<WaitQueue>,
    ) -> Self {
        Self { link: Link { connection, local, peer }, queue }
    }

    /// The connection and its queue, for the kernel itself.
    pub(crate) fn into_parts(self) -> (Connection, Arc<WaitQueue>) {
        (self.link.connection, self.queue)
    }
}

/// Connects the kernel itself to whoever listens on a port of the enclave. The program sees a peer
/// at [`CLIENT_ADDRESS`]. `queue` is woken for the kernel's end. With nobody there, or no room,
/// nothing: `waiter` is woken when that changes.
pub(crate) fn connect_kernel(
    kernel: &'static Kernel,
    port: u16,
    (queue, waiter): (&Arc<WaitQueue>, &Waiter),
) -> Option<Connection> {
    kernel.listening.register(waiter);
    let to = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let arrivals = kernel.net.tcp.find(to, None)?;
    arrivals.room_queue().register(waiter);
    if !arrivals.has_room() {
        return None;
    }
    let far_queue = Arc::new(WaitQueue::new(kernel.scheduler));
    let (near, far) = Connection::pair(Discipline::Tcp, queue, &far_queue);
    let peer = SocketAddr::new(CLIENT_ADDRESS, 0);
    arrivals.push(Arrival::new(far, to, peer, far_queue)).ok()?;
    Some(near)
}

enum Stage {
    Fresh,
    /// A connection was refused; `poll(2)` shows it.
    Failed,
    Listening(Arc<Arrivals>, Option<Arc<Outlet>>),
    /// The host is connecting.
    Connecting(Arc<Link>, Arc<host::Link>),
    /// Whether `connect(2)` has said so already.
    Connected(Arc<Link>, bool),
}

struct State {
    local: SocketAddr,
    binding: Option<Binding<Arrivals>>,
    stage: Stage,
    error: Option<Errno>,
}

/// See the module's text.
pub(crate) struct TcpSocket {
    kernel: &'static Kernel,
    domain: Domain,
    queue: Arc<WaitQueue>,
    state: Mutex<State>,
}

impl TcpSocket {
    /// Neither bound nor connected.
    pub(crate) fn new(kernel: &'static Kernel, domain: Domain, queue: Arc<WaitQueue>) -> Self {
        let local = SocketAddr::new(wildcard(domain), 0);
        let state = State { local, binding: None, stage: Stage::Fresh, error: None };
        Self { kernel, domain, queue, state: Mutex::new(state) }
    }

    fn bind_to(&self, call: &Call<'_>, socket: &Socket, address: SocketAddr) -> Result<(), Errno> {
        let claim = claim_for(call, socket, address)?;
        let random = self.kernel.random.next();
        let binding = self.kernel.net.tcp.claim(claim, random, Weak::new())?;
        let mut state = self.state.lock();
        state.local = SocketAddr::new(address.ip(), binding.port);
        state.binding = Some(binding);
        Ok(())
    }

    fn bind_anywhere(&self, call: &Call<'_>, socket: &Socket) -> Result<(), Errno> {
        if self.is_bound() {
            return Ok(());
        }
        self.bind_to(call, socket, SocketAddr::new(wildcard(self.domain), 0))
    }

    /// The state, after what the host has said about a connection was taken note of.
    fn settled(&self) -> spin::MutexGuard<'_, State> {
        let mut state = self.state.lock();
        let next = match &state.stage {
            Stage::Connecting(link, outside) => match outside.outcome() {
                Some(Ok(_)) => Some((Stage::Connected(Arc::clone(link), false), None)),
                Some(Err(errno)) => Some((Stage::Failed, Some(errno))),
                None => None,
            },
            Stage::Fresh | Stage::Failed | Stage::Listening(..) | Stage::Connected(..) => None,
        };
        if let Some((stage, error)) = next {
            state.stage = stage;
            state.error = error;
        }
        state
    }

    fn link(&self) -> Option<Arc<Link>> {
        match &self.settled().stage {
            Stage::Connected(link, _) => Some(Arc::clone(link)),
            Stage::Fresh | Stage::Failed | Stage::Listening(..) | Stage::Connecting(..) => None,
        }
    }

    /// The connection for bytes; one that is being made is waited for.
    fn ready_link(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
        otherwise: Errno,
    ) -> SysResult<Arc<Link>> {
        let mut state = self.settled();
        if let Some(errno) = state.error.take() {
            return Err(errno.into());
        }
        match &state.stage {
            Stage::Connected(link, _) => Ok(Arc::clone(link)),
            Stage::Connecting(..) => patience.wait(call, &self.queue),
            Stage::Fresh | Stage::Failed | Stage::Listening(..) => Err(otherwise.into()),
        }
    }

    fn fail_to_connect(&self, patience: &Patience, errno: Errno) -> SysResult<()> {
        if !patience.nonblocking {
            return Err(errno.into());
        }
        // As if the refusal came a moment later: that is what programs expect.
        let mut state = self.state.lock();
        state.error = Some(errno);
        state.stage = Stage::Failed;
        drop(state);
        self.queue.wake();
        Err(Errno::EINPROGRESS.into())
    }

    /// A connection within the enclave.
    fn connect_inside(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        to: SocketAddr,
        arrivals: &Arc<Arrivals>,
        patience: &Patience,
    ) -> SysResult<()> {
        if patience.nonblocking {
            if arrivals.waiting() >= OVERFLOW_MAX {
                return self.fail_to_connect(patience, Errno::ETIMEDOUT);
            }
        } else {
            arrivals.reserve(call, patience)?;
        }
        self.bind_anywhere(call, socket)?;
        let bound = self.state.lock().local;
        let any = bound.ip().is_unspecified();
        let ip = if any { source_for(to.ip()) } else { bound.ip() };
        let local = SocketAddr::new(ip, bound.port());
        let queue = Arc::new(WaitQueue::new(self.kernel.scheduler));
        let (near, far) = Connection::pair(Discipline::Tcp, &self.queue, &queue);
        near.outgoing.set_capacity(socket.options.lock().send_capacity());
        if arrivals.push(Arrival::new(far, to, local, queue)).is_err() {
            return self.fail_to_connect(patience, Errno::ECONNREFUSED);
        }
        let link = Arc::new(Link { connection: near, local, peer: to });
        self.state.lock().stage = Stage::Connected(link, !patience.nonblocking);
        self.queue.wake();
        if patience.nonblocking { Err(Errno::EINPROGRESS.into()) } else { Ok(()) }
    }

    /// A connection that the host makes.
    fn connect_outside(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        to: SocketAddr,
        grant: u16,
        patience: &Patience,
    ) -> SysResult<()> {
        self.bind_anywhere(call, socket)?;
        let (outside, connection) = host::Link::connect(self.kernel, &self.queue, grant);
        let local = own_address(self.state.lock().local.port());
        let link = Arc::new(Link { connection, local, peer: to });
        let mut state = self.state.lock();
        state.stage = Stage::Connecting(link, outside);
        if patience.nonblocking {
            return Err(Errno::EINPROGRESS.into());
        }
        patience.wait(call, &self.queue)
    }

    fn connect_fresh(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        to: SocketAddr,
        patience: &Patience,
    ) -> SysResult<()> {
        if socket.options.lock().v6_only() && to.is_ipv4() {
            return Err(Errno::ENETUNREACH.into());
        }
        if is_local(to.ip())
            && let Some(arrivals) = self.kernel.net.tcp.find(to, None)
        {
            return self.connect_inside(call, socket, to, &arrivals, patience);
        }
        match grant_for(&self.kernel.manifest, to) {
            Some(grant) => self.connect_outside(call, socket, to, grant, patience),
            None if is_local(to.ip()) => self.fail_to_connect(patience, Errno::ECONNREFUSED),
            None => {
                self.kernel.net.outside.report_not_granted(self.kernel, to);
                Err(Errno::ENETUNREACH.into())
            }
        }
    }

    /// Starts listening, on the host too where that is granted.
    fn start_listening(&self, backlog: usize) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let binding = state.binding.as_ref().ok_or(Errno::EINVAL)?;
        let port = binding.port;
        let arrivals = Arc::new(Listener::new(self.kernel, &self.queue, backlog));
        binding.listen(&arrivals)?;
        self.kernel.listening.wake();
        let grant = listen_grant_for(&self.kernel.manifest, port)
            .filter(|_| self.kernel.net.outside.claim_port(port));
        let backlog = backlog.clamp(1, 4096) as u16;
        let outlet = grant.map(|grant| {
            let ask = SocketAsk::Listen { grant, backlog };
            Outlet::open(self.kernel, &arrivals, ask, Some(port))
        });
        state.stage = Stage::Listening(arrivals, outlet);
        Ok(())
    }

    fn disconnect(&self) {
        let mut state = self.state.lock();
        let old = match state.stage {
            Stage::Listening(..) => return,
            Stage::Fresh | Stage::Failed | Stage::Connecting(..) | Stage::Connected(..) => {
                core::mem::replace(&mut state.stage, Stage::Fresh)
            }
        };
        state.error = None;
        drop(state);
        drop(old);
    }
}

fn stop_listening(arrivals: &Arrivals, outlet: Option<&Arc<Outlet>>) {
    if let Some(outlet) = outlet {
        outlet.close();
    }
    for arrival in arrivals.close() {
        arrival.link.connection.reset();
    }
}

impl Protocol for TcpSocket {
    fn bind(&self, call: &mut Call<'_>, socket: &Socket, address: &[u8]) -> SysResult<()> {
        let address = parse_inet(address, self.domain)?;
        if self.is_bound() {
            return Err(Errno::EINVAL.into());
        }
        Ok(self.bind_to(call, socket, address)?)
    }

    fn listen(&self, call: &mut Call<'_>, socket: &Socket, backlog: usize) -> SysResult<()> {
        let stage = match &self.settled().stage {
            Stage::Listening(arrivals, outlet) => {
                arrivals.set_backlog(backlog);
                Some(outlet.clone())
            }
            Stage::Fresh | Stage::Failed => None,
            Stage::Connecting(..) | Stage::Connected(..) => return Err(Errno::EINVAL.into()),
        };
        let outlet = if let Some(outlet) = stage {
            outlet
        } else {
            self.bind_anywhere(call, socket)?;
            self.start_listening(backlog)?;
            match &self.state.lock().stage {
                Stage::Listening(_, outlet) => outlet.clone(),
                Stage::Fresh | Stage::Failed | Stage::Connecting(..) | Stage::Connected(..) => None,
            }
        };
        let Some(outlet) = outlet else { return Ok(()) };
        match outlet.outcome(&call.waiter()) {
            None => Err(Stop::Sleep(Interrupt::Never)),
            Some(Ok(())) => Ok(()),
            Some(Err(errno)) => {
                let old = core::mem::replace(&mut self.state.lock().stage, Stage::Fresh);
                if let Stage::Listening(arrivals, outlet) = &old {
                    stop_listening(arrivals, outlet.as_ref());
                }
                Err(errno.into())
            }
        }
    }

    fn accept(
        &self,
        call: &mut Call<'_>,
        patience: &Patience,
    ) -> SysResult<(Box<dyn Protocol>, Name)> {
        let arrivals = match &self.state.lock().stage {
            Stage::Listening(arrivals, _) => Arc::clone(arrivals),
            Stage::Fresh | Stage::Failed | Stage::Connecting(..) | Stage::Connected(..) => {
                return Err(Errno::EINVAL.into());
            }
        };
        let Arrival { link, queue } = arrivals.accept(call, patience)?;
        let (local, peer) = (link.local, Name::Inet(link.peer));
        let stage = Stage::Connected(Arc::new(link), true);
        let state = State { local, binding: None, stage, error: None };
        let (kernel, domain) = (self.kernel, self.domain);
        Ok((Box::new(Self { kernel, domain, queue, state: Mutex::new(state) }), peer))
    }

    fn connect(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        address: &[u8],
        patience: &Patience,
    ) -> SysResult<()> {
        if dissolves(address)? {
            self.disconnect();
            return Ok(());
        }
        let to = destination(parse_inet(address, self.domain)?);
        {
            let mut state = self.settled();
            match &mut state.stage {
                Stage::Connected(_, told) if !*told => {
                    *told = true;
                    return Ok(());
                }
                Stage::Connected(..) | Stage::Listening(..) => return Err(Errno::EISCONN.into()),
                Stage::Connecting(..) if patience.nonblocking => {
                    return Err(Errno::EALREADY.into());
                }
                Stage::Connecting(..) => return patience.wait(call, &self.queue),
                Stage::Fresh | Stage::Failed => {}
            }
            state.stage = Stage::Fresh;
            if let Some(errno) = state.error.take() {
                return Err(errno.into());
            }
        }
        self.connect_fresh(call, socket, to, patience)
    }

    fn local(&self) -> Name {
        let state = self.settled();
        Name::Inet(match &state.stage {
            Stage::Connected(link, _) | Stage::Connecting(link, _) => link.local,
            Stage::Fresh | Stage::Failed | Stage::Listening(..) => state.local,
        })
    }

    fn peer(&self) -> Result<Name, Errno> {
        self.link().map(|link| Name::Inet(link.peer)).ok_or(Errno::ENOTCONN)
    }

    fn send(
        &self,
        call: &mut Call<'_>,
        _socket: &Socket,
        mut message: Outgoing<'_, '_>,
    ) -> SysResult {
        let link = self.ready_link(call, &message.patience, Errno::EPIPE)?;
        let Outgoing { from, patience, label, whole, .. } = &mut message;
        label.rights = None;
        link.connection.send(call, patience, from, label, *whole)
    }

    fn receive(
        &self,
        call: &mut Call<'_>,
        _socket: &Socket,
        patience: &Patience,
        to: &mut Sink<'_>,
        want: Want,
    ) -> SysResult<Received> {
        let link = self.ready_link(call, patience, Errno::ENOTCONN)?;
        let mut received = link.connection.receive(call, patience, to, want)?;
        received.credentials = None;
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let listening = match &self.settled().stage {
            Stage::Connected(link, _) => {
                link.connection.shutdown(how);
                None
            }
            Stage::Listening(arrivals, outlet) => Some((Arc::clone(arrivals), outlet.clone())),
            Stage::Fresh | Stage::Failed | Stage::Connecting(..) => return Err(Errno::ENOTCONN),
        };
        if let Some((arrivals, outlet)) = listening
            && how.covers(Direction::Receive)
        {
            stop_listening(&arrivals, outlet.as_ref());
        }
        self.queue.wake();
        Ok(())
    }

    fn poll(&self, waiter: Option<&Waiter>) -> Ready {
        if let Some(waiter) = waiter {
            self.queue.register(waiter);
        }
        let state = self.settled();
        let ready = match &state.stage {
            Stage::Fresh => Ready::WRITE | Ready::HANGUP,
            Stage::Failed => Ready::READ | Ready::WRITE | Ready::HANGUP | Ready::READ_HANGUP,
            Stage::Listening(arrivals, _) => Ready::READ.when(arrivals.has_waiting()),
            Stage::Connecting(..) => Ready::empty(),
            Stage::Connected(link, _) => link.connection.readiness(),
        };
        ready | Ready::ERROR.when(state.error.is_some())
    }

    fn forget(&self, waiter: &Waiter) {
        self.queue.deregister(waiter);
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        if self.is_listening() {
            return Err(Errno::EINVAL);
        }
        Ok(self.link().map_or(0, |link| link.connection.incoming.readable_bytes(false)))
    }

    fn take_error(&self) -> Option<Errno> {
        let error = self.settled().error.take();
        error.or_else(|| self.link()?.connection.incoming.take_error())
    }

    fn is_listening(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Listening(..))
    }

    fn is_bound(&self) -> bool {
        self.state.lock().binding.is_some()
    }

    fn reset(&self) {
        if let Some(link) = self.link() {
            link.connection.reset();
        }
    }

    fn set_send_capacity(&self, bytes: usize) {
        if let Some(link) = self.link() {
            link.connection.outgoing.set_capacity(bytes);
        }
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        if let Stage::Listening(arrivals, outlet) = &self.state.get_mut().stage {
            stop_listening(arrivals, outlet.as_ref());
        }
    }
}
