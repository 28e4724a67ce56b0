// SPDX-License-Identifier: MIT
//! Clients of an attested session, as the host carries their bytes.

use std::collections::{BTreeMap, VecDeque};
use strongroom_wire::message::{Address, Answer, HostError, SocketAsk};

/// The handle of the listener.
const LISTENER: u32 = 1;

/// A client's connection.
#[derive(Debug, Default)]
struct Visitor {
    to_enclave: VecDeque<u8>,
    /// Nothing more comes from the client.
    hung_up: bool,
    from_enclave: Vec<u8>,
    /// The enclave has said that nothing more comes, or has closed.
    finished: bool,
    closed: bool,
    /// A request for bytes, and how many.
    receiving: Option<(u64, usize)>,
}

/// What the host says to the enclave: the answer to a ticket.
pub(crate) type Said = (u64, Result<Owned, HostError>);

/// An answer that owns its bytes.
#[derive(Debug)]
pub(crate) enum Owned {
    Done,
    Data(Vec<u8>),
    Handle(u32),
    Accepted(u32),
}

impl Owned {
    pub(crate) fn answer(&self) -> Answer<'_> {
        let nowhere = Address::V4([0; 4], 0);
        match self {
            Self::Done => Answer::Done,
            Self::Data(bytes) => Answer::Data(bytes),
            Self::Handle(handle) => Answer::Handle(*handle, nowhere),
            Self::Accepted(handle) => Answer::Accepted(*handle, nowhere),
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Visitors {
    listening: bool,
    accepting: Option<u64>,
    waiting: VecDeque<u32>,
    visitors: BTreeMap<u32, Visitor>,
}

impl Visitors {
    /// A client comes; its number.
    pub(crate) fn connect(&mut self) -> (u32, Vec<Said>) {
        let number = LISTENER + 1 + self.visitors.len() as u32;
        self.visitors.insert(number, Visitor::default());
        self.waiting.push_back(number);
        (number, self.accept())
    }

    /// A client sends.
    pub(crate) fn send(&mut self, number: u32, bytes: &[u8]) -> Vec<Said> {
        let visitor = self.visitor(number);
        visitor.to_enclave.extend(bytes);
        visitor.feed()
    }

    /// A client sends nothing more.
    pub(crate) fn hang_up(&mut self, number: u32) -> Vec<Said> {
        let visitor = self.visitor(number);
        visitor.hung_up = true;
        visitor.feed()
    }

    /// What the enclave has sent to a client since the last time.
    pub(crate) fn take(&mut self, number: u32) -> Vec<u8> {
        std::mem::take(&mut self.visitor(number).from_enclave)
    }

    /// Whether the enclave sends a client nothing more.
    pub(crate) fn is_finished(&mut self, number: u32) -> bool {
        let visitor = self.visitor(number);
        visitor.finished || visitor.closed
    }

    /// Whether clients can come.
    pub(crate) const fn is_listening(&self) -> bool {
        self.listening
    }

    /// Serves a request of the enclave.
    pub(crate) fn serve(&mut self, ticket: u64, ask: &SocketAsk<'_>) -> Vec<Said> {
        match *ask {
            SocketAsk::Attach { .. } => {
                self.listening = true;
                vec![(ticket, Ok(Owned::Handle(LISTENER)))]
            }
            SocketAsk::Accept { handle: LISTENER } if self.listening => {
                self.accepting = Some(ticket);
                self.accept()
            }
            SocketAsk::Close { handle: LISTENER } => {
                self.listening = false;
                let waiting = self.accepting.take();
                waiting.map(|ticket| (ticket, Err(HostError::Reset))).into_iter().collect()
            }
            SocketAsk::Receive { handle, max } => {
                let visitor = self.visitor(handle);
                visitor.receiving = Some((ticket, max as usize));
                visitor.feed()
            }
            SocketAsk::Send { handle, bytes } => {
                self.visitor(handle).from_enclave.extend_from_slice(bytes);
                vec![(ticket, Ok(Owned::Done))]
            }
            SocketAsk::Finish { handle } => {
                self.visitor(handle).finished = true;
                vec![(ticket, Ok(Owned::Done))]
            }
            SocketAsk::Close { handle } => {
                self.visitor(handle).closed = true;
                Vec::new()
            }
            SocketAsk::Connect { .. } | SocketAsk::Listen { .. } | SocketAsk::Accept { .. } => {
                vec![(ticket, Err(HostError::Unsupported))]
            }
        }
    }

    fn accept(&mut self) -> Vec<Said> {
        if !self.listening || self.waiting.is_empty() {
            return Vec::new();
        }
        let Some(ticket) = self.accepting.take() else { return Vec::new() };
        let number = self.waiting.pop_front().expect("it was looked at");
        vec![(ticket, Ok(Owned::Accepted(number)))]
    }

    fn visitor(&mut self, number: u32) -> &mut Visitor {
        self.visitors.get_mut(&number).expect("there is such a client")
    }
}

impl Visitor {
    fn feed(&mut self) -> Vec<Said> {
        if self.to_enclave.is_empty() && !self.hung_up {
            return Vec::new();
        }
        let Some((ticket, max)) = self.receiving.take() else { return Vec::new() };
        let count = self.to_enclave.len().min(max);
        vec![(ticket, Ok(Owned::Data(self.to_enclave.drain(..count).collect())))]
    }
}
