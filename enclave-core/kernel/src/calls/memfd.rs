// SPDX-License-Identifier: MIT
//! Files without a name: `memfd_create(2)`, and the seals of `fcntl(2)`.

use crate::calls::descriptors::{install, open_inode};
use crate::fs::memory_fs::{MemoryFs, Node, Seals};
use crate::fs::{OpenFile, OpenFlags, Place};
use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::Call;
use crate::user::UserStr;
use strongroom_abi::Errno;

pub(crate) const CALLS: &[Row] = &[row!(MemfdCreate, memfd_create(2), Partial("no huge pages"))];

fn memfd_create(call: &mut Call<'_>, name: UserStr, flags: u32) -> SysResult {
    const CLOSE_ON_EXEC: u32 = 1;
    const ALLOW_SEALING: u32 = 2;
    const NO_EXEC_SEAL: u32 = 8;
    const EXEC: u32 = 16;
    let known = CLOSE_ON_EXEC | ALLOW_SEALING | NO_EXEC_SEAL | EXEC;
    if flags & !known != 0 || flags & (NO_EXEC_SEAL | EXEC) == NO_EXEC_SEAL | EXEC {
        return Err(Errno::EINVAL.into());
    }
    let name = name.read(call.memory, 250, Errno::EINVAL)?;
    let (permissions, seals) = if flags & NO_EXEC_SEAL != 0 {
        (0o666, Seals::EXEC)
    } else if flags & ALLOW_SEALING != 0 {
        (0o777, Seals::empty())
    } else {
        (0o777, Seals::SEAL)
    };
    let node = MemoryFs::nameless(call.kernel, &name, permissions);
    node.set_seals(seals);
    let mount = call.thread.process.fs().root().mount;
    let place = Place { mount, inode: node, entry: None };
    let file = open_inode(call, &place, OpenFlags::READ_WRITE)?;
    let open = OpenFile::new(call.kernel, file, Some(place), OpenFlags::READ_WRITE);
    Ok(install(call, open, flags & CLOSE_ON_EXEC != 0)?)
}

/// `F_ADD_SEALS`.
pub(super) fn add_seals(open: &OpenFile, argument: usize) -> SysResult {
    open.check_writable().map_err(|_| Errno::EPERM)?;
    let seals = u32::try_from(argument).ok().and_then(Seals::from_bits).ok_or(Errno::EINVAL)?;
    node_of(open).ok_or(Errno::EINVAL)?.add_seals(seals)?;
    Ok(0)
}

/// `F_GET_SEALS`.
pub(super) fn seals(open: &OpenFile) -> SysResult {
    let seals = node_of(open).and_then(Node::seals).ok_or(Errno::EINVAL)?;
    Ok(seals.bits() as usize)
}

/// The node of a file in memory.
fn node_of(open: &OpenFile) -> Option<&Node> {
    open.place.as_ref()?.inode.as_any().downcast_ref()
}
