// SPDX-License-Identifier: MIT
//! Socket options: what is asked of the socket, what has an effect, and what is only remembered
//! because there are no packets that it could shape.

use crate::net::address::Domain;
use crate::net::stream::CAPACITY;
use crate::net::{Socket, SocketKind};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use strongroom_abi::{Errno, Linger, SocketCredentials, Timeval};
use zerocopy::IntoBytes as _;

const SOL_SOCKET: i32 = 1;
const SOL_IP: i32 = 0;
const SOL_TCP: i32 = 6;
const SOL_IPV6: i32 = 41;

const SO_REUSEADDR: i32 = 2;
const SO_TYPE: i32 = 3;
const SO_ERROR: i32 = 4;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_LINGER: i32 = 13;
const SO_REUSEPORT: i32 = 15;
const SO_PASSCRED: i32 = 16;
const SO_PEERCRED: i32 = 17;
const SO_RCVTIMEO: i32 = 20;
const SO_SNDTIMEO: i32 = 21;
const SO_BINDTODEVICE: i32 = 25;
const SO_ACCEPTCONN: i32 = 30;
const SO_SNDBUFFORCE: i32 = 32;
const SO_RCVBUFFORCE: i32 = 33;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
/// With 64-bit times, which the old numbers have here too.
const SO_RCVTIMEO_NEW: i32 = 66;
const SO_SNDTIMEO_NEW: i32 = 67;

const TCP_INFO: i32 = 11;
const TCP_CONGESTION: i32 = 13;
const IPV6_V6ONLY: i32 = 26;

/// Least size of a buffer, and most (`wmem_max`); what is set is doubled, as on Linux.
const BUFFER_MIN: i32 = 4608;
const BUFFER_MAX: i32 = 212_992;
/// Longest time in seconds that still counts in nanoseconds.
const SECONDS_MAX: i64 = 1 << 32;
/// Bytes of the oldest `struct tcp_info` that programs know.
const TCP_INFO_SIZE: usize = 104;

/// Options of type `int` that are remembered: level, name, value at first.
const REMEMBERED: &[(i32, i32, i32)] = &[
    (SOL_SOCKET, 1, 0), // DEBUG
    (SOL_SOCKET, SO_REUSEADDR, 0),
    (SOL_SOCKET, 5, 0), // DONTROUTE
    (SOL_SOCKET, 6, 0), // BROADCAST
    (SOL_SOCKET, SO_SNDBUF, BUFFER_MAX),
    (SOL_SOCKET, SO_RCVBUF, BUFFER_MAX),
    (SOL_SOCKET, 9, 0),  // KEEPALIVE
    (SOL_SOCKET, 10, 0), // OOBINLINE
    (SOL_SOCKET, 12, 0), // PRIORITY
    (SOL_SOCKET, SO_REUSEPORT, 0),
    (SOL_SOCKET, SO_PASSCRED, 0),
    (SOL_SOCKET, 18, 1),  // RCVLOWAT
    (SOL_SOCKET, 29, 0),  // TIMESTAMP
    (SOL_SOCKET, 36, 0),  // MARK
    (SOL_SOCKET, 40, 0),  // RXQ_OVFL
    (SOL_SOCKET, 46, 0),  // BUSY_POLL
    (SOL_TCP, 1, 0),      // NODELAY
    (SOL_TCP, 2, 65_483), // MAXSEG
    (SOL_TCP, 3, 0),      // CORK
    (SOL_TCP, 4, 7200),   // KEEPIDLE
    (SOL_TCP, 5, 75),     // KEEPINTVL
    (SOL_TCP, 6, 9),      // KEEPCNT
    (SOL_TCP, 7, 6),      // SYNCNT
    (SOL_TCP, 8, 60),     // LINGER2
    (SOL_TCP, 9, 0),      // DEFER_ACCEPT
    (SOL_TCP, 10, 0),     // WINDOW_CLAMP
    (SOL_TCP, 12, 1),     // QUICKACK
    (SOL_TCP, 18, 0),     // USER_TIMEOUT
    (SOL_TCP, 23, 0),     // FASTOPEN
    (SOL_TCP, 25, -1),    // NOTSENT_LOWAT
    (SOL_IP, 1, 0),       // TOS
    (SOL_IP, 2, 64),      // TTL
    (SOL_IP, 8, 0),       // PKTINFO
    (SOL_IP, 10, 1),      // MTU_DISCOVER
    (SOL_IP, 11, 0),      // RECVERR
    (SOL_IP, 12, 0),      // RECVTTL
    (SOL_IP, 13, 0),      // RECVTOS
    (SOL_IP, 15, 0),      // FREEBIND
    (SOL_IP, 24, 0),      // BIND_ADDRESS_NO_PORT
    (SOL_IP, 33, 1),      // MULTICAST_TTL
    (SOL_IP, 34, 1),      // MULTICAST_LOOP
    (SOL_IPV6, 16, 64),   // UNICAST_HOPS
    (SOL_IPV6, 18, 1),    // MULTICAST_HOPS
    (SOL_IPV6, 19, 1),    // MULTICAST_LOOP
    (SOL_IPV6, 23, 1),    // MTU_DISCOVER
    (SOL_IPV6, 25, 0),    // RECVERR
    (SOL_IPV6, IPV6_V6ONLY, 0),
    (SOL_IPV6, 49, 0), // RECVPKTINFO
    (SOL_IPV6, 51, 0), // RECVHOPLIMIT
    (SOL_IPV6, 66, 0), // RECVTCLASS
    (SOL_IPV6, 67, 0), // TCLASS
];

