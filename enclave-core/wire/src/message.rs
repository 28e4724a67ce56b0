// SPDX-License-Identifier: MIT
//! Messages: the enclave asks, the host answers and reports events.
//!
//! A [`ToHost`] with a ticket other than 0 is answered by exactly one [`ToEnclave::Reply`] with the
//! same ticket. Tickets are never used twice in a session; a reply to an unknown ticket is dropped.
//! Order on the stream is kept: what was written to the console before [`Ask::Exit`] is shown.
//!
//! The order of variants is the wire format: append, never reorder.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Version of this protocol, sent in [`Ask::Hello`].
pub const VERSION: u32 = 1;

/// A message from the enclave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToHost<'a> {
    /// Names the answer; 0 asks for none.
    pub ticket: u64,
    /// What is wanted.
    #[serde(borrow)]
    pub ask: Ask<'a>,
}

/// A message from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToEnclave<'a> {
    /// The answer to a request.
    Reply {
        /// The request's ticket.
        ticket: u64,
        /// What happened.
        #[serde(borrow)]
        result: Result<Answer<'a>, HostError>,
    },
    /// A signal for the program's foreground process group: INT, TERM, HUP, QUIT, USR1, USR2.
    Signal(u8),
    /// The terminal's size changed.
    Resize(TerminalSize),
}

/// The two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What the enclave asks of its host. The answer's variant is named with each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask<'a> {
    /// First message. [`Answer::Welcome`].
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// The first user instruction is about to run. No answer.
    Started {
        /// Time since the platform started.
        boot_ns: u64,
    },
    /// Bytes for standard output or error. [`Answer::Done`] when the host has written them.
    ConsoleWrite {
        /// Which.
        stream: Stream,
        /// At most [`crate::frame::DATA_MAX`] bytes.
        #[serde(borrow)]
        bytes: &'a [u8],
    },
    /// Bytes of standard input, when there are any. [`Answer::Data`]; empty at its end.
    ConsoleRead {
        /// Most bytes to answer.
        max: u32,
    },
    /// Wall clock time. [`Answer::Time`].
    WallClock,
    /// Blocks of the image file. [`Answer::Data`] of exactly that many blocks.
    ImageRead {
        /// First block.
        block: u64,
        /// Number of blocks, at most [`crate::frame::DATA_MAX`] / 4096.
        count: u32,
    },
    /// The program ended; the session is over. No answer.
    Exit {
        /// Its exit code, or 128 + N for a signal.
        status: u8,
        /// Peak use of frames by programs and page cache, in KiB.
        peak_kib: u64,
        /// Memory of the kernel itself, in KiB.
        kernel_kib: u64,
    },
    /// The enclave gave up. No answer.
    Abort {
        /// A sentence for the user.
        #[serde(borrow)]
        reason: &'a str,
    },
    /// A line of the kernel's log: once per unknown system call, for example. No answer.
    Log {
        /// The line.
        #[serde(borrow)]
        line: &'a str,
    },
    /// An operation on a granted directory.
    #[serde(borrow)]
    File(FileAsk<'a>),
    /// An operation on a granted socket.
    #[serde(borrow)]
    Socket(SocketAsk<'a>),
}

/// Operations on granted directories. `grant` is the index in the manifest. A path is relative to
/// the granted directory, without `.` and `..` and without symbolic links on the way; the host
/// follows none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileAsk<'a> {
    /// What a path is. [`Answer::Attributes`].
    Look {
        /// Index of the grant.
        grant: u16,
        /// The path; empty for the directory itself.
        path: &'a str,
    },
    /// Names in a directory. [`Answer::Names`].
    List {
        /// Index of the grant.
        grant: u16,
        /// The path.
        path: &'a str,
        /// How many names to skip.
        skip: u32,
    },
    /// Bytes of a file. [`Answer::Data`], short only at the end.
    Read {
        /// Index of the grant.
        grant: u16,
        /// The path.
        path: &'a str,
        /// Byte offset.
        offset: u64,
        /// Most bytes.
        max: u32,
    },
    /// Writes bytes to a file. [`Answer::Done`]: all of them are written.
    Write {
        /// Index of the grant.
        grant: u16,
        /// The path.
        path: &'a str,
        /// Byte offset.
        offset: u64,
        /// What to write.
        bytes: &'a [u8],
    },
    /// Makes an entry that must not exist. [`Answer::Done`].
    Create {
        /// Index of the grant.
        grant: u16,
        /// The path.
        path: &'a str,
        /// Type and permissions, as `st_mode`: a regular file or a directory.
        mode: u32,
    },
    /// Makes a symbolic link that must not exist. [`Answer::Done`].
    Symlink {
        /// Index of the grant.
        grant: u16,
        /// The path.
        path: &'a str,
        /// What it points at.
        target: &'a str,
    },
    /// The target of a symbolic link. [`Answer::Data`].
    ReadLink {
        /// Index of the grant.
        grant: u16,
        /// The path.
        path: &'a str,
    },
    /// Removes an entry. [`Answer::Done`].
    Remove {
        /// Index of the grant.
        grant: u16,
        /// The path.
        path: &'a str,
        /// An empty directory, not a file.
        directory: bool,
    },
    /// Renames within a grant, replacing. [`Answer::Done`].
    Rename {
        /// Index of the grant.
        grant: u16,
        /// Old path.
        from: &'a str,
        /// New path.
        to: &'a str,
    },
    /// Changes attributes. [`Answer::Done`].
    Change {
        /// Index of the grant.
        grant: u16,
        /// The path.
        path: &'a str,
        /// New length.
        size: Option<u64>,
        /// New permissions.
        mode: Option<u32>,
        /// New modification time, nanoseconds since 1970.
        mtime_ns: Option<i64>,
    },
    /// Brings written data to the disk. [`Answer::Done`].
    Sync {
        /// Index of the grant.
        grant: u16,
        /// The path.
        path: &'a str,
    },
}

