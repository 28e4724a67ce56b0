// SPDX-License-Identifier: MIT
//! Directories of the tree in memory.

use super::{Body, Contents, Meta, Node};
use crate::fs::inode::Position;
use crate::fs::{DirectoryEntry, Inode, Kind, Make, NodeKind, RenameMode};
use crate::outcome::SysResult;
use crate::task::Thread;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_wire::image;

/// Longest chain of directories looked at when one is moved.
const DEPTH_MAX: usize = 4096;

#[derive(Clone)]
enum Child {
    Node(Arc<Node>),
    /// Not used yet: an inode of the image and its type.
    Image(u32, Kind),
}

struct Entry {
    child: Child,
    /// Position in listings: names keep it while others come and go.
    position: u64,
}

/// Names and what they lead to.
pub(super) struct Directory {
    entries: BTreeMap<Box<[u8]>, Entry>,
    order: BTreeMap<u64, Box<[u8]>>,
    next_position: u64,
    /// The image's directory whose names are still to be taken over.
    unloaded: Option<u32>,
    parent: Option<(Weak<Node>, Box<[u8]>)>,
    /// Removed: nothing can be made here any more.
    dead: bool,
}

impl Directory {
    pub(super) const fn empty() -> Self {
        Self {
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_position: 1,
            unloaded: None,
            parent: None,
            dead: false,
        }
    }

    pub(super) const fn backed(inode: u32) -> Self {
        let mut directory = Self::empty();
        directory.unloaded = Some(inode);
        directory
    }

    pub(super) fn set_position(&mut self, parent: &Arc<Node>, name: &[u8]) {
        self.parent = Some((Arc::downgrade(parent), name.into()));
    }

    pub(super) fn position(&self) -> Option<Position> {
        let (parent, name) = self.parent.as_ref()?;
        Some((parent.upgrade()?, name.clone()))
    }

    /// Bytes, as file systems on disks report the smallest directories.
    pub(super) const SIZE: u64 = 4096;

    pub(super) fn list(&self, cursor: u64, each: &mut dyn FnMut(&DirectoryEntry<'_>) -> bool) {
        for (position, name) in self.order.range(cursor..) {
            let Some(entry) = self.entries.get(name) else { continue };
            let (number, kind) = match &entry.child {
                Child::Node(node) => (node.number, node.kind),
                Child::Image(number, kind) => (u64::from(*number), *kind),
            };
            if !each(&DirectoryEntry { number, kind, name, next: position + 1 }) {
                return;
            }
        }
    }

    fn insert(&mut self, name: &[u8], child: Child) {
        let position = match self.entries.get(name) {
            Some(entry) => entry.position,
            None => {
                self.next_position += 1;
                self.next_position
            }
        };
        self.order.insert(position, name.into());
        self.entries.insert(name.into(), Entry { child, position });
    }

    fn take(&mut self, name: &[u8]) -> Option<Child> {
        let entry = self.entries.remove(name)?;
        self.order.remove(&entry.position);
        Some(entry.child)
    }
}

impl Node {
    /// Takes a directory's names over from the image.
    pub(super) fn load(&self, by: &Thread) -> SysResult<()> {
        let Some(number) = self.directory()?.lock().unloaded else { return Ok(()) };
        let image = self.fs.image.as_ref().ok_or(Errno::EIO)?;
        let record = image.inode(by, number)?;
        if Kind::from_mode(record.mode) != Some(Kind::Directory) {
            return Err(Errno::EIO.into());
        }
        let data = image.small_data(by, &record)?;
        let mut rest = &*data;
        let mut directory = self.directory()?.lock();
        while let Some(entry) = image::next_entry(&mut rest).map_err(|_| Errno::EIO)? {
            let kind = Kind::from_mode(u32::from(entry.kind) << 12).ok_or(Errno::EIO)?;
            // What was placed here before, a mount point, stays.
            if !directory.entries.contains_key(entry.name) {
                directory.insert(entry.name, Child::Image(entry.inode, kind));
            }
        }
        directory.unloaded = None;
        drop(directory);
        if number == 1 {
            // The root is made before the image can be read.
            *self.meta.lock() = Meta::of(&record);
        }
        Ok(())
    }