/// See the module's text.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// Those that differ from their value at first.
    values: BTreeMap<(i32, i32), i32>,
    pub(crate) receive_timeout_ns: Option<u64>,
    pub(crate) send_timeout_ns: Option<u64>,
    linger: Linger,
}

impl Options {
    fn remembered(&self, level: i32, name: i32) -> Option<i32> {
        let known = REMEMBERED.iter().find(|known| (known.0, known.1) == (level, name))?;
        Some(self.values.get(&(level, name)).copied().unwrap_or(known.2))
    }

    fn is_set(&self, level: i32, name: i32) -> bool {
        self.values.get(&(level, name)).is_some_and(|value| *value != 0)
    }

    /// `SO_REUSEADDR`.
    pub(crate) fn reuses_address(&self) -> bool {
        self.is_set(SOL_SOCKET, SO_REUSEADDR)
    }

    /// `SO_REUSEPORT`.
    pub(crate) fn reuses_port(&self) -> bool {
        self.is_set(SOL_SOCKET, SO_REUSEPORT)
    }

    /// `SO_PASSCRED`.
    pub(crate) fn passes_credentials(&self) -> bool {
        self.is_set(SOL_SOCKET, SO_PASSCRED)
    }

    /// `IPV6_V6ONLY`.
    pub(crate) fn v6_only(&self) -> bool {
        self.is_set(SOL_IPV6, IPV6_V6ONLY)
    }

    /// `SO_LINGER` with no time: closing breaks the connection.
    pub(crate) const fn resets(&self) -> bool {
        self.linger.onoff != 0 && self.linger.seconds == 0
    }

    /// `SO_SNDBUF`.
    pub(crate) fn send_capacity(&self) -> usize {
        let value = self.remembered(SOL_SOCKET, SO_SNDBUF);
        value.and_then(|value| usize::try_from(value).ok()).unwrap_or(CAPACITY)
    }
}

/// Refuses what the socket's family does not have at all.
fn check_level(socket: &Socket, level: i32) -> Result<(), Errno> {
    let tcp = socket.kind == SocketKind::Stream;
    match (level, socket.domain) {
        (SOL_SOCKET, _) | (SOL_IP, Domain::Inet | Domain::Inet6) | (SOL_IPV6, Domain::Inet6) => {
            Ok(())
        }
        (_, Domain::Unix) => Err(Errno::EOPNOTSUPP),
        (SOL_TCP, Domain::Inet | Domain::Inet6) if tcp => Ok(()),
        (_, Domain::Inet | Domain::Inet6) => Err(Errno::ENOPROTOOPT),
    }
}

fn int(bytes: &[u8]) -> Result<i32, Errno> {
    let bytes = bytes.first_chunk::<4>().ok_or(Errno::EINVAL)?;
    Ok(i32::from_ne_bytes(*bytes))
}

/// Of IP options, one byte will do.
fn int_or_byte(level: i32, bytes: &[u8]) -> Result<i32, Errno> {
    match bytes {
        [byte] | [byte, _] | [byte, _, _] if level == SOL_IP => Ok(i32::from(*byte)),
        _ => int(bytes),
    }
}

