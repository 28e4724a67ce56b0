// SPDX-License-Identifier: MIT
//! Sockets of either family, for those who do not care which.

use super::attach::{AttachListener, AttachSocket};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use strongroom_wire::message::Address;

/// What clients of UNIX sockets are said to come from: they have no address.
const NOWHERE: Address = Address::V4([0; 4], 0);

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Something that listens.
#[derive(Debug)]
pub(super) enum Listener {
    /// On a granted port.
    Granted(TcpListener),
    /// For clients of a session.
    Attach(AttachListener),
}

impl Listener {
    /// The next connection, and where it comes from.
    pub(super) fn accept(&self) -> io::Result<(Stream, Address)> {
        let tcp = |(socket, peer)| (Stream::Tcp(socket), wire_address(peer));
        match self {
            Self::Granted(socket) => socket.accept().map(tcp),
            Self::Attach(listener) => match &listener.socket {
                AttachSocket::Tcp(socket) => socket.accept().map(tcp),
                AttachSocket::Unix { socket, .. } => {
                    socket.accept().map(|(socket, _)| (Stream::Unix(socket), NOWHERE))
                }
            },
        }
    }
}

impl Stream {
    /// Makes operations that would wait fail instead.
    pub(super) fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true))
            }
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }

    /// How long reading and writing may take; none is for ever.
    pub(super) fn set_timeouts(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                socket.set_read_timeout(limit).and_then(|()| socket.set_write_timeout(limit))
            }
            Self::Unix(socket) => {
                socket.set_read_timeout(limit).and_then(|()| socket.set_write_timeout(limit))
            }
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    pub(super) fn finish(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Self::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => (&*socket).read(buffer),
            Stream::Unix(socket) => (&*socket).read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => (&*socket).write(bytes),
            Stream::Unix(socket) => (&*socket).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Granted(socket) => socket.as_fd(),
            Self::Attach(listener) => match &listener.socket {
                AttachSocket::Tcp(socket) => socket.as_fd(),
                AttachSocket::Unix { socket, .. } => socket.as_fd(),
            },
        }
    }
}

pub(super) fn wire_address(address: SocketAddr) -> Address {
    match address.ip() {
        IpAddr::V4(ip) => Address::V4(ip.octets(), address.port()),
        IpAddr::V6(ip) => Address::V6(ip.octets(), address.port()),
    }
}
