// SPDX-License-Identifier: MIT
//! UNIX sockets without connections.

use crate::fs::Ready;
use crate::kernel::Kernel;
use crate::net::address::{AF_UNIX, Name, UnixName};
use crate::net::stream::{Channel, Received, Want};
use crate::net::unix::dissolves;
use crate::net::unix_name::Rendezvous;
use crate::net::{Direction, Outgoing, Patience, Protocol, Shutdown, Socket, SocketKind};
use crate::outcome::{Stop, SysResult};
use crate::sync::{WaitQueue, Waiter};
use crate::task::Call;
use crate::user::Sink;
use alloc::sync::{Arc, Weak};
use spin::Mutex;
use strongroom_abi::Errno;

/// To whom messages without an address go.
#[derive(Clone)]
struct Peer {
    inbox: Weak<Channel>,
    name: UnixName,
}

#[derive(Default)]
struct State {
    rendezvous: Option<Arc<Rendezvous>>,
    peer: Option<Peer>,
    sends: bool,
}

/// See the module's text.
pub(crate) struct UnixDatagram {
    queue: Arc<WaitQueue>,
    inbox: Arc<Channel>,
    state: Mutex<State>,
}

impl UnixDatagram {
    /// Neither named nor connected.
    pub(crate) fn new(kernel: &'static Kernel, queue: Arc<WaitQueue>) -> Self {
        // Senders wait in a queue of the inbox: there may be many.
        let room = Arc::new(WaitQueue::new(kernel.scheduler));
        let inbox = Channel::new(Arc::clone(&queue), room);
        Self { queue, inbox, state: Mutex::new(State { sends: true, ..State::default() }) }
    }

    /// `socketpair(2)`.
    pub(crate) fn pair(kernel: &'static Kernel) -> (Self, Self) {
        let make = || Self::new(kernel, Arc::new(WaitQueue::new(kernel.scheduler)));
        let (one, other) = (make(), make());
        let peer = |of: &Self| Peer { inbox: Arc::downgrade(&of.inbox), name: UnixName::Unnamed };
        one.state.lock().peer = Some(peer(&other));
        other.state.lock().peer = Some(peer(&one));
        (one, other)
    }

    fn name(&self) -> UnixName {
        let state = self.state.lock();
        state.rendezvous.as_ref().map_or(UnixName::Unnamed, |bound| bound.name.clone())
    }

    /// The inbox of a message's receiver.
    fn receiver(&self, call: &Call<'_>, to: Option<&[u8]>) -> SysResult<Arc<Channel>> {
        if let Some(address) = to {
            return inbox_of(call, &UnixName::parse(address)?).map(|(inbox, _)| inbox);
        }
        let peer = self.state.lock().peer.clone().ok_or(Errno::ENOTCONN)?;
        match peer.inbox.upgrade() {
            Some(inbox) => Ok(inbox),
            None => {
                self.state.lock().peer = None;
                Err(Errno::ECONNREFUSED.into())
            }
        }
    }

    fn peer_inbox(&self) -> Option<Arc<Channel>> {
        self.state.lock().peer.as_ref().and_then(|peer| peer.inbox.upgrade())
    }
}

fn inbox_of(call: &Call<'_>, name: &UnixName) -> SysResult<(Arc<Channel>, UnixName)> {
    let rendezvous = Rendezvous::find(call, name, SocketKind::Datagram)?;
    let inbox = rendezvous.inbox.clone().ok_or(Errno::ECONNREFUSED)?;
    Ok((inbox, rendezvous.name.clone()))
}

impl Protocol for UnixDatagram {
    fn bind(&self, call: &mut Call<'_>, _socket: &Socket, address: &[u8]) -> SysResult<()> {
        let name = UnixName::parse(address)?;
        if self.is_bound() {
            return Err(Errno::EINVAL.into());
        }
        let inbox = Some(Arc::clone(&self.inbox));
        let rendezvous = Rendezvous::claim(call, name, SocketKind::Datagram, inbox)?;
        self.state.lock().rendezvous = Some(rendezvous);
        Ok(())
    }