/// Reads `struct timeval`; zero is no limit.
fn timeout(bytes: &[u8]) -> Result<Option<u64>, Errno> {
    let (words, _) = bytes.as_chunks::<8>();
    let [seconds, microseconds, ..] = words else { return Err(Errno::EINVAL) };
    let (seconds, microseconds) = (i64::from_ne_bytes(*seconds), i64::from_ne_bytes(*microseconds));
    let microseconds = u64::try_from(microseconds).ok().filter(|part| *part < 1_000_000);
    let microseconds = microseconds.ok_or(Errno::EDOM)?;
    // A negative time is none at all: the call fails at once, after one nanosecond.
    let Ok(whole) = u64::try_from(seconds.min(SECONDS_MAX)) else { return Ok(Some(1)) };
    let total = whole * 1_000_000_000 + microseconds * 1000;
    Ok((total > 0).then_some(total))
}

fn timeout_bytes(timeout_ns: Option<u64>) -> Vec<u8> {
    let total = timeout_ns.unwrap_or(0).cast_signed();
    let value =
        Timeval { seconds: total / 1_000_000_000, microseconds: total % 1_000_000_000 / 1000 };
    value.as_bytes().to_vec()
}

/// `setsockopt(2)`.
///
/// # Errors
///
/// `ENOPROTOOPT` for options that do not exist, `EINVAL` and `EDOM` for their values.
pub(crate) fn set(socket: &Socket, level: i32, name: i32, bytes: &[u8]) -> Result<(), Errno> {
    check_level(socket, level)?;
    match (level, name) {
        (SOL_SOCKET, SO_RCVTIMEO | SO_RCVTIMEO_NEW) => {
            socket.options.lock().receive_timeout_ns = timeout(bytes)?;
        }
        (SOL_SOCKET, SO_SNDTIMEO | SO_SNDTIMEO_NEW) => {
            socket.options.lock().send_timeout_ns = timeout(bytes)?;
        }
        (SOL_SOCKET, SO_LINGER) => {
            let (words, _) = bytes.as_chunks::<4>();
            let [onoff, seconds, ..] = words else { return Err(Errno::EINVAL) };
            socket.options.lock().linger = Linger {
                onoff: i32::from(*onoff != [0; 4]),
                seconds: i32::from_ne_bytes(*seconds),
            };
        }
        (SOL_SOCKET, SO_SNDBUF | SO_SNDBUFFORCE) => {
            let size = buffer_size(int(bytes)?);
            socket.options.lock().values.insert((SOL_SOCKET, SO_SNDBUF), size);
            socket.protocol.set_send_capacity(size.unsigned_abs() as usize);
        }
        (SOL_SOCKET, SO_RCVBUF | SO_RCVBUFFORCE) => {
            let size = buffer_size(int(bytes)?);
            socket.options.lock().values.insert((SOL_SOCKET, SO_RCVBUF), size);
        }
        (SOL_SOCKET, SO_BINDTODEVICE) => match bytes.split(|byte| *byte == 0).next() {
            None | Some(b"" | b"lo") => {}
            Some(_) => return Err(Errno::ENODEV),
        },
        (SOL_TCP, TCP_CONGESTION) => match bytes.split(|byte| *byte == 0).next() {
            Some(b"cubic" | b"reno") => {}
            Some(_) | None => return Err(Errno::ENOENT),
        },
        (SOL_IPV6, IPV6_V6ONLY) if socket.protocol.is_bound() => return Err(Errno::EINVAL),
        _ => remember(socket, level, name, bytes)?,
    }
    Ok(())
}

fn buffer_size(wanted: i32) -> i32 {
    wanted.clamp(0, BUFFER_MAX).saturating_mul(2).max(BUFFER_MIN)
}

fn remember(socket: &Socket, level: i32, name: i32, bytes: &[u8]) -> Result<(), Errno> {
    let mut options = socket.options.lock();
    if options.remembered(level, name).is_none() {
        return Err(Errno::ENOPROTOOPT);
    }
    let value = int_or_byte(level, bytes)?;
    let switch = matches!(
        (level, name),
        (SOL_SOCKET, 1 | SO_REUSEADDR | 5 | 6 | 9 | 10 | SO_REUSEPORT | SO_PASSCRED | 29 | 40)
            | (SOL_TCP, 1 | 3 | 12)
            | (SOL_IPV6, IPV6_V6ONLY)
    );
    let value = if switch { i32::from(value != 0) } else { value };
    options.values.insert((level, name), value);
    Ok(())
}