    /// The node behind a name.
    pub(super) fn child(&self, by: &Thread, name: &[u8]) -> SysResult<Arc<Node>> {
        self.load(by)?;
        let child = {
            let directory = self.directory()?.lock();
            directory.entries.get(name).ok_or(Errno::ENOENT)?.child.clone()
        };
        match child {
            Child::Node(node) => Ok(node),
            Child::Image(number, _) => {
                let me = self.myself()?;
                let node = self.fs.materialise(by, number, &me, name)?;
                let mut directory = self.directory()?.lock();
                if let Some(entry) = directory.entries.get_mut(name) {
                    entry.child = Child::Node(Arc::clone(&node));
                }
                Ok(node)
            }
        }
    }

    /// This directory's own handle, which its children point at.
    fn myself(&self) -> SysResult<Arc<Node>> {
        self.this.upgrade().ok_or_else(|| Errno::ENOENT.into())
    }

    fn absent(&self, by: &Thread, name: &[u8]) -> SysResult<()> {
        self.load(by)?;
        let directory = self.directory()?.lock();
        if directory.entries.contains_key(name) {
            Err(Errno::EEXIST.into())
        } else if directory.dead {
            Err(Errno::ENOENT.into())
        } else {
            Ok(())
        }
    }

    pub(super) fn make_node(
        &self,
        by: &Thread,
        name: &[u8],
        make: &Make<'_>,
    ) -> SysResult<Arc<dyn Inode>> {
        self.absent(by, name)?;
        Ok(self.place(name, make)?)
    }

    /// Makes a node without looking at what the image has under that name: for trees that the
    /// kernel builds before the image can be read.
    pub(crate) fn place(&self, name: &[u8], make: &Make<'_>) -> SysResult<Arc<Self>> {
        let me = self.myself()?;
        let (kind, body, links) = match make.node {
            NodeKind::Directory => {
                let mut directory = Directory::empty();
                directory.set_position(&me, name);
                (Kind::Directory, Body::Directory(Mutex::new(directory)), 2)
            }
            NodeKind::Regular => (Kind::Regular, Body::Regular(Contents::empty(self.fs.kernel)), 1),
            NodeKind::Symlink(target) => (Kind::Symlink, Body::Symlink(target.into()), 1),
            NodeKind::CharacterDevice(device) => (Kind::CharacterDevice, Body::Device(device), 1),
            NodeKind::BlockDevice(device) => (Kind::BlockDevice, Body::Device(device), 1),
            NodeKind::Fifo => (Kind::Fifo, Body::Other, 1),
            NodeKind::Socket => (Kind::Socket, Body::Other, 1),
        };
        let (gid, permissions) = self.inherit(make, kind);
        let meta = Meta::new(self.fs.kernel, permissions, make.uid, gid, links);
        let node = self.fs.node(self.fs.number(), kind, meta, body);
        self.directory()?.lock().insert(name, Child::Node(Arc::clone(&node)));
        self.modified();
        if kind == Kind::Directory {
            self.change_links(true);
        }
        Ok(node)
    }

    /// A child that was placed or used before; asks the image for nothing.
    pub(crate) fn placed(&self, name: &[u8]) -> Option<Arc<Self>> {
        match &self.directory().ok()?.lock().entries.get(name)?.child {
            Child::Node(node) => Some(Arc::clone(node)),
            Child::Image(..) => None,
        }
    }

    /// Group and permissions of a new node: a set-group-ID directory hands its group on.
    fn inherit(&self, make: &Make<'_>, kind: Kind) -> (u32, u32) {
        const SET_GROUP_ID: u32 = 0o2000;
        let meta = self.meta.lock();
        if meta.permissions & SET_GROUP_ID == 0 {
            (make.gid, make.permissions)
        } else if kind == Kind::Directory {
            (meta.gid, make.permissions | SET_GROUP_ID)
        } else {
            (meta.gid, make.permissions)
        }
    }

    pub(super) fn link_node(
        &self,
        by: &Thread,
        name: &[u8],
        inode: &Arc<dyn Inode>,
    ) -> SysResult<()> {
        let node = inode.as_any().downcast_ref::<Self>().ok_or(Errno::EXDEV)?;
        if !Arc::ptr_eq(&node.fs, &self.fs) {
            return Err(Errno::EXDEV.into());
        }
        self.absent(by, name)?;
        let node = node.this.upgrade().ok_or(Errno::ENOENT)?;
        node.change_links(true);
        self.directory()?.lock().insert(name, Child::Node(node));
        self.modified();
        Ok(())
    }

