// SPDX-License-Identifier: MIT
//! Nodes of a granted directory.

use super::Grant;
use super::file::HostFile;
use super::questions::{self, Looked, join};
use crate::fs::{
    Attributes, Change, DirectoryEntry, File, Inode, InodeId, Kind, Make, NodeKind, OpenFlags,
    Pages, Place, RenameMode, Target,
};
use crate::outcome::{Stop, SysResult};
use crate::task::{Call, Thread};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::str;
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_wire::message::FileAsk;

/// Where a node is at this moment.
#[derive(Clone)]
struct Position {
    path: String,
    parent: Option<(Arc<Node>, Box<[u8]>)>,
}

/// See the module's text.
pub(super) struct Node {
    this: Weak<Node>,
    pub(super) grant: Arc<Grant>,
    kind: Kind,
    number: u64,
    position: Mutex<Position>,
}

impl Node {
    pub(super) fn root(grant: Arc<Grant>) -> Arc<dyn Inode> {
        let position = Position { path: String::new(), parent: None };
        Self::new(grant, Kind::Directory, 1, position)
    }

    pub(super) fn grant_index(&self) -> u16 {
        self.grant.index
    }

    fn new(grant: Arc<Grant>, kind: Kind, number: u64, position: Position) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            grant,
            kind,
            number,
            position: Mutex::new(position),
        })
    }

    pub(super) fn path(&self) -> String {
        self.position.lock().path.clone()
    }

    /// Asks what the host has at this node's path now.
    pub(super) fn look(&self, by: &Thread) -> SysResult<Looked> {
        let looked = self.grant.look(by, &self.path())?;
        if looked.kind != self.kind {
            return Err(Errno::ESTALE.into());
        }
        Ok(looked)
    }

    /// The node in use for a child that the host was asked about, or a new one.
    fn child(&self, path: String, name: &[u8], looked: Looked) -> SysResult<Arc<Self>> {
        let mut nodes = self.grant.nodes.lock();
        let known = nodes.get(&path).and_then(Weak::upgrade);
        let known = known.filter(|node| node.kind == looked.kind && node.number == looked.number);
        let node = match known {
            Some(node) => node,
            None => {
                let me = self.this.upgrade().ok_or(Errno::ENOENT)?;
                let parent = Some((me, Box::from(name)));
                let position = Position { path: path.clone(), parent };
                let grant = Arc::clone(&self.grant);
                let node = Self::new(grant, looked.kind, looked.number, position);
                nodes.retain(|_, node| node.strong_count() > 0);
                nodes.insert(path, Arc::downgrade(&node));
                node
            }
        };
        drop(nodes);
        Ok(node)
    }

    /// After a rename: this node and all in use below it have new paths.
    fn moved(&self, from: &str, to: &str, parent: (Arc<Self>, Box<[u8]>)) {
        let mut nodes = self.grant.nodes.lock();
        let affected: Vec<(String, Weak<Self>)> = nodes
            .range(String::from(from)..)
            .take_while(|(path, _)| path.starts_with(from))
            .filter(|(path, _)| is_at_or_below(path, from))
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect();
        for (path, node) in affected {
            nodes.remove(&path);
            let Some(node) = node.upgrade() else { continue };
            let rest = path.get(from.len()..).unwrap_or_default();
            let new_path = [to, rest].concat();
            let mut position = node.position.lock();
            position.path.clone_from(&new_path);
            if rest.is_empty() {
                position.parent = Some(parent.clone());
            }
            drop(position);
            nodes.insert(new_path, Arc::downgrade(&node));
        }
    }
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        InodeId { device: self.grant.device, number: self.number }
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attributes(&self, by: &Thread) -> SysResult<Attributes> {
        let looked = self.look(by)?;
        let mut attributes = Attributes::anonymous(self.kind, self.id(), looked.permissions);
        attributes.links = looked.links;
        attributes.size = looked.size;
        attributes.blocks = looked.size.div_ceil(512);
        attributes.accessed_ns = looked.modified_ns;
        attributes.modified_ns = looked.modified_ns;
        attributes.changed_ns = looked.modified_ns;
        Ok(attributes)
    }

    fn change(&self, by: &Thread, change: &Change) -> SysResult<()> {
        self.grant.check_writable()?;
        if change.uid.unwrap_or(0) != 0 || change.gid.unwrap_or(0) != 0 {
            // Everything belongs to root here, as the host keeps no other owner for us.
            return Err(Errno::EPERM.into());
        }
        if change.size.is_some() && self.kind != Kind::Regular {
            return Err(Errno::EINVAL.into());
        }
        let (size, mode) = (change.size, change.permissions.map(|mode| mode & 0o777));
        let mtime_ns = change.modified_ns;
        if size.is_none() && mode.is_none() && mtime_ns.is_none() {
            return Ok(());
        }
        let path = &*self.path();
        let grant = self.grant.index;
        self.grant.carry_out(by, FileAsk::Change { grant, path, size, mode, mtime_ns })
    }

    fn open(
        self: Arc<Self>,
        _call: &mut Call<'_>,
        _place: &Place,
        flags: OpenFlags,
    ) -> SysResult<Arc<dyn File>> {
        if flags.writable() {
            self.grant.check_writable()?;
        }
        Ok(Arc::new(HostFile::new(self)))
    }

    fn pages(self: Arc<Self>) -> Option<Arc<dyn Pages>> {
        HostFile::new(self).pages()
    }

    fn target(&self, by: &Thread) -> SysResult<Target> {
        if self.kind != Kind::Symlink {
            return Err(Errno::EINVAL.into());
        }
        Ok(Target::Path(self.grant.read_link(by, &self.path())?.into()))
    }

    fn position(&self) -> Option<(Arc<dyn Inode>, Box<[u8]>)> {
        let (parent, name) = self.position.lock().parent.clone()?;
        Some((parent, name))
    }

    fn lookup(&self, by: &Thread, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        let path = join(&self.path(), name).map_err(|_| Errno::ENOENT)?;
        let looked = self.grant.look(by, &path)?;
        Ok(self.child(path, name, looked)?)
    }

    fn make(&self, by: &Thread, name: &[u8], make: &Make<'_>) -> SysResult<Arc<dyn Inode>> {
        self.grant.check_writable()?;
        let path = join(&self.path(), name)?;
        let grant = self.grant.index;
        let permissions = make.permissions & 0o777;
        let ask = match make.node {
            NodeKind::Regular | NodeKind::Directory => {
                let directory = matches!(make.node, NodeKind::Directory);
                let kind = if directory { Kind::Directory } else { Kind::Regular };
                FileAsk::Create { grant, path: &path, mode: kind.mode_bits() | permissions }
            }
            NodeKind::Symlink(target) => {
                let target = str::from_utf8(target).map_err(|_| Errno::EILSEQ)?;
                FileAsk::Symlink { grant, path: &path, target }
            }
            NodeKind::CharacterDevice(_)
            | NodeKind::BlockDevice(_)
            | NodeKind::Fifo
            | NodeKind::Socket => return Err(Errno::EPERM.into()),
        };
        self.grant.carry_out(by, ask)?;
        let looked = self.grant.look(by, &path)?;
        Ok(self.child(path, name, looked)?)
    }

    fn remove(&self, by: &Thread, name: &[u8], directory: bool) -> SysResult<()> {
        self.grant.check_writable()?;
        let path = &*join(&self.path(), name)?;
        let grant = self.grant.index;
        self.grant.carry_out(by, FileAsk::Remove { grant, path, directory })?;
        self.grant.nodes.lock().remove(path);
        Ok(())
    }

    fn rename(
        &self,
        by: &Thread,
        name: &[u8],
        into: &Arc<dyn Inode>,
        new_name: &[u8],
        mode: RenameMode,
    ) -> SysResult<()> {
        let into = into.as_any().downcast_ref::<Self>().ok_or(Errno::EXDEV)?;
        if !Arc::ptr_eq(&into.grant, &self.grant) {
            return Err(Errno::EXDEV.into());
        }
        self.grant.check_writable()?;
        let from = &*join(&self.path(), name)?;
        let to = &*join(&into.path(), new_name)?;
        match mode {
            RenameMode::Replace => {}
            RenameMode::Exchange => return Err(Errno::EINVAL.into()),
            RenameMode::NoReplace => match self.grant.look(by, to) {
                Err(Stop::Errno(Errno::ENOENT)) => {}
                Ok(_) => return Err(Errno::EEXIST.into()),
                Err(stop) => return Err(stop),
            },
        }
        let grant = self.grant.index;
        self.grant.carry_out(by, FileAsk::Rename { grant, from, to })?;
        if from != to {
            self.grant.nodes.lock().remove(to);
            let parent = into.this.upgrade().ok_or(Errno::ENOENT)?;
            self.moved(from, to, (parent, Box::from(new_name)));
        }
        Ok(())
    }

    fn list(
        &self,
        by: &Thread,
        cursor: u64,
        each: &mut dyn FnMut(&DirectoryEntry<'_>) -> bool,
    ) -> SysResult<()> {
        let path = &*self.path();
        let mut skip = u32::try_from(cursor).map_err(|_| Errno::EINVAL)?;
        loop {
            let names = self.grant.names(by, path, skip)?;
            if names.is_empty() {
                return Ok(());
            }
            for (name, kind) in names {
                skip = skip.checked_add(1).ok_or(Errno::EIO)?;
                let entry = DirectoryEntry {
                    number: questions::number(name.inode),
                    kind,
                    name: name.name.as_bytes(),
                    next: u64::from(skip),
                };
                if !each(&entry) {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_no_parent() {
        assert!(is_at_or_below("a/b", "a"));
        assert!(is_at_or_below("a", "a"));
        assert!(!is_at_or_below("ab", "a"));
    }
}
