// SPDX-License-Identifier: MIT
//! Nodes of a generated tree.

use super::text::TextFile;
use super::{DESCRIPTOR, DETAILS, Entry, Members, Owner, PROCESS, THREAD, View, What};
use crate::fs::{
    Attributes, Change, DirectoryEntry, File, Inode, InodeId, Kind, Make, OpenFlags, Place, Target,
};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::str;
use strongroom_abi::Errno;

/// Positions of members in listings start here, behind all fixed names.
const MEMBERS_FROM: u64 = 1 << 16;

/// A mounted tree of tables.
pub(crate) struct Tree {
    kernel: &'static Kernel,
    device: u64,
}

/// A node of such a tree.
pub(crate) struct Node {
    this: Weak<Node>,
    tree: Arc<Tree>,
    pub(super) entry: &'static Entry,
    pub(super) owner: Owner,
    number: u64,
    parent: Option<(Arc<Node>, Box<[u8]>)>,
}

impl Tree {
    /// The root directory of a new tree.
    pub(crate) fn root(kernel: &'static Kernel, entry: &'static Entry) -> Arc<dyn Inode> {
        let tree = Arc::new(Self { kernel, device: kernel.next_device() });
        Arc::new_cyclic(|this| Node {
            this: this.clone(),
            tree,
            entry,
            owner: Owner::default(),
            number: 1,
            parent: None,
        })
    }
}

/// The process whose directory `/proc/PID` an inode is.
pub(crate) fn process_of(inode: &dyn Inode) -> Option<u32> {
    let node = inode.as_any().downcast_ref::<Node>()?;
    let (above, _) = node.parent.as_ref()?;
    let is_top = node.kind() == Kind::Directory && above.owner.pid == 0;
    (is_top && node.owner.pid != 0).then_some(node.owner.pid)
}

impl Node {
    pub(super) const fn view<'a>(&self, by: &'a Thread) -> View<'a> {
        View { by, owner: self.owner }
    }

    fn child(&self, name: &[u8], entry: &'static Entry, owner: Owner) -> SysResult<Arc<Self>> {
        let me = self.this.upgrade().ok_or(Errno::ENOENT)?;
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            tree: Arc::clone(&self.tree),
            entry,
            owner,
            number: digest(self.number, name),
            parent: Some((me, name.into())),
        }))
    }

    fn tables(&self) -> Result<(&'static [&'static [Entry]], Members), Errno> {
        match &self.entry.what {
            What::Directory(tables, members) => Ok((tables, *members)),
            What::Text(_) | What::Constant(_) | What::Setting(..) | What::Link(_) => {
                Err(Errno::ENOTDIR)
            }
        }
    }

    /// The member of a directory that a number stands for.
    fn member(
        &self,
        by: &Thread,
        members: Members,
        number: u32,
    ) -> Result<(&'static Entry, Owner), Errno> {
        let owner = self.owner;
        match members {
            Members::None => Err(Errno::ENOENT),
            Members::Processes => {
                let processes = &by.kernel.processes;
                let pid = match processes.find(number) {
                    Some(process) => process.pid,
                    None => processes.find_thread(number).ok_or(Errno::ENOENT)?.process.pid,
                };
                Ok((&PROCESS, Owner { pid, tid: number, descriptor: 0 }))
            }
            Members::Threads => {
                let process = self.view(by).process().map_err(|_| Errno::ENOENT)?;
                process.thread(number).ok_or(Errno::ENOENT)?;
                Ok((&THREAD, Owner { tid: number, ..owner }))
            }
            Members::Descriptors | Members::DescriptorDetails => {
                let thread = self.view(by).thread().map_err(|_| Errno::ENOENT)?;
                let files = Arc::clone(&thread.files.lock());
                files.file(number.cast_signed()).map_err(|_| Errno::ENOENT)?;
                let links = members == Members::Descriptors;
                let entry = if links { &DESCRIPTOR } else { &DETAILS };
                Ok((entry, Owner { descriptor: number, ..owner }))
            }
        }
    }

    /// The numbers of all members, in order.
    fn numbers(&self, by: &Thread, members: Members) -> Result<Vec<u32>, Errno> {
        let view = self.view(by);
        Ok(match members {
            Members::None => Vec::new(),
            Members::Processes => {
                by.kernel.processes.all().iter().map(|process| process.pid).collect()
            }
            Members::Threads => {
                let process = view.process().map_err(|_| Errno::ENOENT)?;
                let mut tids: Vec<u32> =
                    process.threads.lock().iter().map(|thread| thread.tid()).collect();
                tids.sort_unstable();
                tids
            }
            Members::Descriptors | Members::DescriptorDetails => {
                let thread = view.thread().map_err(|_| Errno::ENOENT)?;
                let files = Arc::clone(&thread.files.lock());
                files.numbers().into_iter().map(|number| number as u32).collect()
            }
        })
    }
}

/// FNV-1a of a parent's number and a name: numbers that stay the same from lookup to lookup.
fn digest(parent: u64, name: &[u8]) -> u64 {
    let bytes = parent.to_le_bytes();
    let bytes = bytes.iter().chain(name);
    let digest = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Some programs keep inode numbers in signed words; 0 and 1 are taken.
    (digest >> 1) | 2
}

