// SPDX-License-Identifier: MIT
//! Device files: what character devices do when they are opened by number.

mod console;
mod memory;

pub(crate) use console::{Console, console_files};

use crate::fs::{File, Inode, Make, NodeKind, OpenFlags, device_number};
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use alloc::sync::Arc;
use strongroom_abi::Errno;

/// Name, major and minor number, permissions.
const NODES: &[(&str, u32, u32, u32)] = &[
    ("null", 1, 3, 0o666),
    ("zero", 1, 5, 0o666),
    ("full", 1, 7, 0o666),
    ("random", 1, 8, 0o666),
    ("urandom", 1, 9, 0o666),
];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Opens the device with a number.
pub(crate) fn open_device(
    call: &mut Call<'_>,
    device: u64,
    _flags: OpenFlags,
) -> SysResult<Arc<dyn File>> {
    let number = |major, minor| device_number(major, minor);
    match device {
        _ if device == number(1, 3) => Ok(Arc::new(memory::Null)),
        _ if device == number(1, 5) => Ok(Arc::new(memory::Zero)),
        _ if device == number(1, 7) => Ok(Arc::new(memory::Full)),
        _ if device == number(1, 8) || device == number(1, 9) => {
            Ok(Arc::new(memory::Random::new(call.kernel)))
        }
        _ => Err(Errno::ENXIO.into()),
    }
}

/// Makes the nodes of `/dev`.
pub(crate) fn populate(by: &Thread, directory: &Arc<dyn Inode>) -> SysResult<()> {
    for (name, major, minor, permissions) in NODES {
        let node = NodeKind::CharacterDevice(device_number(*major, *minor));
        let make = Make { node, permissions: *permissions, uid: 0, gid: 0 };
        directory.make(by, name.as_bytes(), &make)?;
    }
    for (name, target) in LINKS {
        let node = NodeKind::Symlink(target.as_bytes());
        let make = Make { node, permissions: 0o777, uid: 0, gid: 0 };
        directory.make(by, name.as_bytes(), &make)?;
    }
    Ok(())
}
