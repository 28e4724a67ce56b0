// SPDX-License-Identifier: MIT
//! Connections to the world outside, carried by the host: plaintext, and untrusted.
//!
//! A [`Link`] is the far end of a TCP connection whose near end is an ordinary socket. It moves
//! bytes between the two channels and the host: it has one request for bytes outstanding at a
//! time, and a bounded number of bytes that the host has not acknowledged. It is moved on by
//! whatever it waits for, as a watch of an epoll instance is.
//!
//! The host names the addresses of outside connections as it likes. Those that would make one look
//! like a connection from within the enclave are replaced by [`HOST`].

use crate::host::{Reply, Ticket};
use crate::kernel::Kernel;
use crate::net::connection::{Connection, Discipline};
use crate::sync::{EpollWaker, WaitQueue, Waiter};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_wire::boot::Manifest;
use strongroom_wire::message::{Address, Answer, Ask, SocketAsk};

/// Most bytes of one message.
const PIECE: usize = 64 * 1024;
/// Most bytes that the host has taken and not acknowledged.
const IN_FLIGHT_MAX: usize = 256 * 1024;
/// Bytes that wait behind those.
const OUTGOING: usize = 64 * 1024;
/// Most destinations that are reported as not granted.
const REPORTED_MAX: usize = 64;
/// The host's address, for connections that it claims to come from a local one.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 19, 0, 1));
/// The enclave's own address on connections with the outside.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 19, 0, 2));

/// The address of clients of attested sessions: not a local one, for a program may trust those.
pub(crate) const CLIENT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 19, 0, 3));

/// What the sockets share that have to do with the outside.
#[derive(Default)]
pub(crate) struct Outside {
    /// What must live on until the host has answered.
    alive: Mutex<BTreeMap<u64, Arc<dyn EpollWaker>>>,
    /// Granted ports on which a socket listens.
    listening: Mutex<BTreeSet<u16>>,
    reported: Mutex<BTreeSet<SocketAddr>>,
}

impl Outside {
    /// Keeps something until [`Outside::release`].
    pub(crate) fn keep(&self, number: u64, object: Arc<dyn EpollWaker>) {
        self.alive.lock().insert(number, object);
    }

    /// Lets go of it. The caller holds another reference.
    pub(crate) fn release(&self, number: u64) {
        let object = self.alive.lock().remove(&number);
        drop(object);
    }

    /// Claims the host's side of a granted port; false when another socket has it.
    pub(crate) fn claim_port(&self, port: u16) -> bool {
        self.listening.lock().insert(port)
    }

    /// Gives it back.
    pub(crate) fn release_port(&self, port: u16) {
        self.listening.lock().remove(&port);
    }

    /// Says once what would allow a connection.
    pub(crate) fn report_not_granted(&self, kernel: &Kernel, to: SocketAddr) {
        let mut reported = self.reported.lock();
        if reported.len() < REPORTED_MAX && reported.insert(to) {
            kernel.report(format_args!(
                "net: a connection to {to} is not granted: --grant connect:{}:{}",
                to.ip(),
                to.port()
            ));
        }
    }
}

/// The address under which a granted host is reached: its own, if it was granted by number.
fn address_of(manifest: &Manifest, host: &str) -> Option<IpAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    if host == "localhost" {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let first = manifest.connects.iter().position(|grant| grant.host == host)?;
    let [high, low] = u16::try_from(first).ok()?.checked_add(1)?.to_be_bytes();
    Some(IpAddr::V4(Ipv4Addr::new(198, 18, high, low)))
}

/// The connect grant for a destination.
pub(crate) fn grant_for(manifest: &Manifest, to: SocketAddr) -> Option<u16> {
    let matches = |grant: &strongroom_wire::boot::GrantedConnect| {
        grant.port == to.port() && address_of(manifest, &grant.host) == Some(to.ip())
    };
    u16::try_from(manifest.connects.iter().position(matches)?).ok()
}

/// The listen grant for a port.
pub(crate) fn listen_grant_for(manifest: &Manifest, port: u16) -> Option<u16> {
    u16::try_from(manifest.listens.iter().position(|grant| grant.port == port)?).ok()
}

/// Hosts that are granted by name, with the addresses that lead to them.
fn named_hosts(manifest: &Manifest) -> Vec<(IpAddr, String)> {
    let mut hosts: Vec<(IpAddr, String)> = Vec::new();
    for grant in &manifest.connects {
        let numeric = grant.host.parse::<IpAddr>().is_ok() || grant.host == "localhost";
        let known = hosts.iter().any(|(_, host)| *host == grant.host);
        if !numeric
            && !known
            && let Some(ip) = address_of(manifest, &grant.host)
        {
            hosts.push((ip, grant.host.clone()));
        }
    }
    hosts
}

impl Kernel {
    /// Hosts that are granted by name, with the addresses under which programs reach them: lines
    /// for `/etc/hosts`.
    pub fn granted_hosts(&self) -> Vec<(IpAddr, String)> {
        named_hosts(&self.manifest)
    }
}

