// SPDX-License-Identifier: MIT
//! Sending and receiving with sockets.

use crate::calls::sockets::{AddressOut, read_address};
use crate::fs::OpenFile;
use crate::net::address::{Name, UnixName};
use crate::net::{
    ControlBuffer, Direction, Label, Outgoing, Received, Socket, SocketKind, Want, own_credentials,
    probe, read_control,
};
use crate::outcome::{Stop, SysResult};
use crate::table::{Row, row};
use crate::task::Call;
use crate::user::{Sink, Source, UserPtr};
use alloc::vec::Vec;
use strongroom_abi::{Errno, Iovec, MessageHeader, MultipleMessageHeader, Timespec};

pub(crate) const CALLS: &[Row] = &[
    row!(Sendto, sendto(6), Partial("no out-of-band data")),
    row!(
        Recvfrom,
        recvfrom(6),
        Partial("no out-of-band data, no error queue, no MSG_TRUNC of TCP")
    ),
    row!(
        Sendmsg,
        sendmsg(3),
        Partial(
            "SCM_RIGHTS and SCM_CREDENTIALS; sockets in flight that hold only each other are not \
             collected"
        )
    ),
    row!(
        Recvmsg,
        recvmsg(3),
        Partial(
            "SCM_RIGHTS and SCM_CREDENTIALS; nothing about packets: no timestamps, PKTINFO, hop limits"
        )
    ),
    row!(
        Sendmmsg,
        sendmmsg(4),
        Partial("a message of a stream that does not fit at once is sent in part and the last")
    ),
    row!(
        Recvmmsg,
        recvmmsg(5),
        Partial(
            "SCM_RIGHTS and SCM_CREDENTIALS; nothing about packets: no timestamps, PKTINFO, hop limits"
        )
    ),
];

bitflags::bitflags! {
    /// `MSG_*`; unknown ones are ignored.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Flags: u32 {
        const OUT_OF_BAND = 0x1;
        const PEEK = 0x2;
        const CONTROL_TRUNCATED = 0x8;
        const TRUNCATED = 0x20;
        const DONT_WAIT = 0x40;
        const WAIT_ALL = 0x100;
        const ERROR_QUEUE = 0x2000;
        const NO_SIGNAL = 0x4000;
        const WAIT_FOR_ONE = 0x1_0000;
        const CLOSE_ON_EXEC = 0x4000_0000;
    }
}

/// Most messages of one call (`UIO_MAXIOV`).
const MESSAGES_MAX: usize = 1024;

/// What a sender gives besides the bytes.
struct Sending {
    to: Option<Vec<u8>>,
    label: Label,
    flags: Flags,
    /// Wait until all is sent.
    whole: bool,
}

fn send_one(
    call: &mut Call<'_>,
    open: &OpenFile,
    from: &mut Source<'_>,
    sending: Sending,
) -> SysResult {
    let socket = Socket::of(open)?;
    let Sending { to, label, flags, whole } = sending;
    if flags.contains(Flags::OUT_OF_BAND) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let dont_wait = flags.contains(Flags::DONT_WAIT);
    let patience = socket.patience(open, Direction::Send, dont_wait);
    let message = Outgoing { from, label, to: to.as_deref(), patience, whole };
    socket.send(call, message, flags.contains(Flags::NO_SIGNAL))
}

fn sendto(
    call: &mut Call<'_>,
    descriptor: i32,
    buffer: usize,
    length: usize,
    flags: u32,
    address: usize,
    address_length: i32,
) -> SysResult {
    let open = call.file(descriptor)?;
    Socket::of(&open)?;
    let to = match (address, address_length) {
        (0, _) => None,
        (at, length) => Some(read_address(call, at, length)?),
    };
    let label = Label { source: None, credentials: own_credentials(call), rights: None };
    let flags = Flags::from_bits_truncate(flags);
    let memory = call.memory.clone();
    let mut from = Source::user(&memory, buffer, length);
    send_one(call, &open, &mut from, Sending { to, label, flags, whole: true })
}

/// Sends what a header describes.
fn send_header(
    call: &mut Call<'_>,
    open: &OpenFile,
    header: &MessageHeader,
    flags: Flags,
    whole: bool,
) -> SysResult {
    let to = match (header.name, header.name_length.cast_signed()) {
        (0, _) | (_, 0) => None,
        (at, length) => Some(read_address(call, at as usize, length)?),
    };
    // Files go with the first byte: not again when the rest is sent.
    let begun = whole && call.progress.done > 0;
    let control = if begun { 0 } else { header.control_length as usize };
    let label = read_control(call, header.control as usize, control)?;
    let memory = call.memory.clone();
    let vector = UserPtr::<Iovec>::at(header.iov as usize);
    let mut from = Source::vector(&memory, vector, header.iov_length as usize)
        .map_err(too_many_segments(header))?;
    send_one(call, open, &mut from, Sending { to, label, flags, whole })
}

