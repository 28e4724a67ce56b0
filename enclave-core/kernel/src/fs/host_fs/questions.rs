// SPDX-License-Identifier: MIT
//! What is asked about a grant, and the checks that every answer has to pass.

use super::Grant;
use crate::fs::{Kind, Timestamp};
use crate::outcome::SysResult;
use crate::task::Thread;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::str;
use strongroom_abi::Errno;
use strongroom_wire::message::{Answer, Ask, FileAsk, Name};

/// Longest name (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// Longest path within a grant.
const PATH_MAX: usize = 4096;
/// Largest file that offsets can express.
const SIZE_MAX: u64 = i64::MAX as u64;

/// Attributes that make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) permissions: u32,
    pub(super) size: u64,
    pub(super) links: u32,
    pub(super) modified_ns: Timestamp,
}

impl Looked {
    fn check(found: &strongroom_wire::message::Attributes) -> Result<Self, Errno> {
        let kind = usable(Kind::from_mode(found.mode)).ok_or(Errno::EACCES)?;
        if found.size > SIZE_MAX {
            return Err(Errno::EIO);
        }
        Ok(Self {
            kind,
            number: number(found.inode),
            permissions: found.mode & 0o777,
            size: found.size,
            links: found.links.max(1),
            modified_ns: found.mtime_ns,
        })
    }
}

/// What a host file can be here. Its devices, pipes and sockets are none of the program's.
const fn usable(kind: Option<Kind>) -> Option<Kind> {
    match kind {
        Some(Kind::Regular | Kind::Directory | Kind::Symlink) => kind,
        Some(Kind::CharacterDevice | Kind::BlockDevice | Kind::Fifo | Kind::Socket) | None => None,
    }
}

/// The host's inode number; 1 is the root's, and 0 nobody's.
pub(super) const fn number(inode: u64) -> u64 {
    if inode <= 1 { inode | 1 << 63 } else { inode }
}

/// A name in a listing, with its type.
pub(super) fn check_name(name: &Name) -> Result<Kind, Errno> {
    let text = name.name.as_bytes();
    let good = !matches!(text, b"" | b"." | b"..")
        && text.len() <= NAME_MAX
        && !text.iter().any(|byte| matches!(byte, 0 | b'/'));
    if !good {
        return Err(Errno::EIO);
    }
    Kind::from_mode(u32::from(name.kind) << 12).ok_or(Errno::EIO)
}

/// The path of a name in a directory. The host takes nothing but UTF-8.
pub(super) fn join(directory: &str, name: &[u8]) -> Result<String, Errno> {
    let name = str::from_utf8(name).map_err(|_| Errno::EILSEQ)?;
    if directory.len() + name.len() + 1 > PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if directory.is_empty() {
        return Ok(name.to_string());
    }
    Ok([directory, "/", name].concat())
}

impl Grant {
    /// `EROFS` where the program may only read.
    pub(super) const fn check_writable(&self) -> Result<(), Errno> {
        if self.writable { Ok(()) } else { Err(Errno::EROFS) }
    }

    /// What a path is.
    pub(super) fn look(&self, by: &Thread, path: &str) -> SysResult<Looked> {
        let reply = by.ask_host(Ask::File(FileAsk::Look { grant: self.index, path }))?;
        let Answer::Attributes(found) = reply.answer()? else { return Err(Errno::EIO.into()) };
        Ok(Looked::check(&found)?)
    }

    /// Names in a directory behind the first `skip`; empty at the end.
    pub(super) fn names(&self, by: &Thread, path: &str, skip: u32) -> SysResult<Vec<(Name, Kind)>> {
        let reply = by.ask_host(Ask::File(FileAsk::List { grant: self.index, path, skip }))?;
        let Answer::Names(names) = reply.answer()? else { return Err(Errno::EIO.into()) };
        let mut seen = BTreeSet::new();
        if !names.iter().all(|name| seen.insert(name.name.as_str())) {
            return Err(Errno::EIO.into());
        }
        let checked: Result<Vec<Kind>, Errno> = names.iter().map(check_name).collect();
        let kinds = checked?;
        Ok(names.into_iter().zip(kinds).collect())
    }

    /// Bytes of a file, at most `max`; fewer only at its end. `each` gets them.
    pub(super) fn read<T>(
        &self,
        by: &Thread,
        path: &str,
        offset: u64,
        max: u32,
        each: impl FnOnce(&[u8]) -> SysResult<T>,
    ) -> SysResult<T> {
        let ask = FileAsk::Read { grant: self.index, path, offset, max };
        let reply = by.ask_host(Ask::File(ask))?;
        each(data(reply.answer()?, max)?)
    }

    /// Where a symbolic link points.
    pub(super) fn read_link(&self, by: &Thread, path: &str) -> SysResult<Vec<u8>> {
        let ask = FileAsk::ReadLink { grant: self.index, path };
        let reply = by.ask_host(Ask::File(ask))?;
        let target = data(reply.answer()?, PATH_MAX as u32 - 1)?;
        if target.is_empty() || target.contains(&0) {
            return Err(Errno::EIO.into());
        }
        Ok(target.to_vec())
    }

    /// Something that is done or fails.
    pub(super) fn carry_out(&self, by: &Thread, ask: FileAsk<'_>) -> SysResult<()> {
        let Answer::Done = by.ask_host(Ask::File(ask))?.answer()? else {
            return Err(Errno::EIO.into());
        };
        Ok(())
    }
}

/// Bytes that are not more than was asked for.
pub(super) fn data(answer: Answer<'_>, max: u32) -> Result<&[u8], Errno> {
    let Answer::Data(bytes) = answer else { return Err(Errno::EIO) };
    if bytes.len() <= max as usize { Ok(bytes) } else { Err(Errno::EIO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        let name = |name: &str, kind| Name { name: name.to_string(), kind, inode: 5 };
        assert_eq!(check_name(&name("a b", 8)), Ok(Kind::Regular));
        for bad in ["", ".", "..", "a/b", "a\0", &"x".repeat(256)] {
            assert_eq!(check_name(&name(bad, 8)), Err(Errno::EIO));
        }
        assert_eq!(check_name(&name("a", 3)), Err(Errno::EIO));
    }

    #[test]
    fn attributes_that_cannot_be_are_refused() {
        let found = |mode, size| strongroom_wire::message::Attributes {
            inode: 1,
            mode,
            size,
            links: 0,
            mtime_ns: -1,
        };
        let good = Looked::check(&found(0o104_755, 5)).unwrap();
        assert_eq!((good.permissions, good.links, good.number), (0o755, 1, 1 | 1 << 63));
        assert_eq!(Looked::check(&found(0o020_666, 0)), Err(Errno::EACCES));
        assert_eq!(Looked::check(&found(0o100_644, u64::MAX)), Err(Errno::EIO));
    }

    #[test]
    fn more_data_than_was_asked_for_is_refused() {
        assert_eq!(data(Answer::Data(b"abc"), 3), Ok(&b"abc"[..]));
        assert_eq!(data(Answer::Data(b"abcd"), 3), Err(Errno::EIO));
        assert_eq!(data(Answer::Done, 3), Err(Errno::EIO));
    }

    #[test]
    fn paths_are_joined_without_a_leading_slash() {
        assert_eq!(join("", b"a"), Ok("a".into()));
        assert_eq!(join("a", b"b"), Ok("a/b".into()));
        assert_eq!(join("a", b"\xff"), Err(Errno::EILSEQ));
    }
}
