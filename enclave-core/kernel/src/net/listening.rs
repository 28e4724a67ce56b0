// SPDX-License-Identifier: MIT
//! The host's side of whoever listens with its help, a socket on a granted port or the kernel
//! itself: what the host accepts arrives in the same queue as connections from within the enclave.

use crate::host::Ticket;
use crate::kernel::Kernel;
use crate::net::host::{Link, claimed_address, own_address};
use crate::net::inet::{Arrival, Arrivals};
use crate::sync::{EpollWaker, WaitQueue, Waiter};
use alloc::sync::{Arc, Weak};
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_wire::message::{Answer, Ask, SocketAsk};

enum Phase {
    Opening(Ticket),
    Open(u32),
    Closed,
}

struct State {
    phase: Phase,
    /// What came of listening, once that is known.
    outcome: Option<Result<(), Errno>>,
    accepting: Option<Ticket>,
    /// The socket is gone; only what the host still owes is waited for.
    closing: bool,
}

/// See the module's text.
pub(crate) struct Outlet {
    me: Weak<Self>,
    kernel: &'static Kernel,
    number: u64,
    /// The granted port; none where the kernel listens.
    port: Option<u16>,
    arrivals: Arc<Arrivals>,
    state: Mutex<State>,
    /// Woken when the outcome is known, and when it changes.
    pub(crate) opened: WaitQueue,
}

impl Outlet {
    /// Has the host listen, by this request.
    pub(crate) fn open(
        kernel: &'static Kernel,
        arrivals: &Arc<Arrivals>,
        ask: SocketAsk<'_>,
        port: Option<u16>,
    ) -> Arc<Self> {
        let ticket = kernel.host.ask(Ask::Socket(ask));
        let state =
            State { phase: Phase::Opening(ticket), outcome: None, accepting: None, closing: false };
        let outlet = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            kernel,
            number: kernel.next_number(),
            port,
            arrivals: Arc::clone(arrivals),
            state: Mutex::new(state),
            opened: WaitQueue::new(kernel.scheduler),
        });
        kernel.net.outside.keep(outlet.number, Arc::<Self>::clone(&outlet));
        arrivals.room_queue().register(&outlet.waiter());
        if let Phase::Opening(ticket) = &outlet.state.lock().phase {
            ticket.register(&outlet.waiter());
        }
        outlet.notify();
        outlet
    }

    /// What came of it; registers the waiter to be woken when that is known.
    pub(crate) fn outcome(&self, waiter: &Waiter) -> Option<Result<(), Errno>> {
        let state = self.state.lock();
        if state.outcome.is_none() {
            self.opened.register(waiter);
        }
        state.outcome
    }

    /// Stops listening.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.notify();
    }

    fn waiter(&self) -> Waiter {
        let me: Weak<dyn EpollWaker> = Weak::<Self>::clone(&self.me);
        Waiter::Epoll(me)
    }

    fn take_opened(&self, state: &mut State) {
        let Phase::Opening(ticket) = &state.phase else { return };
        let Some(reply) = ticket.take() else { return };
        match reply.answer() {
            Ok(Answer::Handle(handle, _)) => {
                state.phase = Phase::Open(handle);
                state.outcome = Some(Ok(()));
            }
            other => self.give_up(state, other.err().unwrap_or(Errno::EIO)),
        }
        self.opened.wake();
    }

    fn take_accepted(&self, state: &mut State) {
        let Some(reply) = state.accepting.as_ref().and_then(Ticket::take) else { return };
        state.accepting = None;
        match reply.answer() {
            Ok(Answer::Accepted(handle, _)) if state.closing => {
                self.kernel.host.tell(Ask::Socket(SocketAsk::Close { handle }));
            }
            Ok(Answer::Accepted(handle, peer)) => {
                let queue = Arc::new(WaitQueue::new(self.kernel.scheduler));
                let connection = Link::accepted(self.kernel, &queue, handle);
                let local = own_address(self.port.unwrap_or(0));
                let arrival = Arrival::new(connection, local, claimed_address(peer), queue);
                // A refused one is closed by being dropped.
                drop(self.arrivals.push(arrival));
            }
            other => self.give_up(state, other.err().unwrap_or(Errno::ECONNABORTED)),
        }
    }

    fn give_up(&self, state: &mut State, errno: Errno) {
        if state.outcome.is_some() && !state.closing {
            match self.port {
                Some(port) => {
                    let stopped = format_args!("net: the host stopped accepting on port {port}");
                    self.kernel.report(stopped);
                }
                None => self.kernel.report(format_args!("net: the host stopped accepting clients")),
            }
        }
        state.outcome = Some(Err(errno));
        self.finish(state);
        self.opened.wake();
    }

    fn finish(&self, state: &mut State) {
        match state.phase {
            Phase::Closed => return,
            Phase::Open(handle) => {
                self.kernel.host.tell(Ask::Socket(SocketAsk::Close { handle }));
            }
            Phase::Opening(_) => {}
        }
        state.phase = Phase::Closed;
        if let Some(port) = self.port {
            self.kernel.net.outside.release_port(port);
        }
        if state.accepting.is_none() {
            self.kernel.net.outside.release(self.number);
        }
    }
}

impl EpollWaker for Outlet {
    fn notify(&self) {
        let mut state = self.state.lock();
        self.take_opened(&mut state);
        self.take_accepted(&mut state);
        match state.phase {
            Phase::Open(handle) if !state.closing => {
                if state.accepting.is_none() && self.arrivals.has_room() {
                    let ask = Ask::Socket(SocketAsk::Accept { handle });
                    let ticket = self.kernel.host.ask(ask);
                    ticket.register(&self.waiter());
                    state.accepting = Some(ticket);
                }
            }
            Phase::Open(_) => self.finish(&mut state),
            Phase::Closed if state.accepting.is_none() => {
                self.kernel.net.outside.release(self.number);
            }
            Phase::Opening(_) | Phase::Closed => {}
        }
    }
}
