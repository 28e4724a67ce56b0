// SPDX-License-Identifier: MIT
//! Control messages: open files and credentials that travel with bytes (`unix(7)`, `cmsg(3)`).

use crate::fs::OpenFile;
use crate::kernel::Kernel;
use crate::net::address::Name;
use crate::outcome::SysResult;
use crate::task::{Call, Limits};
use crate::user::zeroed;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use spin::Mutex;
use strongroom_abi::{ControlHeader, Errno, SocketCredentials};
use zerocopy::IntoBytes as _;

/// Most files of one message (`SCM_MAX_FD`).
const FILES_MAX: usize = 253;
/// Most bytes of control messages that a sender can give.
const CONTROL_MAX: usize = 64 * 1024;
const SOL_IP: i32 = 0;
const SOL_SOCKET: i32 = 1;
const SOL_IPV6: i32 = 41;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// Bytes of a control message's header.
const HEADER: usize = size_of::<ControlHeader>();

/// Open files on their way, counted for the limit.
pub(crate) struct Rights {
    files: Vec<Arc<OpenFile>>,
    kernel: &'static Kernel,
}

/// What travels with bytes.
pub(crate) struct Label {
    /// Who sent it; of datagrams.
    pub(crate) source: Option<Name>,
    pub(crate) credentials: SocketCredentials,
    pub(crate) rights: Option<Rights>,
}

/// Files in flight, and those whose message was dropped.
///
/// A file in flight can be a socket that itself holds files in flight, and so on: they are closed
/// one after the other from a list, not one inside the other on the stack.
#[derive(Default)]
pub(crate) struct Flight {
    count: AtomicUsize,
    dropped: Mutex<Dropped>,
}

#[derive(Default)]
struct Dropped {
    files: Vec<Arc<OpenFile>>,
    closing: bool,
}

impl Flight {
    fn close(&self, files: Vec<Arc<OpenFile>>) {
        {
            let mut dropped = self.dropped.lock();
            dropped.files.extend(files);
            if dropped.closing {
                return;
            }
            dropped.closing = true;
        }
        loop {
            let next = {
                let mut dropped = self.dropped.lock();
                let next = dropped.files.pop();
                dropped.closing = next.is_some();
                next
            };
            if next.is_none() {
                return;
            }
        }
    }
}

impl Rights {
    fn new(call: &Call<'_>, files: Vec<Arc<OpenFile>>) -> Result<Self, Errno> {
        let limit = call.thread.process.limits.lock().soft(Limits::NOFILE);
        let flight = &call.kernel.net.flight;
        let before = flight.count.fetch_add(files.len(), Ordering::Relaxed);
        let rights = Self { files, kernel: call.kernel };
        if before as u64 > limit { Err(Errno::ETOOMANYREFS) } else { Ok(rights) }
    }

    /// The same files once more, for a look ahead.
    pub(crate) fn duplicate(&self) -> Self {
        self.kernel.net.flight.count.fetch_add(self.files.len(), Ordering::Relaxed);
        Self { files: self.files.clone(), kernel: self.kernel }
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let files = core::mem::take(&mut self.files);
        let flight = &self.kernel.net.flight;
        flight.count.fetch_sub(files.len(), Ordering::Relaxed);
        flight.close(files);
    }
}

/// The credentials that the kernel vouches for.
pub(crate) fn own_credentials(call: &Call<'_>) -> SocketCredentials {
    let process = &call.thread.process;
    let credentials = process.credentials.lock();
    SocketCredentials { pid: process.pid.cast_signed(), uid: credentials.uid, gid: credentials.gid }
}

