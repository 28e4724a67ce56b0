// SPDX-License-Identifier: MIT
//! Where clients of an attested session come to the launcher, which carries their bytes.

use super::sockets::CONNECT_TIMEOUT;
use super::stream::Stream;
use std::fmt;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tempfile::TempDir;

/// An address that a launcher listens on, or that a client connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachAddress {
    /// `unix:PATH`: a socket in the file system, of this machine only.
    Unix(PathBuf),
    /// `tcp:HOST:PORT`.
    Tcp(String),
}

/// A launcher's listening socket. It is there before the enclave is, so that clients may be early.
#[derive(Debug)]
pub struct AttachListener {
    pub(super) socket: AttachSocket,
}

#[derive(Debug)]
pub(super) enum AttachSocket {
    Tcp(TcpListener),
    /// The file goes with the listener, and so does a folder made for it.
    Unix {
        socket: UnixListener,
        path: PathBuf,
        _folder: Option<TempDir>,
    },
}

impl FromStr for AttachAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || format!("`{text}` is no address; allowed are unix:PATH and tcp:HOST:PORT");
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", rest)) => match rest.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(Self::Tcp(rest.to_owned()))
                }
                Some(_) | None => Err(allowed()),
            },
            Some(_) | None => Err(allowed()),
        }
    }
}

impl fmt::Display for AttachAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl AttachListener {
    /// Listens.
    ///
    /// # Errors
    ///
    /// The system's, for an address that is not to be had.
    pub fn bind(address: &AttachAddress) -> io::Result<Self> {
        let socket = match address {
            AttachAddress::Tcp(address) => AttachSocket::Tcp(TcpListener::bind(address.as_str())?),
            AttachAddress::Unix(path) => {
                let socket = UnixListener::bind(path)?;
                AttachSocket::Unix { socket, path: path.clone(), _folder: None }
            }
        };
        Self::of(socket)
    }

    /// Listens where only this user finds it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn private() -> io::Result<Self> {
        let only_us = Permissions::from_mode(0o700);
        let folder =
            tempfile::Builder::new().prefix("strongroom-").permissions(only_us).tempdir()?;
        let path = folder.path().join("attach");
        let socket = UnixListener::bind(&path)?;
        Self::of(AttachSocket::Unix { socket, path, _folder: Some(folder) })
    }

    fn of(socket: AttachSocket) -> io::Result<Self> {
        match &socket {
            AttachSocket::Tcp(listener) => listener.set_nonblocking(true)?,
            AttachSocket::Unix { socket, .. } => socket.set_nonblocking(true)?,
        }
        Ok(Self { socket })
    }

    /// Where clients come to: with the port that was picked, for port 0.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn address(&self) -> io::Result<AttachAddress> {
        Ok(match &self.socket {
            AttachSocket::Tcp(listener) => AttachAddress::Tcp(listener.local_addr()?.to_string()),
            AttachSocket::Unix { path, .. } => AttachAddress::Unix(path.clone()),
        })
    }
}

impl Drop for AttachSocket {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            remove(path);
        }
    }
}

fn remove(path: &Path) {
    // Whoever removed it before has done the same.
    let _ = std::fs::remove_file(path);
}

impl AttachAddress {
    /// Connects, trying the addresses of a name in turn. Reading and writing take at most
    /// `patience` each.
    pub(crate) fn connect(&self, patience: Duration) -> io::Result<Connected> {
        match self {
            Self::Unix(path) => {
                let connected = Connected(Stream::Unix(UnixStream::connect(path)?));
                connected.set_patience(Some(patience))?;
                Ok(connected)
            }
            Self::Tcp(address) => {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            let connected = Connected(Stream::Tcp(stream));
                            connected.set_patience(Some(patience))?;
                            return Ok(connected);
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

/// A client's end of a connection.
#[derive(Debug)]
pub(crate) struct Connected(Stream);

impl Connected {
    /// How long reading and writing may take; none is for ever.
    pub(crate) fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.0.set_timeouts(patience)
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl Read for Connected {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }
}

impl Write for Connected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