/// Too many segments are a message that is too long, not an invalid argument.
fn too_many_segments(header: &MessageHeader) -> impl Fn(Stop) -> Stop {
    let too_many = header.iov_length > 1024;
    move |stop| if too_many { Errno::EMSGSIZE.into() } else { stop }
}

fn sendmsg(
    call: &mut Call<'_>,
    descriptor: i32,
    header: UserPtr<MessageHeader>,
    flags: u32,
) -> SysResult {
    let open = call.file(descriptor)?;
    Socket::of(&open)?;
    let header = header.read(call.memory)?;
    send_header(call, &open, &header, Flags::from_bits_truncate(flags), true)
}

fn sendmmsg(
    call: &mut Call<'_>,
    descriptor: i32,
    vector: UserPtr<MultipleMessageHeader>,
    count: u32,
    flags: u32,
) -> SysResult {
    let open = call.file(descriptor)?;
    Socket::of(&open)?;
    let flags = Flags::from_bits_truncate(flags);
    let count = (count as usize).min(MESSAGES_MAX);
    while call.progress.done < count {
        match send_element(call, &open, vector.element(call.progress.done), flags) {
            Ok(all) => {
                call.progress.done += 1;
                if !all {
                    break;
                }
            }
            Err(Stop::Errno(_)) if call.progress.done > 0 => break,
            Err(stop) => return Err(stop),
        }
    }
    Ok(call.progress.done)
}

/// Sends one of several; whether all of it went.
fn send_element(
    call: &mut Call<'_>,
    open: &OpenFile,
    at: UserPtr<MultipleMessageHeader>,
    flags: Flags,
) -> SysResult<bool> {
    let mut element = at.read(call.memory)?;
    probe(call, at.address(), size_of::<MultipleMessageHeader>())?;
    let vector = UserPtr::<Iovec>::at(element.header.iov as usize);
    let total = Source::vector(call.memory, vector, element.header.iov_length as usize)?.left();
    let sent = send_header(call, open, &element.header, flags, false)?;
    element.length = sent as u32;
    at.write(call.memory, &element).map_err(|_| Errno::EFAULT)?;
    Ok(sent == total)
}

/// How something is received.
struct Receiving {
    flags: Flags,
    /// Of the whole call, where it has a limit of its own.
    timeout_ns: Option<u64>,
    /// Whether [`Flags::WAIT_ALL`] can use the call's progress.
    whole: bool,
}

impl Receiving {
    const fn with(flags: Flags) -> Self {
        Self { flags, timeout_ns: None, whole: true }
    }
}