/// Reads a sender's control messages.
///
/// # Errors
///
/// `EINVAL` for malformed or unknown ones, `EBADF`, `EPERM` for credentials of others,
/// `ETOOMANYREFS` when too many files are on their way, `ENOBUFS` when there is too much.
pub(crate) fn read_control(call: &Call<'_>, at: usize, length: usize) -> SysResult<Label> {
    let mut label = Label { source: None, credentials: own_credentials(call), rights: None };
    if length > CONTROL_MAX {
        return Err(Errno::ENOBUFS.into());
    }
    let mut bytes: Vec<u8> = zeroed(length)?;
    call.memory.space().copy_in(at, &mut bytes)?;
    let mut files = Vec::new();
    for message in Messages(&bytes) {
        let (header, data) = message?;
        match (header.level, header.kind) {
            (SOL_SOCKET, SCM_RIGHTS) => gather(call, data, &mut files)?,
            (SOL_SOCKET, SCM_CREDENTIALS) => label.credentials = claimed(call, data)?,
            // Hints for packets that never exist here.
            (SOL_IP | SOL_IPV6, _) => {}
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    if !files.is_empty() {
        label.rights = Some(Rights::new(call, files)?);
    }
    Ok(label)
}

fn gather(call: &Call<'_>, data: &[u8], files: &mut Vec<Arc<OpenFile>>) -> Result<(), Errno> {
    let (numbers, _) = data.as_chunks::<4>();
    if files.len() + numbers.len() > FILES_MAX {
        return Err(Errno::EINVAL);
    }
    for number in numbers {
        files.push(call.file(i32::from_ne_bytes(*number))?);
    }
    Ok(())
}

/// Credentials that a program states: its own, unless it is root.
fn claimed(call: &Call<'_>, data: &[u8]) -> Result<SocketCredentials, Errno> {
    let (words, []) = data.as_chunks::<4>() else { return Err(Errno::EINVAL) };
    let [pid, uid, gid] = words else { return Err(Errno::EINVAL) };
    let claim = SocketCredentials {
        pid: i32::from_ne_bytes(*pid),
        uid: u32::from_ne_bytes(*uid),
        gid: u32::from_ne_bytes(*gid),
    };
    let process = &call.thread.process;
    let own = process.credentials.lock();
    let honest = claim.pid == process.pid.cast_signed()
        && [own.uid, own.euid, own.suid].contains(&claim.uid)
        && [own.gid, own.egid, own.sgid].contains(&claim.gid);
    if honest || own.is_root() { Ok(claim) } else { Err(Errno::EPERM) }
}

/// Iterates over control messages: header and data of each.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<(ControlHeader, &'a [u8]), Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = self.0.split_first_chunk::<HEADER>()?;
        let (words, _) = head.as_chunks::<4>();
        let [low, high, level, kind] = *words else { return None };
        let length = u64::from(u32::from_ne_bytes(low)) | u64::from(u32::from_ne_bytes(high)) << 32;
        let header = ControlHeader {
            length,
            level: i32::from_ne_bytes(level),
            kind: i32::from_ne_bytes(kind),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(data) = self.0.get(HEADER..length) else {
            self.0 = &[];
            return Some(Err(Errno::EINVAL));
        };
        let next = length.next_multiple_of(8).min(self.0.len());
        self.0 = self.0.get(next..).unwrap_or_default();
        Some(Ok((header, data)))
    }
}

/// Where a receiver wants control messages, and how much of that is used.
pub(crate) struct ControlBuffer {
    at: usize,
    room: usize,
    pub(crate) used: usize,
    /// Something did not fit (`MSG_CTRUNC`).
    pub(crate) truncated: bool,
}

impl ControlBuffer {
    /// A buffer of the program, which is probed.
    pub(crate) fn prepare(call: &Call<'_>, at: usize, room: usize) -> SysResult<Self> {
        /// Both kinds of control messages at their largest.
        const NEEDED: usize = 2 * HEADER + 16 + 4 * (FILES_MAX + 1);
        probe(call, at, room.min(NEEDED))?;
        Ok(Self { at, room, used: 0, truncated: false })
    }

    /// Hands a message's ancillary data to the program.
    pub(crate) fn deliver(
        &mut self,
        call: &Call<'_>,
        credentials: Option<SocketCredentials>,
        rights: Option<Rights>,
        close_on_exec: bool,
    ) -> Result<(), Errno> {
        if let Some(credentials) = credentials {
            self.put(call, SCM_CREDENTIALS, credentials.as_bytes())?;
        }
        if let Some(rights) = rights {
            self.install(call, &rights, close_on_exec)?;
        }
        Ok(())
    }

    fn put(&mut self, call: &Call<'_>, kind: i32, data: &[u8]) -> Result<(), Errno> {
        let room = self.room - self.used;
        if room < HEADER {
            self.truncated = true;
            return Ok(());
        }
        let fits = data.len().min(room - HEADER);
        self.truncated |= fits < data.len();
        let length = HEADER + fits;
        let header = ControlHeader { length: length as u64, level: SOL_SOCKET, kind };
        let at = self.at.wrapping_add(self.used);
        let write = |at: usize, bytes: &[u8]| {
            call.memory.space().copy_out(at, bytes).map_err(|_| Errno::EFAULT)
        };
        write(at, header.as_bytes())?;
        write(at.wrapping_add(HEADER), data.get(..fits).unwrap_or_default())?;
        self.used += length.next_multiple_of(8).min(room);
        Ok(())
    }

    /// Gives the program descriptors for as many files as it has room for.
    fn install(
        &mut self,
        call: &Call<'_>,
        rights: &Rights,
        close_on_exec: bool,
    ) -> Result<(), Errno> {
        let room = (self.room - self.used).saturating_sub(HEADER) / 4;
        let limit = call.thread.process.limits.lock().soft(Limits::NOFILE);
        let mut numbers = Vec::new();
        for file in rights.files.iter().take(room) {
            let Ok(number) = call.files.insert(Arc::clone(file), close_on_exec, 0, limit) else {
                break;
            };
            numbers.extend_from_slice(&(number as u32).to_ne_bytes());
        }
        self.truncated |= numbers.len() / 4 < rights.files.len();
        if numbers.is_empty() { Ok(()) } else { self.put(call, SCM_RIGHTS, &numbers) }
    }
}

/// Makes sure that at most a page's worth of memory can be written. Answers that come with a
/// message must not fail once the message was taken out of its queue.
pub(crate) fn probe(call: &Call<'_>, at: usize, length: usize) -> SysResult<()> {
    let Some(last) = length.checked_sub(1) else { return Ok(()) };
    for place in [at, at.wrapping_add(last)] {
        let mut byte = [0];
        call.memory.space().copy_in(place, &mut byte)?;
        call.memory.space().copy_out(place, &byte)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u64, kind: i32, data: &[u8]) -> Vec<u8> {
        let header = ControlHeader { length, level: SOL_SOCKET, kind };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn control_messages_are_walked_with_their_padding() {
        let mut bytes = message(20, SCM_RIGHTS, &[1, 0, 0, 0, 9, 9, 9, 9]);
        bytes.extend(message(16, SCM_CREDENTIALS, &[]));
        let all: Vec<_> = Messages(&bytes).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].1, [1, 0, 0, 0]);
        assert_eq!(all[1].0.kind, SCM_CREDENTIALS);
        assert!(all[1].1.is_empty());
    }

    #[test]
    fn impossible_lengths_are_refused_and_end_the_walk() {
        for length in [0, 15, 21, u64::MAX] {
            let bytes = message(length, SCM_RIGHTS, &[1, 0, 0, 0]);
            let all: Vec<_> = Messages(&bytes).collect();
            assert_eq!(all, [Err(Errno::EINVAL)], "length {length}");
        }
        assert_eq!(Messages(&[0; 15]).count(), 0);
    }
}
