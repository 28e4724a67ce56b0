// SPDX-License-Identifier: MIT
//! UDP between the programs of the enclave. Nothing outside can be reached by it.

use crate::fs::Ready;
use crate::kernel::Kernel;
use crate::net::address::{Domain, Name, destination, is_local, parse_inet, source_for, wildcard};
use crate::net::ports::{Binding, Claim};
use crate::net::stream::{Channel, Received, Want};
use crate::net::unix::dissolves;
use crate::net::{Direction, Outgoing, Patience, Protocol, Shutdown, Socket};
use crate::outcome::{Stop, SysResult};
use crate::sync::{WaitQueue, Waiter};
use crate::task::Call;
use crate::user::Sink;
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};
use spin::Mutex;
use strongroom_abi::Errno;

/// Most bytes of a datagram.
const DATAGRAM_MAX: usize = 65_507;
/// Ports below this are for root.
pub(crate) const PRIVILEGED_END: u16 = 1024;

/// Where datagrams of a socket arrive.
pub(crate) struct Inbox(Arc<Channel>);

struct State {
    local: SocketAddr,
    binding: Option<Binding<Inbox>>,
    peer: Option<SocketAddr>,
    sends: bool,
}

/// See the module's text.
pub(crate) struct UdpSocket {
    kernel: &'static Kernel,
    domain: Domain,
    queue: Arc<WaitQueue>,
    inbox: Arc<Inbox>,
    state: Mutex<State>,
}

/// What a socket with these options wants; checks that it may.
///
/// # Errors
///
/// `EADDRNOTAVAIL` for an address that is not the enclave's, `EACCES` for a port of root.
pub(crate) fn claim_for(
    call: &Call<'_>,
    socket: &Socket,
    address: SocketAddr,
) -> Result<Claim, Errno> {
    let options = socket.options.lock();
    let credentials = call.thread.process.credentials.lock();
    let v6_only = options.v6_only();
    if !is_local(address.ip()) || v6_only && address.is_ipv4() {
        return Err(Errno::EADDRNOTAVAIL);
    }
    if (1..PRIVILEGED_END).contains(&address.port()) && !credentials.is_root() {
        return Err(Errno::EACCES);
    }
    Ok(Claim {
        address: address.ip(),
        port: address.port(),
        v6_only,
        reuse_address: options.reuses_address(),
        reuse_port: options.reuses_port(),
        uid: credentials.euid,
    })
}

impl UdpSocket {
    /// Neither bound nor connected.
    pub(crate) fn new(kernel: &'static Kernel, domain: Domain, queue: Arc<WaitQueue>) -> Self {
        let room = Arc::new(WaitQueue::new(kernel.scheduler));
        let inbox = Arc::new(Inbox(Channel::new(Arc::clone(&queue), room)));
        let state = State {
            local: SocketAddr::new(wildcard(domain), 0),
            binding: None,
            peer: None,
            sends: true,
        };
        Self { kernel, domain, queue, inbox, state: Mutex::new(state) }
    }

    fn bind_to(&self, call: &Call<'_>, socket: &Socket, address: SocketAddr) -> Result<(), Errno> {
        let claim = claim_for(call, socket, address)?;
        let random = self.kernel.random.next();
        let target = Arc::downgrade(&self.inbox);
        let binding = self.kernel.net.udp.claim(claim, random, target)?;
        let mut state = self.state.lock();
        state.local = SocketAddr::new(address.ip(), binding.port);
        state.binding = Some(binding);
        Ok(())
    }

    /// The socket's own address as a receiver at `to` sees it; takes a port if it has none.
    fn source(&self, call: &Call<'_>, socket: &Socket, to: IpAddr) -> Result<SocketAddr, Errno> {
        if !self.is_bound() {
            self.bind_to(call, socket, SocketAddr::new(wildcard(self.domain), 0))?;
        }
        let local = self.state.lock().local;
        let any = local.ip().is_unspecified();
        Ok(SocketAddr::new(if any { source_for(to) } else { local.ip() }, local.port()))
    }

