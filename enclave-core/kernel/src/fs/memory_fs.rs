// SPDX-License-Identifier: MIT
//! The writable file system in memory: tmpfs, and the overlay over the measured root image.
//!
//! A tree may be backed by an [`Image`]: a directory takes its names from there when it is first
//! used, a file its pages when they are first read. From then on the tree is what counts, and
//! nothing is ever written back.

mod contents;
mod directory;
mod file;
mod seals;

pub(crate) use seals::Seals;

use crate::fs::image::Image;
use crate::fs::inode::Position;
use crate::fs::{
    Attributes, Change, DirectoryEntry, File, Inode, InodeId, Kind, Make, OpenFlags, Pages, Place,
    RenameMode, Target, Timestamp,
};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use crate::user::Source;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use contents::Contents;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use directory::Directory;
use file::NodeFile;
use seals::Sealing;
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_wire::image::InodeRecord;

/// A tree.
pub(crate) struct MemoryFs {
    kernel: &'static Kernel,
    device: u64,
    next_inode: AtomicU64,
    image: Option<Arc<Image>>,
    /// Nodes made from the image, so that hard links stay one node.
    from_image: Mutex<BTreeMap<u32, Arc<Node>>>,
}

#[derive(Clone, Debug)]
struct Meta {
    permissions: u32,
    uid: u32,
    gid: u32,
    links: u32,
    accessed_ns: Timestamp,
    modified_ns: Timestamp,
    changed_ns: Timestamp,
}

enum Body {
    Directory(Mutex<Directory>),
    Regular(Contents),
    Symlink(Box<[u8]>),
    Device(u64),
    Other,
}

/// A node of a tree.
pub(crate) struct Node {
    this: Weak<Node>,
    fs: Arc<MemoryFs>,
    number: u64,
    kind: Kind,
    meta: Mutex<Meta>,
    body: Body,
    sealing: Sealing,
    /// What `/proc/self/fd` calls a file without a name.
    label: Mutex<String>,
    /// What lives behind a FIFO or socket node, for those who open it by name.
    attached: Mutex<Option<Weak<dyn Any + Send + Sync>>>,
}

impl MemoryFs {
    /// A tree; returns its root directory. With an image the root is the image's.
    #[expect(clippy::new_ret_no_self, reason = "a file system is reached through its root")]
    pub(crate) fn new(kernel: &'static Kernel, image: Option<Arc<Image>>) -> Arc<Node> {
        let backed = image.is_some();
        let fs = Arc::new(Self {
            kernel,
            device: kernel.next_device(),
            // Above every number of an image, which keep theirs.
            next_inode: AtomicU64::new(if backed { 1 << 32 } else { 2 }),
            image,
            from_image: Mutex::new(BTreeMap::new()),
        });
        let directory = if backed { Directory::backed(1) } else { Directory::empty() };
        let meta = Meta::new(kernel, 0o755, 0, 0, 2);
        fs.node(1, Kind::Directory, meta, Body::Directory(Mutex::new(directory)))
    }

    /// A file without a name (`memfd_create`, shared anonymous memory, `O_TMPFILE`).
    pub(crate) fn unnamed(self: &Arc<Self>, permissions: u32) -> Arc<Node> {
        let meta = Meta::new(self.kernel, permissions, 0, 0, 0);
        let body = Body::Regular(Contents::empty(self.kernel));
        self.node(self.number(), Kind::Regular, meta, body)
    }

    /// A file outside every tree, with a name for show (`memfd_create`).
    pub(crate) fn nameless(kernel: &'static Kernel, name: &[u8], permissions: u32) -> Arc<Node> {
        let root = Self::new(kernel, None);
        let node = root.fs.unnamed(permissions);
        *node.label.lock() = alloc::format!("/memfd:{}", String::from_utf8_lossy(name));
        node
    }

    fn number(&self) -> u64 {
        self.next_inode.fetch_add(1, Ordering::Relaxed)
    }

    fn node(self: &Arc<Self>, number: u64, kind: Kind, meta: Meta, body: Body) -> Arc<Node> {
        Arc::new_cyclic(|this| Node {
            this: this.clone(),
            fs: Arc::clone(self),
            number,
            kind,
            meta: Mutex::new(meta),
            body,
            sealing: Sealing::default(),
            label: Mutex::default(),
            attached: Mutex::new(None),
        })
    }

