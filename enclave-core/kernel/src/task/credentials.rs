// SPDX-License-Identifier: MIT
//! User and group ids of a process.

use alloc::vec::Vec;

/// Ids as `credentials(7)` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) euid: u32,
    pub(crate) suid: u32,
    pub(crate) gid: u32,
    pub(crate) egid: u32,
    pub(crate) sgid: u32,
    pub(crate) groups: Vec<u32>,
}

impl Credentials {
    /// Whether nothing is forbidden to it.
    pub(crate) const fn is_root(&self) -> bool {
        self.euid == 0
    }

    /// Whether it belongs to a group.
    pub(crate) fn in_group(&self, gid: u32) -> bool {
        self.egid == gid || self.groups.contains(&gid)
    }

    /// Whether a file with this mode and owner grants all of `wanted` (4 read, 2 write, 1
    /// execute or search).
    pub(crate) fn may(&self, wanted: u32, mode: u32, uid: u32, gid: u32) -> bool {
        if self.is_root() {
            let directory = mode & 0o170_000 == 0o040_000;
            return wanted & 1 == 0 || directory || mode & 0o111 != 0;
        }
        let class = if self.euid == uid {
            mode >> 6
        } else if self.in_group(gid) {
            mode >> 3
        } else {
            mode
        };
        class & wanted == wanted
    }
}
