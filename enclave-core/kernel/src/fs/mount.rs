// SPDX-License-Identifier: MIT
//! Mounts, places, and what a process sees as root and working directory.

use crate::fs::inode::Position;
use crate::fs::{Inode, InodeId, Kind};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::{Mutex, RwLock};

/// A file system at a place of the tree.
pub(crate) struct Mount {
    pub(crate) root: Arc<dyn Inode>,
    /// The directory it covers; `None` for the first mount.
    pub(crate) covers: Option<Place>,
    /// `/proc/mounts`: file-system type, and where it is.
    pub(crate) kind: &'static str,
    pub(crate) at: Box<[u8]>,
    pub(crate) read_only: bool,
}

/// A point in the tree: an inode as reached through a mount.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) mount: Arc<Mount>,
    pub(crate) inode: Arc<dyn Inode>,
    /// The directory and name through which a non-directory was reached.
    pub(crate) entry: Option<Arc<Position>>,
}

impl Place {
    /// A directory of a mount.
    pub(crate) fn directory(mount: Arc<Mount>, inode: Arc<dyn Inode>) -> Self {
        Self { mount, inode, entry: None }
    }

    /// The child of this directory called `name`.
    pub(crate) fn child(&self, name: &[u8], inode: Arc<dyn Inode>) -> Self {
        let entry = (inode.kind() != Kind::Directory)
            .then(|| Arc::new((Arc::clone(&self.inode), Box::from(name))));
        Self { mount: Arc::clone(&self.mount), inode, entry }
    }

    /// Whether it is the root of its mount.
    pub(crate) fn is_mount_root(&self) -> bool {
        self.inode.id() == self.mount.root.id()
    }

    /// Whether both are the same inode on the same mount.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && self.inode.id() == other.inode.id()
    }
}

/// All mounts, oldest first.
#[derive(Default)]
pub(crate) struct Mounts {
    mounts: RwLock<Vec<Arc<Mount>>>,
}

impl Mounts {
    /// Adds a mount.
    pub(crate) fn add(&self, mount: Mount) -> Arc<Mount> {
        let mount = Arc::new(mount);
        self.mounts.write().push(Arc::clone(&mount));
        mount
    }

    /// What is mounted on an inode, newest first.
    pub(crate) fn on(&self, id: InodeId) -> Option<Arc<Mount>> {
        let mounts = self.mounts.read();
        let covering = mounts
            .iter()
            .rev()
            .find(|mount| mount.covers.as_ref().is_some_and(|place| place.inode.id() == id));
        covering.map(Arc::clone)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Mount>> {
        self.mounts.read().clone()
    }
}

/// Root, working directory and umask (`CLONE_FS`).
pub(crate) struct FsContext {
    root: Mutex<Place>,
    working: Mutex<Place>,
    umask: AtomicU32,
}

impl FsContext {
    /// Both at `root`.
    pub(crate) fn new(root: Place) -> Self {
        Self {
            working: Mutex::new(root.clone()),
            root: Mutex::new(root),
            umask: AtomicU32::new(0o022),
        }
    }

    /// A copy for `fork`.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            root: Mutex::new(self.root()),
            working: Mutex::new(self.working()),
            umask: AtomicU32::new(self.umask()),
        }
    }

    /// `/`.
    pub(crate) fn root(&self) -> Place {
        self.root.lock().clone()
    }

    /// `.`.
    pub(crate) fn working(&self) -> Place {
        self.working.lock().clone()
    }

    /// `chroot(2)`.
    pub(crate) fn set_root(&self, place: Place) {
        *self.root.lock() = place;
    }

    /// `chdir(2)`.
    pub(crate) fn set_working(&self, place: Place) {
        *self.working.lock() = place;
    }

    /// Permissions that new files do not get.
    pub(crate) fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// `umask(2)`; returns the old one.
    pub(crate) fn set_umask(&self, umask: u32) -> u32 {
        self.umask.swap(umask & 0o777, Ordering::Relaxed)
    }
}