    /// The node of an image's inode.
    fn materialise(
        self: &Arc<Self>,
        by: &Thread,
        number: u32,
        parent: &Arc<Node>,
        name: &[u8],
    ) -> SysResult<Arc<Node>> {
        if let Some(node) = self.from_image.lock().get(&number) {
            return Ok(Arc::clone(node));
        }
        let image = self.image.as_ref().ok_or(Errno::EIO)?;
        let record = image.inode(by, number)?;
        let kind = Kind::from_mode(record.mode).ok_or(Errno::EIO)?;
        let body = match kind {
            Kind::Directory => {
                let mut directory = Directory::backed(number);
                directory.set_position(parent, name);
                Body::Directory(Mutex::new(directory))
            }
            Kind::Regular => Body::Regular(Contents::backed(self.kernel, image, &record)),
            Kind::Symlink => Body::Symlink(image.small_data(by, &record)?.into()),
            Kind::CharacterDevice | Kind::BlockDevice => Body::Device(u64::from(record.device)),
            Kind::Fifo | Kind::Socket => Body::Other,
        };
        let node = self.node(u64::from(number), kind, Meta::of(&record), body);
        self.from_image.lock().insert(number, Arc::clone(&node));
        Ok(node)
    }
}

impl Meta {
    fn new(kernel: &Kernel, permissions: u32, uid: u32, gid: u32, links: u32) -> Self {
        let now = kernel.wall_ns();
        Self { permissions, uid, gid, links, accessed_ns: now, modified_ns: now, changed_ns: now }
    }

    fn of(record: &InodeRecord) -> Self {
        let modified =
            record.mtime_s.saturating_mul(1_000_000_000).saturating_add(i64::from(record.mtime_ns));
        Self {
            permissions: record.mode & 0o7777,
            uid: record.uid,
            gid: record.gid,
            links: record.links,
            accessed_ns: modified,
            modified_ns: modified,
            changed_ns: modified,
        }
    }
}

impl Node {
    /// The tree it belongs to.
    pub(crate) fn fs(&self) -> &Arc<MemoryFs> {
        &self.fs
    }

    /// Contents of a nameless file, made `size` bytes long.
    pub(crate) fn sized_pages(self: Arc<Self>, size: u64) -> Arc<dyn Pages> {
        if let Some(contents) = self.contents() {
            contents.set_size(size);
        }
        Arc::new(NodeFile::of(self))
    }

    /// What is attached to a FIFO or socket node.
    pub(crate) fn attached(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.attached.lock().as_ref().and_then(Weak::upgrade)
    }

    /// Attaches what lives behind a FIFO or socket node.
    pub(crate) fn attach(&self, object: Weak<dyn Any + Send + Sync>) {
        *self.attached.lock() = Some(object);
    }

    /// Sets the permissions of a node that the kernel makes.
    pub(crate) fn set_permissions(&self, permissions: u32) {
        self.meta.lock().permissions = permissions;
    }

    /// Sets the owner of a node that the kernel makes.
    pub(crate) fn set_owner(&self, uid: u32, gid: u32) {
        let mut meta = self.meta.lock();
        (meta.uid, meta.gid) = (uid, gid);
    }

    /// Writes a new file that the kernel makes.
    pub(crate) fn fill(&self, by: &Thread, from: &mut Source<'_>) -> SysResult<()> {
        let contents = self.contents().ok_or(Errno::EINVAL)?;
        let mut at = 0;
        while from.left() > 0 {
            at += contents.write(by, at, from, u64::MAX)? as u64;
        }
        Ok(())
    }

    fn contents(&self) -> Option<&Contents> {
        match &self.body {
            Body::Regular(contents) => Some(contents),
            Body::Directory(_) | Body::Symlink(_) | Body::Device(_) | Body::Other => None,
        }
    }

    fn directory(&self) -> Result<&Mutex<Directory>, Errno> {
        match &self.body {
            Body::Directory(directory) => Ok(directory),
            Body::Regular(_) | Body::Symlink(_) | Body::Device(_) | Body::Other => {
                Err(Errno::ENOTDIR)
            }
        }
    }

