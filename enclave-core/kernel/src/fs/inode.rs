// SPDX-License-Identifier: MIT
//! What has a name: directories, regular files, symbolic links, and nodes for everything else.

use crate::fs::{File, OpenFlags, Place};
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use strongroom_abi::Errno;
use strongroom_south::Frame;

/// Identity of an inode: `st_dev` and `st_ino`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InodeId {
    pub(crate) device: u64,
    pub(crate) number: u64,
}

/// Types of inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Directory,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl Kind {
    /// The type bits of `st_mode`.
    pub(crate) const fn mode_bits(self) -> u32 {
        match self {
            Self::Regular => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Symlink => 0o120_000,
            Self::CharacterDevice => 0o020_000,
            Self::BlockDevice => 0o060_000,
            Self::Fifo => 0o010_000,
            Self::Socket => 0o140_000,
        }
    }

    /// From the type bits of `st_mode`.
    pub(crate) const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o100_000 => Self::Regular,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o020_000 => Self::CharacterDevice,
            0o060_000 => Self::BlockDevice,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// Whether a name of this kind can be removed as a directory, or as anything else.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` and `EISDIR`.
    pub(crate) fn check_removal(self, as_directory: bool) -> Result<(), Errno> {
        match (as_directory, self == Self::Directory) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// `d_type` of `getdents64(2)`.
    pub(crate) const fn directory_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// Nanoseconds since 1970.
pub(crate) type Timestamp = i64;

/// What `stat(2)` tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) id: InodeId,
    pub(crate) kind: Kind,
    /// The low twelve bits of `st_mode`.
    pub(crate) permissions: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    pub(crate) size: u64,
    /// Of device nodes; see [`device_number`].
    pub(crate) device: u64,
    /// Units of 512 bytes in use.
    pub(crate) blocks: u64,
    pub(crate) accessed_ns: Timestamp,
    pub(crate) modified_ns: Timestamp,
    pub(crate) changed_ns: Timestamp,
}

impl Attributes {
    /// Attributes of something that has no node of its own: a pipe, a socket, an eventfd.
    pub(crate) const fn anonymous(kind: Kind, id: InodeId, permissions: u32) -> Self {
        Self {
            id,
            kind,
            permissions,
            uid: 0,
            gid: 0,
            links: 1,
            size: 0,
            device: 0,
            blocks: 0,
            accessed_ns: 0,
            modified_ns: 0,
            changed_ns: 0,
        }
    }

    /// Attributes of a node that is made up when it is looked at, and always new.
    pub(crate) const fn generated(
        kind: Kind,
        id: InodeId,
        permissions: u32,
        now_ns: Timestamp,
    ) -> Self {
        let mut attributes = Self::anonymous(kind, id, permissions);
        if matches!(kind, Kind::Directory) {
            attributes.links = 2;
        }
        attributes.accessed_ns = now_ns;
        attributes.modified_ns = now_ns;
        attributes.changed_ns = now_ns;
        attributes
    }

    /// `st_mode`.
    pub(crate) const fn mode(&self) -> u32 {
        self.kind.mode_bits() | self.permissions
    }
}

/// A device number in the encoding of `st_rdev`.
pub(crate) const fn device_number(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

/// Attributes to change; `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    pub(crate) permissions: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) accessed_ns: Option<Timestamp>,
    pub(crate) modified_ns: Option<Timestamp>,
}

impl Change {
    /// Whether a size is all that is set: of files that are truncated before each write.
    pub(crate) const fn is_truncation(&self) -> bool {
        self.size.is_some() && self.permissions.is_none() && self.uid.is_none()
    }
}

/// What to make in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Make<'a> {
    pub(crate) node: NodeKind<'a>,
    /// Permissions, the umask already applied.
    pub(crate) permissions: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Kinds of new nodes with what they need.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NodeKind<'a> {
    Regular,
    Directory,
    Symlink(&'a [u8]),
    CharacterDevice(u64),
    BlockDevice(u64),
    Fifo,
    Socket,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectoryEntry<'a> {
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) name: &'a [u8],
    /// Where a listing goes on behind this entry (`d_off`); never 0.
    pub(crate) next: u64,
}

/// Where a symbolic link leads.
pub(crate) enum Target {
    /// To a path.
    Path(Box<[u8]>),
    /// Straight to an object, as the links in `/proc/self/fd` do.
    Place(Place),
}

