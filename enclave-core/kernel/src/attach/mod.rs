// SPDX-License-Identifier: MIT
//! Sessions with clients, one of which starts the workload.
//!
//! Where the manifest has a session, the first thread waits here before its program is loaded. The
//! host listens and carries bytes that it cannot read. Each client gets a future of its own
//! ([`client`]), so that none can keep another out; the first owner that says `start` decides what
//! the program is given. Clients that break off, send nonsense or take too long cost their own
//! connection only.

mod client;
mod pipe;

use crate::kernel::Kernel;
use crate::net::{Arrivals, Connection, Listener, Outlet};
use crate::signal::{self, Settled};
use crate::sync::WaitQueue;
use crate::task::Thread;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::Poll;
use spin::Mutex;
use strongroom_session::Gathered;
use strongroom_session::enclave::Intake;
use strongroom_wire::boot::SessionTerms;
use strongroom_wire::message::SocketAsk;

/// Most clients at a time; further ones wait with the host.
const CLIENTS_MAX: u16 = 4;

/// What the clients share.
struct Meeting {
    kernel: &'static Kernel,
    terms: &'static SessionTerms,
    state: Mutex<State>,
    /// Woken when a client comes, when one leaves, and when the workload can start.
    changed: Arc<WaitQueue>,
}

#[derive(Default)]
struct State {
    clients: u16,
    /// Somebody has said `start`.
    decided: bool,
    gathered: Option<Gathered>,
}

/// The client that has started the workload, to be told how it ends.
pub(crate) struct Owner {
    intake: Intake,
    connection: Connection,
}

/// Why no owner comes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unattended {
    /// The host does not listen for clients, or has stopped to.
    NoClients,
    /// A signal has ended the process that waits.
    Ended,
}

/// What the workload is given: nothing where the manifest has no session, else what an owner
/// brings along. The first thread waits for it.
///
/// # Errors
///
/// [`Unattended`].
pub(crate) async fn wait_for_owner(thread: &Arc<Thread>) -> Result<Gathered, Unattended> {
    let kernel = thread.kernel;
    let Some(terms) = &kernel.manifest.session else { return Ok(Gathered::default()) };
    kernel.report(format_args!("session: the program waits for its owner"));
    let changed = Arc::new(WaitQueue::new(kernel.scheduler));
    let meeting = Meeting { kernel, terms, state: Mutex::default(), changed };
    let meeting = Arc::new(meeting);
    let arrivals = Listener::new(kernel, &meeting.changed, CLIENTS_MAX.into());
    let arrivals: Arc<Arrivals> = Arc::new(arrivals);
    let ask = SocketAsk::Attach { backlog: CLIENTS_MAX };
    let outlet = Outlet::open(kernel, &arrivals, ask, None);
    let waiter = thread.waiter();
    let outcome = poll_fn(|_| {
        // First: a change between the look and the registration would be missed.
        meeting.changed.register(&waiter);
        outlet.opened.register(&waiter);
        if let Some(gathered) = meeting.state.lock().gathered.take() {
            return Poll::Ready(Ok(gathered));
        }
        if let Some(Err(_)) = outlet.outcome(&waiter) {
            return Poll::Ready(Err(Unattended::NoClients));
        }
        if !thread.work().is_empty() && signal::settle(thread) == Settled::Ended {
            return Poll::Ready(Err(Unattended::Ended));
        }
        meeting.welcome(&arrivals);
        Poll::Pending
    });
    let outcome = outcome.await;
    outlet.close();
    drop(arrivals.close());
    outcome
}

impl Meeting {
    /// Gives those who have come a future, as long as there are not too many.
    fn welcome(self: &Arc<Self>, arrivals: &Arrivals) {
        loop {
            let mut state = self.state.lock();
            if state.clients >= CLIENTS_MAX {
                return;
            }
            let Some(arrival) = arrivals.take() else { return };
            state.clients += 1;
            drop(state);
            let (connection, queue) = arrival.into_parts();
            let key = self.kernel.scheduler.reserve();
            let client = client::serve(Arc::clone(self), key, connection, queue);
            self.kernel.scheduler.spawn(key, Box::pin(client));
        }
    }

    /// A client's future ends.
    fn leave(&self) {
        self.state.lock().clients -= 1;
        self.changed.wake();
    }

    /// Has the workload started with this, unless somebody was faster; whether it is.
    fn decide(&self, gathered: Gathered) -> bool {
        {
            let mut state = self.state.lock();
            if state.decided {
                return false;
            }
            state.decided = true;
            state.gathered = Some(gathered);
        }
        self.changed.wake();
        true
    }
}

impl Owner {
    /// Says how the workload ended, if the owner is still there.
    pub(crate) fn tell_exit(mut self, status: u8) {
        if let Ok(frame) = self.intake.exited(status) {
            self.connection.outgoing.put(frame);
        }
    }
}