    fn truncate(&self, by: &Thread, size: u64) -> SysResult<()> {
        let contents = self.contents().ok_or(Errno::EINVAL)?;
        let shrinks = size < contents.size();
        self.sealing.check_resize(contents.size(), size)?;
        contents.truncate(by, size)?;
        self.modified();
        if shrinks {
            self.fs.kernel.unmap_beyond(self.id(), size);
        }
        Ok(())
    }

    /// Notes a change of contents.
    fn modified(&self) {
        let now = self.fs.kernel.wall_ns();
        let mut meta = self.meta.lock();
        meta.modified_ns = now;
        meta.changed_ns = now;
    }

    fn change_links(&self, more: bool) {
        let now = self.fs.kernel.wall_ns();
        let mut meta = self.meta.lock();
        meta.links = if more { meta.links + 1 } else { meta.links.saturating_sub(1) };
        meta.changed_ns = now;
    }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        InodeId { device: self.fs.device, number: self.number }
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let meta = self.meta.lock().clone();
        let (size, blocks, device) = match &self.body {
            Body::Directory(_) => (Directory::SIZE, 0, 0),
            Body::Regular(contents) => (contents.size(), contents.blocks(), 0),
            Body::Symlink(target) => (target.len() as u64, 0, 0),
            Body::Device(device) => (0, 0, *device),
            Body::Other => (0, 0, 0),
        };
        Ok(Attributes {
            id: self.id(),
            kind: self.kind,
            permissions: meta.permissions,
            uid: meta.uid,
            gid: meta.gid,
            links: meta.links,
            size,
            device,
            blocks,
            accessed_ns: meta.accessed_ns,
            modified_ns: meta.modified_ns,
            changed_ns: meta.changed_ns,
        })
    }

    fn change(&self, by: &Thread, change: &Change) -> SysResult<()> {
        if let Some(permissions) = change.permissions {
            self.sealing.check_permissions(self.meta.lock().permissions, permissions)?;
        }
        if let Some(size) = change.size {
            self.truncate(by, size)?;
        }
        let now = self.fs.kernel.wall_ns();
        let mut meta = self.meta.lock();
        meta.permissions = change.permissions.unwrap_or(meta.permissions);
        meta.uid = change.uid.unwrap_or(meta.uid);
        meta.gid = change.gid.unwrap_or(meta.gid);
        meta.accessed_ns = change.accessed_ns.unwrap_or(meta.accessed_ns);
        meta.modified_ns = change.modified_ns.unwrap_or(meta.modified_ns);
        meta.changed_ns = now;
        Ok(())
    }

    fn open(
        self: Arc<Self>,
        _call: &mut Call<'_>,
        _place: &Place,
        _flags: OpenFlags,
    ) -> SysResult<Arc<dyn File>> {
        Ok(Arc::new(NodeFile::of(self)))
    }

    fn pages(self: Arc<Self>) -> Option<Arc<dyn Pages>> {
        self.contents()?;
        Some(Arc::new(NodeFile::of(self)))
    }

    fn target(&self, _by: &Thread) -> SysResult<Target> {
        match &self.body {
            Body::Symlink(target) => Ok(Target::Path(target.clone())),
            Body::Directory(_) | Body::Regular(_) | Body::Device(_) | Body::Other => {
                Err(Errno::EINVAL.into())
            }
        }
    }

    fn position(&self) -> Option<Position> {
        self.directory().ok()?.lock().position()
    }

    fn lookup(&self, by: &Thread, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        Ok(self.child(by, name)?)
    }

    fn make(&self, by: &Thread, name: &[u8], make: &Make<'_>) -> SysResult<Arc<dyn Inode>> {
        self.make_node(by, name, make)
    }

    fn link(&self, by: &Thread, name: &[u8], inode: &Arc<dyn Inode>) -> SysResult<()> {
        self.link_node(by, name, inode)
    }

    fn remove(&self, by: &Thread, name: &[u8], directory: bool) -> SysResult<()> {
        self.remove_node(by, name, directory)
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
        self.rename_node(by, name, into, new_name, mode)
    }

    fn list(
        &self,
        by: &Thread,
        cursor: u64,
        each: &mut dyn FnMut(&DirectoryEntry<'_>) -> bool,
    ) -> SysResult<()> {
        self.load(by)?;
        self.directory()?.lock().list(cursor, each);
        Ok(())
    }
}