fn receive_one(
    call: &mut Call<'_>,
    open: &OpenFile,
    to: &mut Sink<'_>,
    how: &Receiving,
) -> SysResult<Received> {
    let socket = Socket::of(open)?;
    let flags = how.flags;
    if flags.contains(Flags::OUT_OF_BAND) {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(Flags::ERROR_QUEUE) {
        return Err(Errno::EAGAIN.into());
    }
    let dont_wait = flags.contains(Flags::DONT_WAIT);
    let mut patience = socket.patience(open, Direction::Receive, dont_wait);
    patience.timeout_ns = how.timeout_ns.or(patience.timeout_ns);
    let peek = flags.contains(Flags::PEEK);
    let whole =
        how.whole && flags.contains(Flags::WAIT_ALL) && !peek && socket.kind == SocketKind::Stream;
    let want = Want { peek, whole, credentials: false };
    socket.protocol.receive(call, socket, &patience, to, want)
}

/// What the call returns: of a message that was cut, its whole length if that is asked for.
fn returned(received: &Received, flags: Flags) -> usize {
    let whole = flags.contains(Flags::TRUNCATED);
    if whole { received.count.max(received.length) } else { received.count }
}

/// The bytes of a sender's address; nothing where it has no name.
fn source_bytes(socket: &Socket, received: &Received) -> Vec<u8> {
    match &received.source {
        None | Some(Name::Unix(UnixName::Unnamed)) => Vec::new(),
        Some(name) => name.encode(socket.domain),
    }
}

fn recvfrom(
    call: &mut Call<'_>,
    descriptor: i32,
    buffer: usize,
    length: usize,
    flags: u32,
    address: usize,
    length_at: UserPtr<u32>,
) -> SysResult {
    let open = call.file(descriptor)?;
    let socket = Socket::of(&open)?;
    let out = AddressOut::prepare(call, address, length_at)?;
    let memory = call.memory.clone();
    let mut to = Sink::user(&memory, buffer, length);
    let flags = Flags::from_bits_truncate(flags);
    let received = receive_one(call, &open, &mut to, &Receiving::with(flags))?;
    if let Some(out) = out {
        out.finish(call, &source_bytes(socket, &received))?;
    }
    Ok(returned(&received, flags))
}

/// Receives as a header describes; what changes in the header is changed in `header`.
fn receive_header(
    call: &mut Call<'_>,
    open: &OpenFile,
    header: &mut MessageHeader,
    how: &Receiving,
) -> SysResult {
    let socket = Socket::of(open)?;
    let name_room = usize::try_from(header.name_length.cast_signed());
    let name_room = name_room.map_err(|_| Errno::EINVAL)?.min(128);
    let name_at = header.name as usize;
    if name_at != 0 {
        probe(call, name_at, name_room)?;
    }
    let control_room = if header.control == 0 { 0 } else { header.control_length as usize };
    let mut control = ControlBuffer::prepare(call, header.control as usize, control_room)?;
    let memory = call.memory.clone();
    let vector = UserPtr::<Iovec>::at(header.iov as usize);
    let mut to = Sink::vector(&memory, vector, header.iov_length as usize)
        .map_err(too_many_segments(header))?;
    let mut received = receive_one(call, open, &mut to, how)?;
    let (credentials, rights) = (received.credentials, received.rights.take());
    let close_on_exec = how.flags.contains(Flags::CLOSE_ON_EXEC);
    control.deliver(call, credentials, rights, close_on_exec)?;
    if name_at != 0 {
        let name = source_bytes(socket, &received);
        let fits = name.get(..name.len().min(name_room)).unwrap_or_default();
        memory.space().copy_out(name_at, fits).map_err(|_| Errno::EFAULT)?;
        header.name_length = name.len() as u32;
    }
    let mut flags = how.flags & Flags::CLOSE_ON_EXEC;
    flags.set(Flags::TRUNCATED, received.length > received.count);
    flags.set(Flags::CONTROL_TRUNCATED, control.truncated);
    header.control_length = control.used as u64;
    header.flags = flags.bits();
    Ok(returned(&received, how.flags))
}

fn recvmsg(
    call: &mut Call<'_>,
    descriptor: i32,
    at: UserPtr<MessageHeader>,
    flags: u32,
) -> SysResult {
    let open = call.file(descriptor)?;
    Socket::of(&open)?;
    let mut header = at.read(call.memory)?;
    probe(call, at.address(), size_of::<MessageHeader>())?;
    let how = Receiving::with(Flags::from_bits_truncate(flags));
    let count = receive_header(call, &open, &mut header, &how)?;
    at.write(call.memory, &header).map_err(|_| Errno::EFAULT)?;
    Ok(count)
}

fn recvmmsg(
    call: &mut Call<'_>,
    descriptor: i32,
    vector: UserPtr<MultipleMessageHeader>,
    count: u32,
    flags: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult {
    let open = call.file(descriptor)?;
    Socket::of(&open)?;
    let timeout_ns = match timeout.read_optional(call.memory)? {
        Some(timeout) => Some(nanoseconds(timeout)?),
        None => None,
    };
    let mut how = Receiving { flags: Flags::from_bits_truncate(flags), timeout_ns, whole: false };
    let count = (count as usize).min(MESSAGES_MAX);
    while call.progress.done < count {
        if call.progress.done > 0 && how.flags.contains(Flags::WAIT_FOR_ONE) {
            how.flags |= Flags::DONT_WAIT;
        }
        match receive_element(call, &open, vector.element(call.progress.done), &how) {
            Ok(()) => call.progress.done += 1,
            Err(Stop::Errno(_)) if call.progress.done > 0 => break,
            Err(stop) => return Err(stop),
        }
    }
    Ok(call.progress.done)
}

fn receive_element(
    call: &mut Call<'_>,
    open: &OpenFile,
    at: UserPtr<MultipleMessageHeader>,
    how: &Receiving,
) -> SysResult<()> {
    let mut element = at.read(call.memory)?;
    probe(call, at.address(), size_of::<MultipleMessageHeader>())?;
    let count = receive_header(call, open, &mut element.header, how)?;
    element.length = count as u32;
    at.write(call.memory, &element).map_err(|_| Errno::EFAULT)?;
    Ok(())
}

fn nanoseconds(time: Timespec) -> Result<u64, Errno> {
    let seconds = u64::try_from(time.seconds).map_err(|_| Errno::EINVAL)?;
    let part = u64::try_from(time.nanoseconds).ok().filter(|part| *part < 1_000_000_000);
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(part.ok_or(Errno::EINVAL)?))
}