/// Operations on granted sockets. Handles are the host's, given in [`Answer::Handle`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketAsk<'a> {
    /// Connects to a granted host and port. [`Answer::Handle`].
    Connect {
        /// Index in the manifest's connects.
        grant: u16,
    },
    /// Starts listening on a granted port. [`Answer::Handle`].
    Listen {
        /// Index in the manifest's listens.
        grant: u16,
        /// Connections that may wait.
        backlog: u16,
    },
    /// Takes a connection when there is one. [`Answer::Accepted`].
    Accept {
        /// A listening handle.
        handle: u32,
    },
    /// Bytes that arrived, when there are any. [`Answer::Data`]; empty at the end.
    Receive {
        /// A connected handle.
        handle: u32,
        /// Most bytes.
        max: u32,
    },
    /// Sends all of the bytes. [`Answer::Done`] when the host's kernel has them.
    Send {
        /// A connected handle.
        handle: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Says that no more will be sent. [`Answer::Done`].
    Finish {
        /// A connected handle.
        handle: u32,
    },
    /// Closes a handle; operations that wait on it fail. No answer.
    Close {
        /// Any handle.
        handle: u32,
    },
    /// Starts listening where clients of an attested session come. [`Answer::Handle`]. What such a
    /// connection carries is none of the host's business: it can read none of it.
    Attach {
        /// Connections that may wait.
        backlog: u16,
    },
}

/// An address as seen by the host; plaintext and untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// IPv4 address and port.
    V4([u8; 4], u16),
    /// IPv6 address and port.
    V6([u8; 16], u16),
}

/// Attributes of a file in a granted directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// The host's number for it.
    pub inode: u64,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Names.
    pub links: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// A name in a granted directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The name: not empty, no `/`, not `.` or `..`.
    pub name: String,
    /// `d_type` of `getdents64(2)`.
    pub kind: u8,
    /// The host's number for it.
    pub inode: u64,
}

/// Answers, in the words of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<'a> {
    /// It was carried out.
    Done,
    /// Answer to [`Ask::Hello`].
    Welcome {
        /// Wall clock, nanoseconds since 1970.
        wall_ns: u64,
        /// Whether standard input, output and error are a terminal each; then its size.
        terminal: [bool; 3],
        /// Size, where there is a terminal.
        size: Option<TerminalSize>,
    },
    /// Bytes.
    Data(&'a [u8]),
    /// Nanoseconds since 1970.
    Time(u64),
    /// Attributes of a file.
    Attributes(Attributes),
    /// Names in a directory; empty at the end.
    Names(Vec<Name>),
    /// A handle for a socket, and its address on the host.
    Handle(u32, Address),
    /// A new connection: its handle and the peer.
    Accepted(u32, Address),
}

/// Why the host did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostError {
    /// No such file, name or address.
    NotFound,
    /// Not granted, or the host's system says no.
    Denied,
    /// It exists already.
    Exists,
    /// A directory is needed.
    NotDirectory,
    /// A directory will not do.
    IsDirectory,
    /// The directory is not empty.
    NotEmpty,
    /// No space, or a quota.
    NoSpace,
    /// Granted for reading only.
    ReadOnly,
    /// The peer refused.
    Refused,
    /// The connection is gone.
    Reset,
    /// It took too long.
    TimedOut,
    /// No way to the peer.
    Unreachable,
    /// The address is in use.
    InUse,
    /// The request makes no sense.
    Invalid,
    /// The host does not offer this.
    Unsupported,
    /// Any other failure of the host.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Malformed, Untrusted};

    /// The bytes on the wire are a contract: this may gain cases, never change one.
    #[test]
    fn golden_bytes_hold_in_both_directions() {
        let ask =
            ToHost { ticket: 5, ask: Ask::ConsoleWrite { stream: Stream::Error, bytes: b"hi" } };
        let bytes = postcard::to_allocvec(&ask).unwrap();
        assert_eq!(bytes, [5, 2, 1, 2, b'h', b'i']);
        assert_eq!(Untrusted::new(&bytes).parse(), Ok(ask));

        let reply = ToEnclave::Reply { ticket: 5, result: Ok(Answer::Data(b"x")) };
        let bytes = postcard::to_allocvec(&reply).unwrap();
        assert_eq!(bytes, [0, 5, 0, 2, 1, b'x']);
        assert_eq!(Untrusted::new(&bytes).parse(), Ok(reply));

        let ask = ToHost { ticket: 3, ask: Ask::Socket(SocketAsk::Attach { backlog: 4 }) };
        assert_eq!(postcard::to_allocvec(&ask).unwrap(), [3, 10, 7, 4]);

        let refusal = ToEnclave::Reply { ticket: 1, result: Err(HostError::Denied) };
        assert_eq!(postcard::to_allocvec(&refusal).unwrap(), [0, 1, 1, 1]);
        assert_eq!(postcard::to_allocvec(&ToEnclave::Signal(2)).unwrap(), [1, 2]);
    }

    #[test]
    fn what_does_not_fill_the_message_is_refused() {
        let parse = |bytes| Untrusted::new(bytes).parse::<ToEnclave<'_>>();
        assert_eq!(parse(&[1, 2, 0]), Err(Malformed::Trailing));
        assert_eq!(parse(&[0, 5, 0, 2, 9, b'x']), Err(Malformed::Value));
        assert_eq!(parse(&[9]), Err(Malformed::Value));
        assert_eq!(parse(&[]), Err(Malformed::Value));
    }
}
