// SPDX-License-Identifier: MIT
//! `/sys/kernel/config`: `tsm/report`, through which programs get attestation reports (Linux,
//! *Documentation/ABI/testing/configfs-tsm*).
//!
//! A program makes a directory in `tsm/report`, writes its data to `inblob`, and reads the report
//! from `outblob` and the host's certificates from `auxblob`. `generation` tells it whether
//! somebody else wrote in between.

mod file;
mod report;

use crate::evidence::Attester;
use crate::fs::{
    Attributes, Change, DirectoryEntry, File, Inode, InodeId, Kind, Make, NodeKind, OpenFlags,
    Place,
};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use file::{BlobFile, ReadFile, TextFile};
use report::{Attribute, Report};
use spin::Mutex;
use strongroom_abi::Errno;

/// Most items at a time.
const ITEMS_MAX: usize = 128;
/// Longest name (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// Numbers of inodes of an item: its own, and one for each of its files.
const NUMBERS_EACH: u64 = 16;
/// Numbers of the fixed directories are below.
const FIRST_ITEM: u64 = 1;

/// A mounted tree.
struct ConfigFs {
    kernel: &'static Kernel,
    attester: Attester,
    device: u64,
    items: Mutex<Items>,
}

#[derive(Default)]
struct Items {
    made: u64,
    /// In the order in which they were made.
    present: Vec<Item>,
}

#[derive(Clone)]
struct Item {
    name: Box<[u8]>,
    number: u64,
    report: Arc<Report>,
}

/// A node of the tree.
struct Node {
    fs: Arc<ConfigFs>,
    what: What,
}

#[derive(Clone)]
enum What {
    Top,
    Tsm,
    Reports,
    Item(Item),
    Attribute(Item, Attribute),
}

/// The root directory, on a machine that has somebody to vouch for it.
pub(super) fn root(kernel: &'static Kernel) -> Option<Arc<dyn Inode>> {
    let attester = Attester::of(kernel)?;
    let device = kernel.next_device();
    let fs = Arc::new(ConfigFs { kernel, attester, device, items: Mutex::default() });
    Some(Arc::new(Node { fs, what: What::Top }))
}

impl Node {
    fn other(&self, what: What) -> Arc<Self> {
        Arc::new(Self { fs: Arc::clone(&self.fs), what })
    }

    /// The files of an item by number, and their numbers in the listing.
    fn attributes_of(&self, item: &Item) -> impl Iterator<Item = (u64, Attribute)> {
        let attester = self.fs.attester;
        (item.number + 1..)
            .zip(Attribute::ALL)
            .filter(move |(_, attribute)| attribute.is_of(attester))
    }

    fn item(&self, name: &[u8]) -> Option<Item> {
        self.fs.items.lock().present.iter().find(|item| &*item.name == name).cloned()
    }

    fn number(&self) -> u64 {
        match &self.what {
            What::Top => 1,
            What::Tsm => 2,
            What::Reports => 3,
            What::Item(item) => item.number,
            What::Attribute(item, attribute) => self
                .attributes_of(item)
                .find(|(_, other)| other == attribute)
                .map_or(item.number, |(number, _)| number),
        }
    }

    fn permissions(&self) -> u32 {
        match &self.what {
            What::Top | What::Tsm | What::Reports | What::Item(_) => 0o755,
            What::Attribute(_, attribute) if attribute.is_written() => 0o200,
            What::Attribute(..) => 0o444,
        }
    }