    pub(super) fn remove_node(&self, by: &Thread, name: &[u8], directory: bool) -> SysResult<()> {
        let node = self.child(by, name)?;
        node.kind.check_removal(directory)?;
        if directory {
            node.die(by)?;
            self.change_links(false);
        } else {
            node.change_links(false);
        }
        self.directory()?.lock().take(name);
        self.modified();
        Ok(())
    }

    /// Marks an empty directory as removed.
    fn die(&self, by: &Thread) -> SysResult<()> {
        self.load(by)?;
        let mut directory = self.directory()?.lock();
        if !directory.entries.is_empty() {
            return Err(Errno::ENOTEMPTY.into());
        }
        directory.dead = true;
        drop(directory);
        self.meta.lock().links = 0;
        Ok(())
    }

    pub(super) fn rename_node(
        &self,
        by: &Thread,
        name: &[u8],
        into: &Self,
        new_name: &[u8],
        mode: RenameMode,
    ) -> SysResult<()> {
        if !Arc::ptr_eq(&self.fs, &into.fs) {
            return Err(Errno::EXDEV.into());
        }
        let node = self.child(by, name)?;
        let target = match into.child(by, new_name) {
            Ok(target) => Some(target),
            Err(crate::outcome::Stop::Errno(Errno::ENOENT)) => None,
            Err(stop) => return Err(stop),
        };
        if into.directory()?.lock().dead {
            return Err(Errno::ENOENT.into());
        }
        if node.kind == Kind::Directory && into.is_within(&node) {
            return Err(Errno::EINVAL.into());
        }
        let above = target.as_ref().filter(|target| target.kind == Kind::Directory);
        if mode == RenameMode::Replace && above.is_some_and(|target| self.is_within(target)) {
            return Err(Errno::ENOTEMPTY.into());
        }
        match (mode, &target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::EEXIST.into()),
            (RenameMode::Exchange, None) => return Err(Errno::ENOENT.into()),
            (RenameMode::Exchange, Some(target)) => {
                if target.kind == Kind::Directory && self.is_within(target) {
                    return Err(Errno::EINVAL.into());
                }
                target.place_at(self, name)?;
                node.place_at(into, new_name)?;
            }
            (RenameMode::Replace | RenameMode::NoReplace, target) => {
                if let Some(target) = target {
                    if Arc::ptr_eq(target, &node) {
                        return Ok(());
                    }
                    // Linux looks at the ancestors before it looks at the kinds.
                    if target.kind == Kind::Directory && self.is_within(target) {
                        return Err(Errno::ENOTEMPTY.into());
                    }
                    target.give_way(by, &node)?;
                    if target.kind == Kind::Directory {
                        into.change_links(false);
                    }
                }
                self.directory()?.lock().take(name);
                node.place_at(into, new_name)?;
            }
        }
        if node.kind == Kind::Directory && !core::ptr::eq(self, into) {
            self.change_links(false);
            into.change_links(true);
        }
        self.modified();
        into.modified();
        node.meta.lock().changed_ns = self.fs.kernel.wall_ns();
        Ok(())
    }

    /// The target of a rename is replaced by `node`.
    fn give_way(&self, by: &Thread, node: &Self) -> SysResult<()> {
        let directory = node.kind == Kind::Directory;
        self.kind.check_removal(directory)?;
        if directory {
            return self.die(by);
        }
        self.change_links(false);
        Ok(())
    }

    fn place_at(self: &Arc<Self>, directory: &Self, name: &[u8]) -> SysResult<()> {
        directory.directory()?.lock().insert(name, Child::Node(Arc::clone(self)));
        if let Body::Directory(mine) = &self.body {
            mine.lock().parent = Some((directory.this.clone(), name.into()));
        }
        Ok(())
    }

    /// Whether this directory is `other` or lies below it.
    fn is_within(&self, other: &Self) -> bool {
        let mut number = self.number;
        let mut parent = self.parent_node();
        for _ in 0..DEPTH_MAX {
            if number == other.number {
                return true;
            }
            let Some(node) = parent else { return false };
            number = node.number;
            parent = node.parent_node();
        }
        true
    }

    fn parent_node(&self) -> Option<Arc<Self>> {
        self.directory().ok()?.lock().parent.as_ref()?.0.upgrade()
    }
}
