// SPDX-License-Identifier: MIT
//! Sockets: making, naming, connecting them, and their options. Sending and receiving is in
//! [`super::messages`].

use crate::net::address::{ADDRESS_MAX, AF_INET, AF_INET6, AF_UNIX, Domain, Name};
use crate::net::{Direction, Shutdown, Socket, SocketKind, options, probe};
use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::{Call, Limits};
use crate::user::UserPtr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_abi::Errno;

pub(crate) const CALLS: &[Row] = &[
    row!(
        Socket,
        socket(3),
        Partial("AF_UNIX, and TCP and UDP of AF_INET and AF_INET6; no raw sockets, no netlink")
    ),
    row!(Socketpair, socketpair(4), Full),
    row!(Bind, bind(3), Partial("IP addresses: loopback and the wildcard only")),
    row!(Listen, listen(2), Full),
    row!(Accept, accept(3), Full),
    row!(Accept4, accept4(4), Full),
    row!(
        Connect,
        connect(3),
        Partial(
            "over IP: within the enclave, and to what the manifest grants; a connected UNIX datagram \
             socket still receives from others"
        )
    ),
    row!(Getsockname, getsockname(3), Full),
    row!(Getpeername, getpeername(3), Full),
    row!(Shutdown, shutdown(2), Full),
    row!(
        Setsockopt,
        setsockopt(5),
        Partial(
            "SO_RCVBUF and options that shape packets are remembered and have no effect; no multicast"
        )
    ),
    row!(Getsockopt, getsockopt(5), Partial("TCP_INFO tells the state only")),
];

/// Flags of `socket(2)` and `accept4(2)`.
const SOCK_NONBLOCK: i32 = 0o4000;
const SOCK_CLOEXEC: i32 = 0o2_000_000;
const AF_PACKET: u16 = 17;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;
/// Most connections that wait (`somaxconn`).
const BACKLOG_MAX: i32 = 4096;
/// Most bytes of an option.
const OPTION_MAX: usize = 256;

struct Type {
    kind: i32,
    nonblocking: bool,
    close_on_exec: bool,
}

impl Type {
    fn parse(kind: i32) -> Result<Self, Errno> {
        let flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
        if kind & !(0xf | flags) != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            kind: kind & 0xf,
            nonblocking: kind & SOCK_NONBLOCK != 0,
            close_on_exec: kind & SOCK_CLOEXEC != 0,
        })
    }
}

