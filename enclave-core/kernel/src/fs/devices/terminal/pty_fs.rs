// SPDX-License-Identifier: MIT
//! `/dev/pts`: a node for every pseudo-terminal (`pts(4)`).

use super::{Behind, Terminal};
use crate::fs::{
    Attributes, Change, DirectoryEntry, File, Inode, InodeId, Kind, OpenFile, OpenFlags, Place,
    Timestamp, device_number,
};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use crate::user::Sink;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use core::any::Any;
use strongroom_abi::Errno;

/// Group that terminals belong to (`tty`), as `devpts` is mounted everywhere.
const TTY_GROUP: u32 = 5;
const MULTIPLEXER: &[u8] = b"ptmx";
/// Numbers of nodes: the root, the multiplexer, then slaves.
const ROOT_NUMBER: u64 = 1;
const MULTIPLEXER_NUMBER: u64 = 2;
const FIRST_NUMBER: u64 = 3;

/// Owner and permissions of a slave's node, which `grantpt(3)` and `login` change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
    permissions: u32,
    made_ns: Timestamp,
}

impl Owner {
    pub(super) const fn new(uid: u32, made_ns: Timestamp) -> Self {
        Self { uid, gid: TTY_GROUP, permissions: 0o620, made_ns }
    }
}

struct Directory {
    kernel: &'static Kernel,
    device: u64,
}

enum What {
    Multiplexer,
    Slave(Arc<Terminal>),
}

struct Node {
    id: InodeId,
    what: What,
}

/// The file system.
pub(crate) fn pseudo_terminals(kernel: &'static Kernel) -> Arc<dyn Inode> {
    Arc::new(Directory { kernel, device: kernel.next_device() })
}

/// Where a slave's node is.
pub(super) fn place_of(kernel: &'static Kernel, number: u32) -> Option<Place> {
    let mounts = kernel.mounts.all();
    let mount = mounts.iter().find(|mount| mount.root.as_any().is::<Directory>())?;
    let directory = mount.root.as_any().downcast_ref::<Directory>()?;
    let name = number.to_string();
    let node = directory.find(name.as_bytes()).ok()?;
    let root = Place::directory(Arc::clone(mount), Arc::clone(&mount.root));
    Some(root.child(name.as_bytes(), node))
}

impl Directory {
    const fn child(&self, number: u64) -> InodeId {
        InodeId { device: self.device, number }
    }

    fn find(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        if name == MULTIPLEXER {
            let id = self.child(MULTIPLEXER_NUMBER);
            return Ok(Arc::new(Node { id, what: What::Multiplexer }));
        }
        let text = str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let number: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        if number.to_string() != text {
            return Err(Errno::ENOENT);
        }
        let terminal = self.kernel.terminals.by_number(number).ok_or(Errno::ENOENT)?;
        let id = self.child(FIRST_NUMBER + u64::from(number));
        Ok(Arc::new(Node { id, what: What::Slave(terminal) }))
    }
}

impl Inode for Directory {
    fn id(&self) -> InodeId {
        self.child(ROOT_NUMBER)
    }

    fn kind(&self) -> Kind {
        Kind::Directory
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let mut attributes = Attributes::anonymous(Kind::Directory, self.id(), 0o755);
        attributes.links = 2;
        Ok(attributes)
    }

    fn open(
        self: Arc<Self>,
        _call: &mut Call<'_>,
        _place: &Place,
        _flags: OpenFlags,
    ) -> SysResult<Arc<dyn File>> {
        Ok(Arc::new(OpenDirectory(self)))
    }

    fn lookup(&self, _by: &Thread, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        Ok(self.find(name)?)
    }

    fn list(
        &self,
        _by: &Thread,
        cursor: u64,
        each: &mut dyn FnMut(&DirectoryEntry<'_>) -> bool,
    ) -> SysResult<()> {
        let slaves = self.kernel.terminals.numbers().into_iter();
        let slaves = slaves
            .map(|number| (FIRST_NUMBER + u64::from(number), number.to_string().into_bytes()));
        let multiplexer = (MULTIPLEXER_NUMBER, MULTIPLEXER.to_vec());
        for (number, name) in core::iter::once(multiplexer).chain(slaves) {
            let entry = DirectoryEntry {
                number,
                kind: Kind::CharacterDevice,
                name: &name,
                next: number + 1,
            };
            if number >= cursor && !each(&entry) {
                break;
            }
        }
        Ok(())
    }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        self.id
    }

    fn kind(&self) -> Kind {
        Kind::CharacterDevice
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let (owner, device) = match &self.what {
            What::Multiplexer => {
                let owner = Owner { permissions: 0o666, ..Owner::default() };
                (owner, device_number(5, 2))
            }
            What::Slave(terminal) => (terminal.state.lock().master.owner, terminal.device),
        };
        let mut attributes =
            Attributes::anonymous(Kind::CharacterDevice, self.id, owner.permissions);
        attributes.uid = owner.uid;
        attributes.gid = owner.gid;
        attributes.device = device;
        attributes.accessed_ns = owner.made_ns;
        attributes.modified_ns = owner.made_ns;
        attributes.changed_ns = owner.made_ns;
        Ok(attributes)
    }

    fn change(&self, _by: &Thread, change: &Change) -> SysResult<()> {
        let What::Slave(terminal) = &self.what else { return Err(Errno::EPERM.into()) };
        let owner = &mut terminal.state.lock().master.owner;
        owner.uid = change.uid.unwrap_or(owner.uid);
        owner.gid = change.gid.unwrap_or(owner.gid);
        owner.permissions = change.permissions.unwrap_or(owner.permissions);
        Ok(())
    }

    /// Not reached: devices are opened by number.
    fn open(
        self: Arc<Self>,
        call: &mut Call<'_>,
        _place: &Place,
        flags: OpenFlags,
    ) -> SysResult<Arc<dyn File>> {
        match &self.what {
            What::Multiplexer => super::open_master(call),
            What::Slave(terminal) => match terminal.behind {
                Behind::Master(number) => super::open_slave(call, number, flags),
                Behind::Console(_) => Err(Errno::ENXIO.into()),
            },
        }
    }
}

/// The directory, open.
struct OpenDirectory(Arc<Directory>);

impl File for OpenDirectory {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(
        &self,
        _call: &mut Call<'_>,
        _open: &OpenFile,
        _offset: u64,
        _to: &mut Sink<'_>,
    ) -> SysResult {
        Err(Errno::EISDIR.into())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn attributes(&self, by: &Thread) -> SysResult<Attributes> {
        self.0.attributes(by)
    }

    fn label(&self) -> String {
        String::from("/dev/pts")
    }
}