/// `getsockopt(2)`: the bytes of the answer.
///
/// # Errors
///
/// `ENOPROTOOPT` for options that do not exist.
pub(crate) fn value(socket: &Socket, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
    check_level(socket, level)?;
    let number = match (level, name) {
        (SOL_SOCKET, SO_TYPE) => socket.kind as i32,
        (SOL_SOCKET, SO_ERROR) => socket.protocol.take_error().map_or(0, |errno| errno as i32),
        (SOL_SOCKET, SO_ACCEPTCONN) => i32::from(socket.protocol.is_listening()),
        (SOL_SOCKET, SO_DOMAIN) => i32::from(socket.domain.number()),
        (SOL_SOCKET, SO_PROTOCOL) => match (socket.domain, socket.kind) {
            (Domain::Unix, _) => 0,
            (_, SocketKind::Datagram) => 17,
            (_, SocketKind::Stream | SocketKind::Packets) => 6,
        },
        _ => return structure(socket, level, name),
    };
    Ok(number.to_ne_bytes().to_vec())
}

/// Answers that are not an `int`, and those that are remembered.
fn structure(socket: &Socket, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
    let options = socket.options.lock();
    Ok(match (level, name) {
        (SOL_SOCKET, SO_RCVTIMEO | SO_RCVTIMEO_NEW) => timeout_bytes(options.receive_timeout_ns),
        (SOL_SOCKET, SO_SNDTIMEO | SO_SNDTIMEO_NEW) => timeout_bytes(options.send_timeout_ns),
        (SOL_SOCKET, SO_LINGER) => options.linger.as_bytes().to_vec(),
        (SOL_SOCKET, SO_BINDTODEVICE) => Vec::new(),
        (SOL_SOCKET, SO_PEERCRED) => {
            let nobody = SocketCredentials { pid: 0, uid: u32::MAX, gid: u32::MAX };
            let peer = socket.protocol.peer_credentials().unwrap_or(nobody);
            peer.as_bytes().to_vec()
        }
        (SOL_TCP, TCP_INFO) => {
            let state = match (socket.protocol.is_listening(), socket.protocol.peer()) {
                (true, _) => 10,
                (false, Ok(_)) => 1,
                (false, Err(_)) => 7,
            };
            let mut info = Vec::from([0; TCP_INFO_SIZE]);
            if let Some(first) = info.first_mut() {
                *first = state;
            }
            info
        }
        (SOL_TCP, TCP_CONGESTION) => b"cubic\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        _ => {
            let value = options.remembered(level, name).ok_or(Errno::ENOPROTOOPT)?;
            value.to_ne_bytes().to_vec()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_checked_and_zero_is_no_limit() {
        let read = |seconds, microseconds| timeout(Timeval { seconds, microseconds }.as_bytes());
        assert_eq!(read(0, 0), Ok(None));
        assert_eq!(read(1, 500_000), Ok(Some(1_500_000_000)));
        assert_eq!(read(0, 1_000_000), Err(Errno::EDOM));
        assert_eq!(read(0, -1), Err(Errno::EDOM));
        assert_eq!(read(-1, 0), Ok(Some(1)));
        assert!(read(i64::MAX, 0).unwrap().is_some());
        assert_eq!(timeout(&[0; 15]), Err(Errno::EINVAL));
        let back = timeout_bytes(Some(1_500_000_000));
        assert_eq!(back, Timeval { seconds: 1, microseconds: 500_000 }.as_bytes());
    }

    #[test]
    fn buffers_are_doubled_within_their_limits() {
        assert_eq!(buffer_size(-1), BUFFER_MIN);
        assert_eq!(buffer_size(10_000), 20_000);
        assert_eq!(buffer_size(i32::MAX), 2 * BUFFER_MAX);
    }

    #[test]
    fn one_byte_is_enough_for_ip_options_only() {
        assert_eq!(int_or_byte(SOL_IP, &[7]), Ok(7));
        assert_eq!(int_or_byte(SOL_TCP, &[7]), Err(Errno::EINVAL));
        assert_eq!(int_or_byte(SOL_TCP, &7i32.to_ne_bytes()), Ok(7));
    }
}