    fn add_item(&self, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let mut items = self.fs.items.lock();
        if items.present.iter().any(|item| &*item.name == name) {
            return Err(Errno::EEXIST.into());
        }
        if items.present.len() >= ITEMS_MAX {
            return Err(Errno::ENOSPC.into());
        }
        let number = (FIRST_ITEM + items.made) * NUMBERS_EACH;
        items.made += 1;
        let report = Arc::new(Report::new(self.fs.attester));
        let item = Item { name: name.into(), number, report };
        items.present.push(item.clone());
        Ok(self.other(What::Item(item)))
    }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        InodeId { device: self.fs.device, number: self.number() }
    }

    fn kind(&self) -> Kind {
        match &self.what {
            What::Top | What::Tsm | What::Reports | What::Item(_) => Kind::Directory,
            What::Attribute(..) => Kind::Regular,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let now = self.fs.kernel.wall_ns();
        Ok(Attributes::generated(self.kind(), self.id(), self.permissions(), now))
    }

    /// Shells truncate what they write to: that changes nothing.
    fn change(&self, _by: &Thread, change: &Change) -> SysResult<()> {
        if self.kind() == Kind::Regular && change.is_truncation() {
            return Ok(());
        }
        Err(Errno::EPERM.into())
    }

    fn open(
        self: Arc<Self>,
        _call: &mut Call<'_>,
        _place: &Place,
        flags: OpenFlags,
    ) -> SysResult<Arc<dyn File>> {
        let What::Attribute(item, attribute) = &self.what else {
            return Err(Errno::EISDIR.into());
        };
        let attribute = *attribute;
        let written = attribute.is_written();
        if (flags.writable() && !written) || (flags.readable() && written) {
            return Err(Errno::EACCES.into());
        }
        let report = Arc::clone(&item.report);
        let node = Arc::clone(&self);
        Ok(match attribute {
            Attribute::InBlob => {
                Arc::new(BlobFile { node, report, attribute, contents: Mutex::default() })
            }
            Attribute::Level => Arc::new(TextFile { node, report, attribute }),
            Attribute::AuxBlob
            | Attribute::Generation
            | Attribute::OutBlob
            | Attribute::LevelFloor
            | Attribute::Provider => {
                Arc::new(ReadFile { node, report, attribute, contents: Mutex::default() })
            }
        })
    }

    fn position(&self) -> Option<(Arc<dyn Inode>, Box<[u8]>)> {
        let (parent, name) = match &self.what {
            What::Top | What::Attribute(..) => return None,
            What::Tsm => (What::Top, &b"tsm"[..]),
            What::Reports => (What::Tsm, &b"report"[..]),
            What::Item(item) => (What::Reports, &*item.name),
        };
        Some((self.other(parent), name.into()))
    }

    fn lookup(&self, _by: &Thread, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        let found = match (&self.what, name) {
            (What::Top, b"tsm") => What::Tsm,
            (What::Tsm, b"report") => What::Reports,
            (What::Top | What::Tsm, _) => return Err(Errno::ENOENT.into()),
            (What::Reports, _) => What::Item(self.item(name).ok_or(Errno::ENOENT)?),
            (What::Item(item), _) => {
                let mut attributes = self.attributes_of(item).map(|(_, attribute)| attribute);
                let named = attributes.find(|attribute| attribute.name().as_bytes() == name);
                What::Attribute(item.clone(), named.ok_or(Errno::ENOENT)?)
            }
            (What::Attribute(..), _) => return Err(Errno::ENOTDIR.into()),
        };
        Ok(self.other(found))
    }

    /// Only `tsm/report` takes directories; nothing takes files.
    fn make(&self, _by: &Thread, name: &[u8], make: &Make<'_>) -> SysResult<Arc<dyn Inode>> {
        match (&self.what, make.node) {
            (What::Reports, NodeKind::Directory) => self.add_item(name),
            (_, NodeKind::Regular) => Err(Errno::EACCES.into()),
            (_, _) => Err(Errno::EPERM.into()),
        }
    }

    /// An item goes with its files.
    fn remove(&self, by: &Thread, name: &[u8], directory: bool) -> SysResult<()> {
        self.lookup(by, name)?.kind().check_removal(directory)?;
        if !matches!(self.what, What::Reports) {
            return Err(Errno::EPERM.into());
        }
        self.fs.items.lock().present.retain(|item| &*item.name != name);
        Ok(())
    }

    fn list(
        &self,
        _by: &Thread,
        cursor: u64,
        each: &mut dyn FnMut(&DirectoryEntry<'_>) -> bool,
    ) -> SysResult<()> {
        let mut entries: Vec<(u64, Kind, Box<[u8]>)> = Vec::new();
        match &self.what {
            What::Top => entries.push((2, Kind::Directory, (*b"tsm").into())),
            What::Tsm => entries.push((3, Kind::Directory, (*b"report").into())),
            What::Reports => {
                let items = self.fs.items.lock();
                let present = items.present.iter();
                entries
                    .extend(present.map(|item| (item.number, Kind::Directory, item.name.clone())));
            }
            What::Item(item) => {
                entries.extend(self.attributes_of(item).map(|(number, attribute)| {
                    (number, Kind::Regular, attribute.name().as_bytes().into())
                }))
            }
            What::Attribute(..) => return Err(Errno::ENOTDIR.into()),
        }
        for (number, kind, name) in &entries {
            let next = number + 1;
            if next > cursor && !each(&DirectoryEntry { number: *number, kind: *kind, name, next })
            {
                break;
            }
        }
        Ok(())
    }
}