/// What `renameat2(2)` does with an existing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RenameMode {
    Replace,
    NoReplace,
    Exchange,
}

/// Contents that can be mapped.
pub(crate) trait Pages: Send + Sync {
    /// The frame of page `index`, with a reference for the caller. With `write` the page is about
    /// to be changed through a shared mapping. Beyond the end: `EFAULT`, which a mapping reports
    /// as `SIGBUS`.
    fn page(&self, by: &Thread, index: u64, write: bool) -> SysResult<Frame>;

    /// Whether mappings can share changes with the file. Where not, `mmap(2)` refuses `MAP_SHARED`
    /// with `ENODEV`.
    fn shareable(&self) -> bool {
        true
    }

    /// Another, or one fewer, shared mapping that may write.
    fn mapped_writable(&self, _more: bool) {}

    /// Whether it is sealed against new shared mappings that write.
    fn refuses_writers(&self) -> bool {
        false
    }

    /// Identity, for `/proc/self/maps` and shared futexes.
    fn id(&self) -> InodeId;
}

/// A directory and a name in it.
pub(crate) type Position = (Arc<dyn Inode>, Box<[u8]>);

/// A file-system node. `by` is the thread on whose behalf the host may have to be asked.
///
/// Permissions are checked by the callers in `calls`; these methods check what belongs to the
/// file system: names, types, emptiness.
pub(crate) trait Inode: Send + Sync {
    /// Identity.
    fn id(&self) -> InodeId;

    /// Type.
    fn kind(&self) -> Kind;

    /// For downcasts within one file system.
    fn as_any(&self) -> &dyn Any;

    /// `stat(2)`.
    fn attributes(&self, by: &Thread) -> SysResult<Attributes>;

    /// `chmod(2)`, `chown(2)`, `utimensat(2)`, `truncate(2)`.
    fn change(&self, _by: &Thread, _change: &Change) -> SysResult<()> {
        Err(Errno::EPERM.into())
    }

    /// Opens a regular file or a directory. Device nodes, FIFOs and sockets are opened by number
    /// elsewhere.
    fn open(
        self: Arc<Self>,
        call: &mut Call<'_>,
        place: &Place,
        flags: OpenFlags,
    ) -> SysResult<Arc<dyn File>>;

    /// Contents that can be mapped, of regular files.
    fn pages(self: Arc<Self>) -> Option<Arc<dyn Pages>> {
        None
    }

    /// Where a symbolic link leads.
    fn target(&self, _by: &Thread) -> SysResult<Target> {
        Err(Errno::EINVAL.into())
    }

    /// The directory that holds this directory, and its name there; `None` at the root of a file
    /// system and for everything that is not a directory.
    fn position(&self) -> Option<Position> {
        None
    }

    /// Finds a name in a directory. Never `.` or `..`.
    fn lookup(&self, _by: &Thread, _name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        Err(Errno::ENOTDIR.into())
    }

    /// Makes a node that must not exist.
    fn make(&self, _by: &Thread, _name: &[u8], _make: &Make<'_>) -> SysResult<Arc<dyn Inode>> {
        Err(Errno::EPERM.into())
    }

    /// Gives an inode of the same file system another name.
    fn link(&self, _by: &Thread, _name: &[u8], _inode: &Arc<dyn Inode>) -> SysResult<()> {
        Err(Errno::EPERM.into())
    }

    /// Removes a name: an empty directory if `directory`, anything else if not.
    fn remove(&self, _by: &Thread, _name: &[u8], _directory: bool) -> SysResult<()> {
        Err(Errno::EPERM.into())
    }

    /// Moves `name` to `new_name` in the directory `into` of the same file system.
    fn rename(
        &self,
        _by: &Thread,
        _name: &[u8],
        _into: &Arc<dyn Inode>,
        _new_name: &[u8],
        _mode: RenameMode,
    ) -> SysResult<()> {
        Err(Errno::EPERM.into())
    }

    /// Lists a directory from `cursor` on (0 is the start) until `each` returns false. `.` and
    /// `..` are added by the caller.
    fn list(
        &self,
        _by: &Thread,
        _cursor: u64,
        _each: &mut dyn FnMut(&DirectoryEntry<'_>) -> bool,
    ) -> SysResult<()> {
        Err(Errno::ENOTDIR.into())
    }
}
