// SPDX-License-Identifier: MIT
//! Sessions with clients: one starts the workload, others call its service.
//!
//! Where the manifest has a session, the first thread waits here before its program is loaded. The
//! host listens and carries bytes that it cannot read. Each client gets a future of its own
//! ([`client`]), so that none can keep another out; the first owner that says `start` decides what
//! the program is given. Where the manifest has a service, clients go on coming, and each of them
//! that may is connected to the program's socket ([`relay`]). Clients that break off, send nonsense
//! or take too long cost their own connection only.

mod client;
mod pipe;
mod relay;

use crate::kernel::Kernel;
use crate::net::{Arrivals, Connection, Listener, Outlet};
use crate::signal::{self, Settled};
use crate::sync::{WaitQueue, Waiter};
use crate::task::Thread;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::Poll;
use spin::Mutex;
use strongroom_session::Gathered;
use strongroom_session::enclave::{Intake, Terms};
use strongroom_wire::message::SocketAsk;

/// Most clients at a time before the workload starts; further ones wait with the host.
const CLIENTS_MAX: u16 = 4;
/// Most clients at a time where the workload offers a service.
const SERVICE_CLIENTS_MAX: u16 = 16;

/// What the clients share.
struct Meeting {
    kernel: &'static Kernel,
    terms: Terms<'static>,
    clients_max: u16,
    arrivals: Arc<Arrivals>,
    outlet: Arc<Outlet>,
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
/// brings along. The first thread waits for it. From here on clients can come.
///
/// # Errors
///
/// [`Unattended`].
pub(crate) async fn wait_for_owner(thread: &Arc<Thread>) -> Result<Gathered, Unattended> {
    let kernel = thread.kernel;
    let manifest = &kernel.manifest;
    let terms = Terms { session: manifest.session.as_ref(), service: manifest.service.as_ref() };
    if terms.session.is_none() && terms.service.is_none() {
        return Ok(Gathered::default());
    }
    let meeting = Meeting::open(kernel, terms);
    let outcome = match terms.session {
        Some(_) => {
            kernel.report(format_args!("session: the program waits for its owner"));
            meeting.wait(thread).await
        }
        None => Ok(Gathered::default()),
    };
    match terms.service {
        Some(_) if outcome.is_ok() => meeting.stay_open(),
        Some(_) | None => meeting.close(),
    }
    outcome
}

impl Meeting {
    fn open(kernel: &'static Kernel, terms: Terms<'static>) -> Arc<Self> {
        let changed = Arc::new(WaitQueue::new(kernel.scheduler));
        let clients_max = if terms.service.is_some() { SERVICE_CLIENTS_MAX } else { CLIENTS_MAX };
        let arrivals = Arc::new(Listener::new(kernel, &changed, clients_max.into()));
        let ask = SocketAsk::Attach { backlog: clients_max };
        let outlet = Outlet::open(kernel, &arrivals, ask, None);
        let state = Mutex::default();
        Arc::new(Self { kernel, terms, clients_max, arrivals, outlet, state, changed })
    }

    /// Waits for what an owner brings along.
    async fn wait(self: &Arc<Self>, thread: &Arc<Thread>) -> Result<Gathered, Unattended> {
        let waiter = thread.waiter();
        let outcome = poll_fn(|_| {
            self.register(&waiter);
            if let Some(gathered) = self.state.lock().gathered.take() {
                return Poll::Ready(Ok(gathered));
            }
            if self.is_deserted(&waiter) {
                return Poll::Ready(Err(Unattended::NoClients));
            }
            if !thread.work().is_empty() && signal::settle(thread) == Settled::Ended {
                return Poll::Ready(Err(Unattended::Ended));
            }
            self.welcome();
            Poll::Pending
        });
        outcome.await
    }

    /// Comes before any look: a change between the two would be missed.
    fn register(&self, waiter: &Waiter) {
        self.changed.register(waiter);
        self.outlet.opened.register(waiter);
    }

    /// Whether the host does not listen for clients, or has stopped to.
    fn is_deserted(&self, waiter: &Waiter) -> bool {
        matches!(self.outlet.outcome(waiter), Some(Err(_)))
    }

    /// Goes on letting clients in for as long as the workload runs.
    fn stay_open(self: Arc<Self>) {
        let key = self.kernel.scheduler.reserve();
        let waiter = Waiter::Thread(key);
        let kernel = self.kernel;
        let usher = async move {
            poll_fn(|_| {
                self.register(&waiter);
                if self.is_deserted(&waiter) {
                    return Poll::Ready(());
                }
                self.welcome();
                Poll::Pending
            })
            .await;
            self.close();
        };
        kernel.scheduler.spawn(key, Box::pin(usher));
    }

    fn close(&self) {
        self.outlet.close();
        drop(self.arrivals.close());
    }

    /// Gives those who have come a future, as long as there are not too many.
    fn welcome(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            if state.clients >= self.clients_max {
                return;
            }
            let Some(arrival) = self.arrivals.take() else { return };
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