/// The enclave's address on an outside connection.
pub(crate) const fn own_address(port: u16) -> SocketAddr {
    SocketAddr::new(OWN, port)
}

/// A peer's address as the host claims it.
pub(crate) fn claimed_address(claim: Address) -> SocketAddr {
    let (ip, port) = match claim {
        Address::V4(ip, port) => (IpAddr::from(ip), port),
        Address::V6(ip, port) => (IpAddr::from(ip).to_canonical(), port),
    };
    let inside = ip.is_loopback() || ip.is_unspecified() || ip == CLIENT_ADDRESS;
    SocketAddr::new(if inside { HOST } else { ip }, port)
}

enum Phase {
    Connecting(Ticket),
    Open(u32),
    Closed,
}

struct State {
    phase: Phase,
    /// What came of connecting.
    outcome: Option<Result<u16, Errno>>,
    /// A request for bytes, and how many.
    receiving: Option<(Ticket, usize)>,
    ended: bool,
    /// Bytes on their way to the host.
    sending: VecDeque<(Ticket, usize)>,
    in_flight: usize,
    finishing: Option<Ticket>,
    finished: bool,
}

/// See the module's text.
pub(crate) struct Link {
    me: Weak<Self>,
    kernel: &'static Kernel,
    number: u64,
    far: Connection,
    state: Mutex<State>,
}

impl Link {
    /// Has the host connect; returns the near end too.
    pub(crate) fn connect(
        kernel: &'static Kernel,
        queue: &Arc<WaitQueue>,
        grant: u16,
    ) -> (Arc<Self>, Connection) {
        let ticket = kernel.host.ask(Ask::Socket(SocketAsk::Connect { grant }));
        Self::start(kernel, queue, Phase::Connecting(ticket))
    }

    /// A connection that the host has accepted; returns the near end.
    pub(crate) fn accepted(
        kernel: &'static Kernel,
        queue: &Arc<WaitQueue>,
        handle: u32,
    ) -> Connection {
        Self::start(kernel, queue, Phase::Open(handle)).1
    }

    fn start(
        kernel: &'static Kernel,
        queue: &Arc<WaitQueue>,
        phase: Phase,
    ) -> (Arc<Self>, Connection) {
        let own_queue = Arc::new(WaitQueue::new(kernel.scheduler));
        let (near, far) = Connection::pair(Discipline::Tcp, queue, &own_queue);
        near.outgoing.set_capacity(OUTGOING);
        let state = State {
            phase,
            outcome: None,
            receiving: None,
            ended: false,
            sending: VecDeque::new(),
            in_flight: 0,
            finishing: None,
            finished: false,
        };
        let number = kernel.next_number();
        let state = Mutex::new(state);
        let link = Arc::new_cyclic(|me| Self { me: Weak::clone(me), kernel, number, far, state });
        let object: Arc<dyn EpollWaker> = Arc::<Self>::clone(&link);
        own_queue.register(&link.waiter());
        kernel.net.outside.keep(number, object);
        if let Phase::Connecting(ticket) = &link.state.lock().phase {
            ticket.register(&link.waiter());
        }
        link.notify();
        (link, near)
    }

    /// What came of connecting, once that is known: the local port.
    pub(crate) fn outcome(&self) -> Option<Result<u16, Errno>> {
        self.state.lock().outcome
    }

    fn waiter(&self) -> Waiter {
        let me: Weak<dyn EpollWaker> = Weak::<Self>::clone(&self.me);
        Waiter::Epoll(me)
    }

    fn ask(&self, ask: SocketAsk<'_>) -> Ticket {
        let ticket = self.kernel.host.ask(Ask::Socket(ask));
        ticket.register(&self.waiter());
        ticket
    }

    /// Whether the near end was dropped.
    fn is_abandoned(&self) -> bool {
        self.far.outgoing.snapshot().refused && self.far.incoming.snapshot().ended
    }

    fn take_connected(&self, state: &mut State) -> Result<(), Errno> {
        let Phase::Connecting(ticket) = &state.phase else { return Ok(()) };
        let Some(reply) = ticket.take() else { return Ok(()) };
        match reply.answer() {
            Ok(Answer::Handle(handle, address)) => {
                state.phase = Phase::Open(handle);
                state.outcome = Some(Ok(claimed_address(address).port()));
                self.far.outgoing.wake_reader();
                Ok(())
            }
            other => {
                let errno = other.err().unwrap_or(Errno::EIO);
                state.outcome = Some(Err(errno));
                Err(errno)
            }
        }
    }