    /// Where a message goes.
    fn target(&self, socket: &Socket, to: Option<&[u8]>) -> Result<SocketAddr, Errno> {
        let to = match to {
            Some(address) => destination(parse_inet(address, self.domain)?),
            None => self.state.lock().peer.ok_or(Errno::EDESTADDRREQ)?,
        };
        if to.port() == 0 {
            return Err(Errno::EINVAL);
        }
        if !is_local(to.ip()) || socket.options.lock().v6_only() && to.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        Ok(to)
    }
}

impl Protocol for UdpSocket {
    fn bind(&self, call: &mut Call<'_>, socket: &Socket, address: &[u8]) -> SysResult<()> {
        let address = parse_inet(address, self.domain)?;
        if self.is_bound() {
            return Err(Errno::EINVAL.into());
        }
        Ok(self.bind_to(call, socket, address)?)
    }

    fn connect(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        address: &[u8],
        _patience: &Patience,
    ) -> SysResult<()> {
        if dissolves(address)? {
            let mut state = self.state.lock();
            state.peer = None;
            if let Some(binding) = &state.binding {
                binding.set_peer(None);
            }
            return Ok(());
        }
        let to = self.target(socket, Some(address))?;
        let local = self.source(call, socket, to.ip())?;
        let mut state = self.state.lock();
        state.local = local;
        state.peer = Some(to);
        if let Some(binding) = &state.binding {
            binding.set_peer(Some(to));
        }
        Ok(())
    }

    fn local(&self) -> Name {
        Name::Inet(self.state.lock().local)
    }

    fn peer(&self) -> Result<Name, Errno> {
        self.state.lock().peer.map(Name::Inet).ok_or(Errno::ENOTCONN)
    }

    fn send(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        mut message: Outgoing<'_, '_>,
    ) -> SysResult {
        let length = message.from.left();
        if length > DATAGRAM_MAX {
            return Err(Errno::EMSGSIZE.into());
        }
        if let Some(errno) = self.inbox.0.take_error() {
            return Err(errno.into());
        }
        if !self.state.lock().sends {
            return Err(Errno::EPIPE.into());
        }
        let to = self.target(socket, message.to)?;
        let source = self.source(call, socket, to.ip())?;
        message.label.source = Some(Name::Inet(source));
        let Some(receiver) = self.kernel.net.udp.find(to, Some(source)) else {
            // The answer that the port is unreachable reaches only who is connected to it.
            if self.state.lock().peer == Some(to) {
                self.inbox.0.note_error(Errno::ECONNREFUSED);
            }
            return Ok(length);
        };
        let patience = Patience { nonblocking: true, ..message.patience };
        match receiver.0.send_message(call, &patience, message.from, &mut message.label) {
            // A receiver without room, or one that has ended: datagrams get lost.
            Err(Stop::Errno(Errno::EAGAIN | Errno::EPIPE)) => Ok(length),
            outcome => outcome,
        }
    }

    fn receive(
        &self,
        call: &mut Call<'_>,
        _socket: &Socket,
        patience: &Patience,
        to: &mut Sink<'_>,
        want: Want,
    ) -> SysResult<Received> {
        let mut received = self.inbox.0.receive_message(call, patience, to, want)?;
        received.credentials = None;
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        self.peer()?;
        if how.covers(Direction::Send) {
            self.state.lock().sends = false;
        }
        if how.covers(Direction::Receive) {
            self.inbox.0.end();
        }
        self.queue.wake();
        Ok(())
    }

    fn poll(&self, waiter: Option<&Waiter>) -> Ready {
        if let Some(waiter) = waiter {
            self.queue.register(waiter);
        }
        let input = self.inbox.0.snapshot();
        let sends = self.state.lock().sends;
        Ready::READ.when(input.readable || input.ended || input.failed)
            | Ready::READ_HANGUP.when(input.ended)
            | Ready::HANGUP.when(input.ended && !sends)
            | Ready::ERROR.when(input.failed)
            | Ready::WRITE
    }

    fn forget(&self, waiter: &Waiter) {
        self.queue.deregister(waiter);
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        Ok(self.inbox.0.readable_bytes(true))
    }

    fn take_error(&self) -> Option<Errno> {
        self.inbox.0.take_error()
    }

    fn is_bound(&self) -> bool {
        self.state.lock().binding.is_some()
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.inbox.0.refuse();
    }
}
