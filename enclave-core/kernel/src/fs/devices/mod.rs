// SPDX-License-Identifier: MIT
//! Device files: what character devices do when they are opened by number.

mod console;
mod memory;
mod sev_guest;
mod terminal;

pub(crate) use console::{Console, console_files};
pub(crate) use terminal::{Terminals, pseudo_terminals};

use crate::evidence::ForPrograms;
use crate::fs::{File, Make, NodeKind, OpenFlags, device_number, memory_fs};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::task::Call;
use alloc::sync::Arc;
use strongroom_abi::Errno;

/// Name, major and minor number, permissions.
const NODES: &[(&str, u32, u32, u32)] = &[
    ("null", 1, 3, 0o666),
    ("zero", 1, 5, 0o666),
    ("full", 1, 7, 0o666),
    ("random", 1, 8, 0o666),
    ("urandom", 1, 9, 0o666),
    ("tty", 5, 0, 0o666),
    ("console", 5, 1, 0o600),
    ("ptmx", 5, 2, 0o666),
    ("tty1", 4, 1, 0o620),
];

/// The security processor, on machines that have one: a miscellaneous device, whose minor number
/// is of Linux's dynamic ones.
const SEV_GUEST: (u32, u32) = (10, 122);

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
    flags: OpenFlags,
) -> SysResult<Arc<dyn File>> {
    let (major, minor) = split(device);
    match (major, minor) {
        (1, 3) => Ok(Arc::new(memory::Null)),
        (1, 5) => Ok(Arc::new(memory::Zero)),
        (1, 7) => Ok(Arc::new(memory::Full)),
        (1, 8 | 9) => Ok(Arc::new(memory::Random::new(call.kernel))),
        SEV_GUEST => {
            let security_processor = ForPrograms::of(call.kernel).ok_or(Errno::ENXIO)?;
            Ok(Arc::new(sev_guest::SevGuest(security_processor)))
        }
        (5, 0) => terminal::open_controlling(call),
        (4 | 5, 1) => Ok(console::open_console(call.kernel)),
        (5, 2) => terminal::open_master(call),
        (136, number) => terminal::open_slave(call, number, flags),
        _ => Err(Errno::ENXIO.into()),
    }
}

/// Major and minor number: the inverse of [`device_number`], for numbers below 2^32.
const fn split(device: u64) -> (u32, u32) {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | (device >> 12) & 0xf_ff00;
    (major as u32, minor as u32)
}

/// Makes the nodes of `/dev`.
pub(crate) fn populate(kernel: &'static Kernel, directory: &memory_fs::Node) -> SysResult<()> {
    let (major, minor) = SEV_GUEST;
    let security = ForPrograms::of(kernel).map(|_| ("sev-guest", major, minor, 0o600));
    for (name, major, minor, permissions) in NODES.iter().chain(&security) {
        let node = NodeKind::CharacterDevice(device_number(*major, *minor));
        let make = Make { node, permissions: *permissions, uid: 0, gid: 0 };
        directory.place(name.as_bytes(), &make)?;
    }
    for (name, target) in LINKS {
        let node = NodeKind::Symlink(target.as_bytes());
        let make = Make { node, permissions: 0o777, uid: 0, gid: 0 };
        directory.place(name.as_bytes(), &make)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_can_be_split() {
        for (major, minor) in [(1, 3), (136, 0), (136, 255), (136, 256), (136, 4095)] {
            assert_eq!(split(device_number(major, minor)), (major, minor));
        }
    }
}