/// A number as a name: decimal, without leading zeroes.
fn number_of(name: &[u8]) -> Option<u32> {
    let number: u32 = str::from_utf8(name).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == name).then_some(number)
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        InodeId { device: self.tree.device, number: self.number }
    }

    fn kind(&self) -> Kind {
        self.entry.kind()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attributes(&self, by: &Thread) -> SysResult<Attributes> {
        let now = self.tree.kernel.wall_ns();
        let permissions = self.entry.permissions;
        let mut attributes = Attributes::generated(self.kind(), self.id(), permissions, now);
        if self.owner.pid != 0 {
            let process = self.view(by).process()?;
            let credentials = process.credentials.lock();
            attributes.uid = credentials.euid;
            attributes.gid = credentials.egid;
        }
        Ok(attributes)
    }

    /// Settings are truncated before they are written: that changes nothing.
    fn change(&self, _by: &Thread, change: &Change) -> SysResult<()> {
        match &self.entry.what {
            What::Setting(..) if change.is_truncation() => Ok(()),
            What::Setting(..)
            | What::Directory(..)
            | What::Text(_)
            | What::Constant(_)
            | What::Link(_) => Err(Errno::EPERM.into()),
        }
    }

    fn open(
        self: Arc<Self>,
        call: &mut Call<'_>,
        _place: &Place,
        flags: OpenFlags,
    ) -> SysResult<Arc<dyn File>> {
        let writes = matches!(self.entry.what, What::Setting(..));
        if flags.writable() && !writes {
            return Err(Errno::EACCES.into());
        }
        if self.owner.pid != 0 {
            self.view(call.thread).process()?;
        }
        Ok(Arc::new(TextFile::new(self)))
    }

    fn target(&self, by: &Thread) -> SysResult<Target> {
        match &self.entry.what {
            What::Link(target) => target(&self.view(by)),
            What::Directory(..) | What::Text(_) | What::Constant(_) | What::Setting(..) => {
                Err(Errno::EINVAL.into())
            }
        }
    }

    fn position(&self) -> Option<(Arc<dyn Inode>, Box<[u8]>)> {
        let (parent, name) = self.parent.as_ref()?;
        Some((Arc::clone(parent) as Arc<dyn Inode>, name.clone()))
    }

    fn lookup(&self, by: &Thread, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        let (tables, members) = self.tables()?;
        let fixed = tables.iter().copied().flatten();
        if let Some(entry) = fixed.into_iter().find(|entry| entry.name.as_bytes() == name) {
            if self.owner.pid != 0 {
                self.view(by).process().map_err(|_| Errno::ENOENT)?;
            }
            return Ok(self.child(name, entry, self.owner)?);
        }
        let number = number_of(name).ok_or(Errno::ENOENT)?;
        let (entry, owner) = self.member(by, members, number)?;
        Ok(self.child(name, entry, owner)?)
    }

    /// Names that are not there cannot be made to be: the same answer as for looking them up.
    fn make(&self, _by: &Thread, _name: &[u8], _make: &Make<'_>) -> SysResult<Arc<dyn Inode>> {
        Err(Errno::ENOENT.into())
    }

    /// Nothing can be removed; a wrong kind is said first.
    fn remove(&self, by: &Thread, name: &[u8], directory: bool) -> SysResult<()> {
        self.lookup(by, name)?.kind().check_removal(directory)?;
        Err(Errno::EPERM.into())
    }

    fn list(
        &self,
        by: &Thread,
        cursor: u64,
        each: &mut dyn FnMut(&DirectoryEntry<'_>) -> bool,
    ) -> SysResult<()> {
        let (tables, members) = self.tables()?;
        let fixed = tables.iter().copied().flatten().zip(0..);
        for (entry, position) in fixed.skip_while(|(_, position)| *position < cursor) {
            let name = entry.name.as_bytes();
            let number = digest(self.number, name);
            let kind = entry.kind();
            if !each(&DirectoryEntry { number, kind, name, next: position + 1 }) {
                return Ok(());
            }
        }
        let kind = match members {
            Members::None => return Ok(()),
            Members::Processes | Members::Threads => Kind::Directory,
            Members::Descriptors => Kind::Symlink,
            Members::DescriptorDetails => Kind::Regular,
        };
        for member in self.numbers(by, members)? {
            let position = MEMBERS_FROM + u64::from(member);
            if position < cursor {
                continue;
            }
            let name = member.to_string();
            let name = name.as_bytes();
            let number = digest(self.number, name);
            if !each(&DirectoryEntry { number, kind, name, next: position + 1 }) {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Entry {
    const fn kind(&self) -> Kind {
        match &self.what {
            What::Directory(..) => Kind::Directory,
            What::Text(_) | What::Constant(_) | What::Setting(..) => Kind::Regular,
            What::Link(_) => Kind::Symlink,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_name_members() {
        assert_eq!(number_of(b"17"), Some(17));
        assert_eq!(number_of(b"0"), Some(0));
        for bad in [&b"017"[..], b"+1", b"", b"1x", b"4294967296"] {
            assert_eq!(number_of(bad), None);
        }
    }

    #[test]
    fn numbers_of_nodes_are_stable_and_never_the_root() {
        assert_eq!(digest(1, b"stat"), digest(1, b"stat"));
        assert_ne!(digest(1, b"stat"), digest(2, b"stat"));
        assert!(digest(1, b"") > 1);
    }
}
