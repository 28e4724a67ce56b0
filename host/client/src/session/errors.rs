// SPDX-License-Identifier: MIT
//! The host's errors in the words of the protocol.

use rustix::io::Errno;
use std::io;
use strongroom_wire::message::HostError;

/// Maps an error of the host's system; what has no word of its own is [`HostError::Failed`].
pub(super) fn host_error(error: &io::Error) -> HostError {
    let Some(errno) = Errno::from_io_error(error) else {
        return HostError::Failed;
    };
    match errno {
        Errno::NOENT => HostError::NotFound,
        // XDEV and LOOP are how openat2 reports a way out of the granted directory.
        Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::LOOP => HostError::Denied,
        Errno::EXIST => HostError::Exists,
        Errno::NOTDIR => HostError::NotDirectory,
        Errno::ISDIR => HostError::IsDirectory,
        Errno::NOTEMPTY => HostError::NotEmpty,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => HostError::NoSpace,
        Errno::ROFS => HostError::ReadOnly,
        Errno::CONNREFUSED => HostError::Refused,
        Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN | Errno::CONNABORTED => HostError::Reset,
        Errno::TIMEDOUT => HostError::TimedOut,
        Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN => HostError::Unreachable,
        Errno::ADDRINUSE => HostError::InUse,
        Errno::ADDRNOTAVAIL => HostError::NotFound,
        Errno::INVAL | Errno::NAMETOOLONG | Errno::BADF => HostError::Invalid,
        Errno::OPNOTSUPP | Errno::NOSYS => HostError::Unsupported,
        _ => HostError::Failed,
    }
}
