// SPDX-License-Identifier: MIT
//! The tree as the workload finds it: the root image, `/proc`, `/sys`, `/dev` and the granted
//! directories of the host.
//!
//! [`mount_all`] runs before any thread exists and must not wait for the host. It covers only
//! names in the root directory, with placeholders that stay when the image's own names are loaded.
//! [`mount_late`] runs in the first thread, may wait, and does what needs the image: directories
//! that have to exist, and grants at any path.

use crate::fs::devices::{self, pseudo_terminals};
use crate::fs::memory_fs::{MemoryFs, Node};
use crate::fs::{
    Follow, Inode, Kind, Make, Mount, NodeKind, Place, config_fs, host_fs, proc_fs, sys_fs, walk,
};
use crate::kernel::Kernel;
use crate::outcome::{Stop, SysResult};
use crate::task::Thread;
use alloc::boxed::Box;
use alloc::sync::Arc;
use strongroom_abi::Errno;

/// Directories that programs take for granted, and their permissions.
const EXPECTED: &[(&str, u32)] = &[("/tmp", 0o1777), ("/run", 0o755), ("/var/tmp", 0o1777)];

/// Mounts what every workload has; returns the root.
pub(crate) fn mount_all(kernel: &'static Kernel) -> SysResult<Place> {
    let root = MemoryFs::new(kernel, Some(kernel.image()?));
    let mount = kernel.mounts.add(Mount {
        root: Arc::clone(&root) as Arc<dyn Inode>,
        covers: None,
        kind: "overlay",
        at: Box::from(&b"/"[..]),
        read_only: false,
    });
    let top = Top { kernel, mount: &mount, root: &root };
    top.cover("proc", "proc", false, proc_fs::root(kernel))?;
    top.cover("sys", "sysfs", true, sys_fs::root(kernel))?;
    let dev = MemoryFs::new(kernel, None);
    devices::populate(kernel, &dev)?;
    let dev_mount = top.cover("dev", "devtmpfs", false, Arc::clone(&dev) as Arc<dyn Inode>)?;
    let below = Top { kernel, mount: &dev_mount, root: &dev };
    below.cover("pts", "devpts", false, pseudo_terminals(kernel))?;
    let shared = MemoryFs::new(kernel, None);
    shared.set_permissions(0o1777);
    below.cover("shm", "tmpfs", false, shared)?;
    Ok(Place::directory(mount, root))
}

/// A directory in which mount points are placed.
struct Top<'a> {
    kernel: &'static Kernel,
    mount: &'a Arc<Mount>,
    root: &'a Arc<Node>,
}

impl Top<'_> {
    /// Mounts a file system on a new directory called `name`.
    fn cover(
        &self,
        name: &str,
        kind: &'static str,
        read_only: bool,
        root: Arc<dyn Inode>,
    ) -> SysResult<Arc<Mount>> {
        let point = self.root.place(name.as_bytes(), &directory(0o755))?;
        let mut at = self.mount.at.to_vec();
        if at.last() != Some(&b'/') {
            at.push(b'/');
        }
        at.extend_from_slice(name.as_bytes());
        Ok(self.kernel.mounts.add(Mount {
            root,
            covers: Some(Place::directory(Arc::clone(self.mount), point)),
            kind,
            at: at.into(),
            read_only,
        }))
    }
}

const fn directory(permissions: u32) -> Make<'static> {
    Make { node: NodeKind::Directory, permissions, uid: 0, gid: 0 }
}

/// Makes the expected directories and mounts the grants. May stop to wait; repeating it is
/// harmless.
pub(crate) fn mount_late(by: &Thread) -> SysResult<()> {
    let root = by.process.fs().root();
    for (path, permissions) in EXPECTED {
        match make_path(by, &root, path, *permissions) {
            // An image may have a file there, or a link to nowhere: that is its choice.
            Ok(_) | Err(Stop::Errno(Errno::ENOTDIR | Errno::EEXIST | Errno::ELOOP)) => {}
            Err(stop) => return Err(stop),
        }
    }
    mount_config_fs(by, &root)?;
    let grants = by.kernel.manifest.directories.iter();
    for (grant, index) in grants.zip(0..=u16::MAX) {
        let mounts = by.kernel.mounts.all();
        if mounts.iter().any(|mount| host_fs::grant_of(&*mount.root) == Some(index)) {
            continue;
        }
        let point = make_path(by, &root, &grant.mount, 0o755)?;
        by.kernel.mounts.add(Mount {
            root: host_fs::root(by.kernel, index, grant.writable),
            covers: Some(point),
            kind: "strongroom",
            at: grant.mount.trim_end_matches('/').as_bytes().into(),
            read_only: !grant.writable,
        });
    }
    Ok(())
}

/// Mounts what a machine with a security processor has in `/sys`, once.
fn mount_config_fs(by: &Thread, root: &Place) -> SysResult<()> {
    const AT: &str = "/sys/kernel/config";
    if by.kernel.mounts.all().iter().any(|mount| *mount.at == *AT.as_bytes()) {
        return Ok(());
    }
    let Some(config) = config_fs::root(by.kernel) else { return Ok(()) };
    let mut point = root.clone();
    for name in ["sys", "kernel", "config"] {
        point = walk(by, &point, name.as_bytes(), Follow::Yes)?;
    }
    by.kernel.mounts.add(Mount {
        root: config,
        covers: Some(point),
        kind: "configfs",
        at: AT.as_bytes().into(),
        read_only: false,
    });
    Ok(())
}

/// The directory at an absolute path; what is missing of it is made.
fn make_path(by: &Thread, root: &Place, path: &str, permissions: u32) -> SysResult<Place> {
    let mut at = root.clone();
    let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        at = match walk(by, &at, name.as_bytes(), Follow::Yes) {
            Ok(place) if place.inode.kind() == Kind::Directory => place,
            Ok(_) => return Err(Errno::ENOTDIR.into()),
            Err(Stop::Errno(Errno::ENOENT)) => {
                let last = names.peek().is_none();
                let make = directory(if last { permissions } else { 0o755 });
                let inode = at.inode.make(by, name.as_bytes(), &make)?;
                at.child(name.as_bytes(), inode)
            }
            Err(stop) => return Err(stop),
        };
    }
    Ok(at)
}