    /// Takes what the host has answered.
    fn take_answers(&self, state: &mut State) -> Result<(), Errno> {
        let arrived = state.receiving.as_ref().and_then(|(ticket, _)| ticket.take());
        if let Some(reply) = arrived {
            let asked = state.receiving.take().map_or(0, |(_, asked)| asked);
            let Answer::Data(bytes) = reply.answer()? else { return Err(Errno::EIO) };
            if bytes.len() > asked {
                return Err(Errno::EIO);
            }
            if bytes.is_empty() {
                state.ended = true;
                self.far.outgoing.end();
            }
            self.far.outgoing.put(bytes.to_vec());
        }
        while let Some(reply) = state.sending.front().and_then(|(ticket, _)| ticket.take()) {
            let count = state.sending.pop_front().map_or(0, |(_, count)| count);
            state.in_flight -= count;
            done(&reply)?;
        }
        if let Some(reply) = state.finishing.as_ref().and_then(Ticket::take) {
            state.finishing = None;
            done(&reply)?;
        }
        Ok(())
    }

    /// Asks for what can be asked for now.
    fn ask_more(&self, state: &mut State, handle: u32) {
        while state.in_flight < IN_FLIGHT_MAX
            && let Some(bytes) = self.far.incoming.take(PIECE)
        {
            let ticket = self.ask(SocketAsk::Send { handle, bytes: &bytes });
            state.in_flight += bytes.len();
            state.sending.push_back((ticket, bytes.len()));
        }
        let (input, output) = (self.far.incoming.snapshot(), self.far.outgoing.snapshot());
        if input.ended && !input.readable && !state.finished {
            state.finished = true;
            state.finishing = Some(self.ask(SocketAsk::Finish { handle }));
        }
        if state.receiving.is_none() && !state.ended && !output.refused && output.writable {
            let max = self.far.outgoing.room().min(PIECE);
            let ticket = self.ask(SocketAsk::Receive { handle, max: max as u32 });
            state.receiving = Some((ticket, max));
        }
    }

    fn close(&self, state: &mut State) {
        if let Phase::Open(handle) = state.phase {
            self.kernel.host.tell(Ask::Socket(SocketAsk::Close { handle }));
        }
        state.phase = Phase::Closed;
        state.receiving = None;
        state.sending.clear();
        state.finishing = None;
        self.kernel.net.outside.release(self.number);
    }

    /// One step; an error breaks the connection.
    fn step(&self, state: &mut State) -> Result<(), Errno> {
        self.take_connected(state)?;
        let Phase::Open(handle) = state.phase else { return Ok(()) };
        self.take_answers(state)?;
        self.ask_more(state, handle);
        if self.is_abandoned() && state.sending.is_empty() {
            self.close(state);
        }
        Ok(())
    }
}

/// Whether the host has done what it was asked.
fn done(reply: &Reply) -> Result<(), Errno> {
    if reply.answer()? == Answer::Done { Ok(()) } else { Err(Errno::EIO) }
}

impl EpollWaker for Link {
    fn notify(&self) {
        let mut state = self.state.lock();
        if let Err(errno) = self.step(&mut state) {
            self.far.outgoing.fail(errno);
            self.far.incoming.refuse();
            self.close(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::boot::GrantedConnect;

    fn manifest() -> Manifest {
        let grant = |host: &str, port| GrantedConnect { host: host.into(), port };
        let connects = [
            grant("10.0.0.7", 5432),
            grant("db.example", 80),
            grant("db.example", 443),
            grant("::ffff:10.0.0.8", 1),
            grant("localhost", 6379),
        ];
        Manifest { connects: connects.into(), ..Manifest::default() }
    }

    #[test]
    fn grants_match_by_number_and_by_the_address_of_a_name() {
        let manifest = manifest();
        let find = |to: &str| grant_for(&manifest, to.parse().unwrap());
        assert_eq!(find("10.0.0.7:5432"), Some(0));
        assert_eq!(find("10.0.0.7:5433"), None);
        assert_eq!(find("198.18.0.2:80"), Some(1));
        assert_eq!(find("198.18.0.2:443"), Some(2));
        assert_eq!(find("198.18.0.3:443"), None);
        assert_eq!(find("10.0.0.8:1"), Some(3));
        assert_eq!(find("127.0.0.1:6379"), Some(4));
        let hosts = named_hosts(&manifest);
        assert_eq!(hosts, [("198.18.0.2".parse().unwrap(), String::from("db.example"))]);
    }

    #[test]
    fn no_connection_of_the_host_looks_like_one_from_within() {
        let v6 = |text: &str| text.parse::<core::net::Ipv6Addr>().unwrap().octets();
        for claim in [
            Address::V4([127, 0, 0, 1], 9),
            Address::V4([0; 4], 9),
            Address::V6(v6("::1"), 9),
            Address::V6(v6("::ffff:127.0.0.1"), 9),
            Address::V4([198, 19, 0, 3], 9),
        ] {
            assert_eq!(claimed_address(claim), SocketAddr::new(HOST, 9), "{claim:?}");
        }
        let honest = Address::V4([192, 0, 2, 1], 9);
        assert_eq!(claimed_address(honest), "192.0.2.1:9".parse().unwrap());
    }
}