/// Which sockets there are.
fn choose(domain: i32, kind: i32, protocol: i32) -> Result<(Domain, SocketKind), Errno> {
    const STREAM: i32 = SocketKind::Stream as i32;
    const DATAGRAM: i32 = SocketKind::Datagram as i32;
    const RAW: i32 = 3;
    const PACKETS: i32 = SocketKind::Packets as i32;
    let domain = match u16::try_from(domain).map_err(|_| Errno::EAFNOSUPPORT)? {
        AF_UNIX => Domain::Unix,
        AF_INET => Domain::Inet,
        AF_INET6 => Domain::Inet6,
        AF_PACKET => return Err(Errno::EPERM),
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    let kind = match (domain, kind, protocol) {
        (Domain::Unix, STREAM, 0 | 1) => SocketKind::Stream,
        (Domain::Unix, DATAGRAM | RAW, 0 | 1) => SocketKind::Datagram,
        (Domain::Unix, PACKETS, 0 | 1) => SocketKind::Packets,
        (Domain::Inet | Domain::Inet6, STREAM, 0 | IPPROTO_TCP) => SocketKind::Stream,
        (Domain::Inet | Domain::Inet6, DATAGRAM, 0 | IPPROTO_UDP) => SocketKind::Datagram,
        (Domain::Inet | Domain::Inet6, RAW, _) => return Err(Errno::EPERM),
        (_, STREAM | DATAGRAM, _) | (Domain::Unix, RAW | PACKETS, _) => {
            return Err(Errno::EPROTONOSUPPORT);
        }
        (_, 0 | 11.., _) => return Err(Errno::EINVAL),
        (_, _, _) => return Err(Errno::ESOCKTNOSUPPORT),
    };
    Ok((domain, kind))
}

fn install(call: &Call<'_>, socket: Arc<Socket>, kind: &Type) -> SysResult {
    let limit = call.thread.process.limits.lock().soft(Limits::NOFILE);
    let open = socket.open(kind.nonblocking);
    Ok(call.files.insert(open, kind.close_on_exec, 0, limit)?)
}

fn socket(call: &mut Call<'_>, domain: i32, kind: i32, protocol: i32) -> SysResult {
    let parsed = Type::parse(kind)?;
    let (domain, kind) = choose(domain, parsed.kind, protocol)?;
    install(call, Socket::new(call.kernel, domain, kind), &parsed)
}

fn socketpair(
    call: &mut Call<'_>,
    domain: i32,
    kind: i32,
    protocol: i32,
    to: UserPtr<[i32; 2]>,
) -> SysResult {
    let parsed = Type::parse(kind)?;
    let (domain, kind) = choose(domain, parsed.kind, protocol)?;
    if domain != Domain::Unix {
        return Err(Errno::EOPNOTSUPP.into());
    }
    probe(call, to.address(), size_of::<[i32; 2]>())?;
    let (one, other) = Socket::pair(call, kind);
    let first = install(call, one, &parsed)? as i32;
    let second = match install(call, other, &parsed) {
        Ok(second) => second as i32,
        Err(stop) => {
            drop(call.files.remove(first));
            return Err(stop);
        }
    };
    to.write(call.memory, &[first, second])?;
    Ok(0)
}

/// Reads the address that a program gives.
pub(super) fn read_address(call: &Call<'_>, at: usize, length: i32) -> SysResult<Vec<u8>> {
    let length = usize::try_from(length).ok().filter(|length| *length <= ADDRESS_MAX);
    let mut bytes = [0; ADDRESS_MAX];
    let bytes = bytes.get_mut(..length.ok_or(Errno::EINVAL)?).unwrap_or_default();
    call.memory.space().copy_in(at, bytes)?;
    Ok(bytes.to_vec())
}

/// Where a program wants an address.
pub(super) struct AddressOut {
    at: usize,
    room: usize,
    length_at: UserPtr<u32>,
}

impl AddressOut {
    /// Probes the memory, so that nothing can fail later. `None` where no address is wanted.
    pub(super) fn prepare(
        call: &Call<'_>,
        at: usize,
        length_at: UserPtr<u32>,
    ) -> SysResult<Option<Self>> {
        if at == 0 {
            return Ok(None);
        }
        let length = length_at.read(call.memory)?.cast_signed();
        let room = usize::try_from(length).map_err(|_| Errno::EINVAL)?.min(ADDRESS_MAX);
        probe(call, length_at.address(), size_of::<u32>())?;
        probe(call, at, room)?;
        Ok(Some(Self { at, room, length_at }))
    }

    /// Writes as much of the address as fits, and its whole length.
    pub(super) fn finish(self, call: &Call<'_>, address: &[u8]) -> Result<(), Errno> {
        let fits = address.get(..address.len().min(self.room)).unwrap_or_default();
        call.memory.space().copy_out(self.at, fits).map_err(|_| Errno::EFAULT)?;
        let length = address.len() as u32;
        self.length_at.write(call.memory, &length).map_err(|_| Errno::EFAULT)
    }
}

fn bind(call: &mut Call<'_>, descriptor: i32, address: usize, length: i32) -> SysResult {
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    let address = read_address(call, address, length)?;
    socket.protocol.bind(call, socket, &address)?;
    Ok(0)
}

fn listen(call: &mut Call<'_>, descriptor: i32, backlog: i32) -> SysResult {
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    // A negative backlog is the largest, as on Linux.
    let backlog = if backlog < 0 { BACKLOG_MAX } else { backlog.min(BACKLOG_MAX) };
    socket.protocol.listen(call, socket, backlog.unsigned_abs() as usize)?;
    Ok(0)
}

fn accept(
    call: &mut Call<'_>,
    descriptor: i32,
    address: usize,
    length_at: UserPtr<u32>,
) -> SysResult {
    accept4(call, descriptor, address, length_at, 0)
}

fn accept4(
    call: &mut Call<'_>,
    descriptor: i32,
    address: usize,
    length_at: UserPtr<u32>,
    flags: i32,
) -> SysResult {
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    let out = AddressOut::prepare(call, address, length_at)?;
    let limit = call.thread.process.limits.lock().soft(Limits::NOFILE);
    call.files.check_room(limit)?;
    let (accepted, peer) = socket.accept(call, &open)?;
    let domain = accepted.domain;
    let number = install(call, accepted, &Type::parse(flags)?)?;
    if let Some(out) = out {
        out.finish(call, &peer.encode(domain))?;
    }
    Ok(number)
}

fn connect(call: &mut Call<'_>, descriptor: i32, address: usize, length: i32) -> SysResult {
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    let address = read_address(call, address, length)?;
    let mut patience = socket.patience(&open, Direction::Send, false);
    if socket.domain != Domain::Unix {
        patience.answer = Errno::EINPROGRESS;
    }
    socket.protocol.connect(call, socket, &address, &patience)?;
    Ok(0)
}

fn tell(
    call: &Call<'_>,
    socket: &Socket,
    name: &Name,
    address: usize,
    length_at: UserPtr<u32>,
) -> SysResult {
    let out = AddressOut::prepare(call, address, length_at)?.ok_or(Errno::EFAULT)?;
    out.finish(call, &name.encode(socket.domain))?;
    Ok(0)
}

fn getsockname(
    call: &mut Call<'_>,
    descriptor: i32,
    address: usize,
    length_at: UserPtr<u32>,
) -> SysResult {
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    tell(call, socket, &socket.protocol.local(), address, length_at)
}

fn getpeername(
    call: &mut Call<'_>,
    descriptor: i32,
    address: usize,
    length_at: UserPtr<u32>,
) -> SysResult {
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    tell(call, socket, &socket.protocol.peer()?, address, length_at)
}

fn shutdown(call: &mut Call<'_>, descriptor: i32, how: i32) -> SysResult {
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    let how = match how {
        0 => Shutdown::Receive,
        1 => Shutdown::Send,
        2 => Shutdown::Both,
        _ => return Err(Errno::EINVAL.into()),
    };
    socket.protocol.shutdown(how)?;
    Ok(0)
}

fn setsockopt(
    call: &mut Call<'_>,
    descriptor: i32,
    level: i32,
    name: i32,
    at: usize,
    length: i32,
) -> SysResult {
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?.min(OPTION_MAX);
    let mut bytes = [0; OPTION_MAX];
    let bytes = bytes.get_mut(..length).unwrap_or_default();
    call.memory.space().copy_in(at, bytes)?;
    options::set(socket, level, name, bytes)?;
    Ok(0)
}

fn getsockopt(
    call: &mut Call<'_>,
    descriptor: i32,
    level: i32,
    name: i32,
    at: usize,
    length_at: UserPtr<i32>,
) -> SysResult {
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    let room = usize::try_from(length_at.read(call.memory)?).map_err(|_| Errno::EINVAL)?;
    probe(call, at, room.min(OPTION_MAX))?;
    probe(call, length_at.address(), size_of::<i32>())?;
    let value = options::value(socket, level, name)?;
    let fits = value.get(..value.len().min(room)).unwrap_or_default();
    call.memory.space().copy_out(at, fits)?;
    length_at.write(call.memory, &(fits.len() as i32))?;
    Ok(0)
}
