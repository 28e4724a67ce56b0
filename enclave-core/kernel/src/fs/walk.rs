// SPDX-License-Identifier: MIT
//! From a path to a place (`path_resolution(7)`), and back.

use crate::fs::{Inode, Kind, Place, Target, proc_fs};
use crate::outcome::{Stop, SysResult};
use crate::task::Thread;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_abi::Errno;

/// Most symbolic links on the way, as on Linux (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;
/// Longest name (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// Deepest directory that a path is made up for.
const DEPTH_MAX: usize = 2048;

/// Whether a symbolic link at the end of the path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    Yes,
    No,
}

/// The directory in which the last name of a path lies, and that name.
pub(crate) struct Parent {
    pub(crate) directory: Place,
    pub(crate) name: Box<[u8]>,
    /// The path ended in `/`: it names a directory.
    pub(crate) wants_directory: bool,
}

impl Parent {
    /// What the name leads to.
    pub(crate) fn find(&self, by: &Thread) -> SysResult<Place> {
        step(by, &self.directory, &self.name)
    }

    /// `.` and `..` cannot be made, removed or renamed.
    pub(crate) fn is_special(&self) -> bool {
        matches!(&*self.name, b"." | b".." | b"")
    }
}

/// A walk under way.
struct Walk<'a> {
    by: &'a Thread,
    at: Place,
    /// Names still to go, the next one last.
    names: Vec<Box<[u8]>>,
    links: usize,
    trailing_slash: bool,
}

/// Finds what a path names, starting at `base` where it is relative.
pub(crate) fn walk(by: &Thread, base: &Place, path: &[u8], follow: Follow) -> SysResult<Place> {
    let mut walk = Walk::start(by, base, path)?;
    while let Some(name) = walk.names.pop() {
        let last = walk.names.is_empty();
        let follow = !last || follow == Follow::Yes || walk.trailing_slash;
        walk.take(&name, follow)?;
    }
    if walk.trailing_slash && walk.at.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    Ok(walk.at)
}

/// Finds the directory of a path's last name, which need not exist.
pub(crate) fn walk_parent(by: &Thread, base: &Place, path: &[u8]) -> SysResult<Parent> {
    let mut walk = Walk::start(by, base, path)?;
    while walk.names.len() > 1 {
        if let Some(name) = walk.names.pop() {
            walk.take(&name, true)?;
        }
    }
    if walk.at.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    Ok(Parent {
        name: walk.names.pop().unwrap_or_default(),
        directory: walk.at,
        wants_directory: walk.trailing_slash,
    })
}

impl<'a> Walk<'a> {
    fn start(by: &'a Thread, base: &Place, path: &[u8]) -> SysResult<Self> {
        if path.is_empty() {
            return Err(Errno::ENOENT.into());
        }
        let absolute = path.starts_with(b"/");
        let at = if absolute { by.process.fs().root() } else { base.clone() };
        let mut walk =
            Self { by, at, names: Vec::new(), links: 0, trailing_slash: path.ends_with(b"/") };
        walk.push(path);
        Ok(walk)
    }

    fn push(&mut self, path: &[u8]) {
        let names = path.split(|byte| *byte == b'/').rev().filter(|name| !name.is_empty());
        self.names.extend(names.map(Box::from));
    }

    fn take(&mut self, name: &[u8], follow: bool) -> SysResult<()> {
        let next = step(self.by, &self.at, name)?;
        if !follow || next.inode.kind() != Kind::Symlink {
            self.at = next;
            return Ok(());
        }
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::ELOOP.into());
        }
        match next.inode.target(self.by)? {
            Target::Place(place) => self.at = place,
            Target::Path(path) => {
                if path.is_empty() {
                    return Err(Errno::ENOENT.into());
                }
                if path.starts_with(b"/") {
                    self.at = self.by.process.fs().root();
                }
                if self.names.is_empty() && path.ends_with(b"/") {
                    self.trailing_slash = true;
                }
                self.push(&path);
            }
        }
        Ok(())
    }
}

/// One name further.
fn step(by: &Thread, at: &Place, name: &[u8]) -> SysResult<Place> {
    if at.inode.kind() != Kind::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    check_search(by, at)?;
    match name {
        b"" | b"." => return Ok(at.clone()),
        b".." => return Ok(up(by, at)),
        _ if name.len() > NAME_MAX => return Err(Errno::ENAMETOOLONG.into()),
        _ => {}
    }
    let inode = at.inode.lookup(by, name)?;
    if inode.kind() == Kind::Directory
        && let Some(mount) = by.kernel.mounts.on(inode.id())
    {
        let root = Arc::clone(&mount.root);
        return Ok(Place::directory(mount, root));
    }
    Ok(at.child(name, inode))
}

fn check_search(by: &Thread, at: &Place) -> SysResult<()> {
    if by.process.credentials.lock().is_root() {
        return Ok(());
    }
    // Not under the lock: nodes of /proc have the process's ids as their owner.
    let attributes = at.inode.attributes(by)?;
    let credentials = by.process.credentials.lock();
    if credentials.may(1, attributes.mode(), attributes.uid, attributes.gid) {
        Ok(())
    } else {
        Err(Errno::EACCES.into())
    }
}

/// The directory above; the root is above itself.
fn up(by: &Thread, at: &Place) -> Place {
    if at.is(&by.process.fs().root()) {
        return at.clone();
    }
    let mut at = at.clone();
    while at.is_mount_root() {
        match &at.mount.covers {
            Some(covered) => at = covered.clone(),
            None => return at,
        }
    }
    match at.inode.position() {
        Some((parent, _)) => Place::directory(Arc::clone(&at.mount), parent),
        None => at,
    }
}

/// The absolute path of a place as a process sees it; a removed file gets Linux's ` (deleted)`.
///
/// `None` when it lies outside the process's root.
pub(crate) fn path_of(by: &Thread, place: &Place) -> Option<Vec<u8>> {
    if let Some(label) = proc_fs::label_of(&*place.inode) {
        return Some(label);
    }
    let root = by.process.fs().root();
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let mut deleted = false;
    let mut at = place.clone();
    if let Some(entry) = &place.entry {
        let (directory, name) = &**entry;
        deleted = is_gone(by, &**directory, name, &*place.inode);
        names.push(name.clone());
        at = Place::directory(Arc::clone(&place.mount), Arc::clone(directory));
    }
    while !at.is(&root) {
        if names.len() > DEPTH_MAX {
            return None;
        }
        if at.is_mount_root() {
            at = at.mount.covers.clone()?;
            continue;
        }
        let (parent, name) = at.inode.position()?;
        deleted |= is_gone(by, &*parent, &name, &*at.inode);
        names.push(name);
        at = Place::directory(Arc::clone(&at.mount), parent);
    }
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    if deleted {
        path.extend_from_slice(b" (deleted)");
    }
    Some(path)
}

fn is_gone(by: &Thread, parent: &dyn Inode, name: &[u8], inode: &dyn Inode) -> bool {
    match parent.lookup(by, name) {
        Ok(found) => found.id() != inode.id(),
        // Who would have to wait for the host takes it for present.
        Err(stop) => stop == Stop::Errno(Errno::ENOENT),
    }
}