    fn connect(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        address: &[u8],
        _patience: &Patience,
    ) -> SysResult<()> {
        if dissolves(address)? {
            self.state.lock().peer = None;
            return Ok(());
        }
        let (inbox, name) = inbox_of(call, &UnixName::parse(address)?)?;
        if !self.is_bound() && socket.options.lock().passes_credentials() {
            self.bind(call, socket, &AF_UNIX.to_ne_bytes())?;
        }
        self.state.lock().peer = Some(Peer { inbox: Arc::downgrade(&inbox), name });
        self.queue.wake();
        Ok(())
    }

    fn local(&self) -> Name {
        Name::Unix(self.name())
    }

    fn peer(&self) -> Result<Name, Errno> {
        let state = self.state.lock();
        state.peer.as_ref().map(|peer| Name::Unix(peer.name.clone())).ok_or(Errno::ENOTCONN)
    }

    fn send(
        &self,
        call: &mut Call<'_>,
        _socket: &Socket,
        mut message: Outgoing<'_, '_>,
    ) -> SysResult {
        if !self.state.lock().sends {
            return Err(Errno::EPIPE.into());
        }
        let inbox = self.receiver(call, message.to)?;
        message.label.source = Some(Name::Unix(self.name()));
        let Outgoing { from, patience, label, .. } = &mut message;
        match inbox.send_message(call, patience, from, label) {
            // The receiver has shut it, or was closed at this moment.
            Err(Stop::Errno(Errno::EPIPE)) if message.to.is_some() => {
                Err(Errno::ECONNREFUSED.into())
            }
            outcome => outcome,
        }
    }

    fn receive(
        &self,
        call: &mut Call<'_>,
        socket: &Socket,
        patience: &Patience,
        to: &mut Sink<'_>,
        want: Want,
    ) -> SysResult<Received> {
        let mut received = self.inbox.receive_message(call, patience, to, want)?;
        if !socket.options.lock().passes_credentials() {
            received.credentials = None;
        }
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        self.peer()?;
        if how.covers(Direction::Send) {
            self.state.lock().sends = false;
        }
        if how.covers(Direction::Receive) {
            self.inbox.seal();
            self.inbox.end();
        }
        self.queue.wake();
        Ok(())
    }

    fn poll(&self, waiter: Option<&Waiter>) -> Ready {
        let peer = self.peer_inbox();
        if let Some(waiter) = waiter {
            self.queue.register(waiter);
            if let Some(peer) = &peer {
                peer.room_queue().register(waiter);
            }
        }
        let input = self.inbox.snapshot();
        let sends = self.state.lock().sends;
        let writable = peer.is_none_or(|peer| {
            let peer = peer.snapshot();
            peer.writable || peer.refused
        });
        Ready::READ.when(input.readable || input.ended)
            | Ready::READ_HANGUP.when(input.ended)
            | Ready::HANGUP.when(input.ended && !sends)
            | Ready::ERROR.when(input.failed)
            | Ready::WRITE.when(writable || !sends)
    }

    fn forget(&self, waiter: &Waiter) {
        self.queue.deregister(waiter);
        if let Some(peer) = self.peer_inbox() {
            peer.room_queue().deregister(waiter);
        }
    }

    fn readable_bytes(&self) -> Result<usize, Errno> {
        Ok(self.inbox.readable_bytes(true))
    }

    fn take_error(&self) -> Option<Errno> {
        self.inbox.take_error()
    }

    fn is_bound(&self) -> bool {
        self.state.lock().rendezvous.is_some()
    }

    fn set_send_capacity(&self, bytes: usize) {
        self.inbox.set_capacity(bytes);
    }
}

impl Drop for UnixDatagram {
    fn drop(&mut self) {
        self.inbox.refuse();
    }
}
