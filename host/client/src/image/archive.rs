// SPDX-License-Identifier: MIT
//! Reads a tar archive as a [`Tree`]. Contents stay in the archive until they are written.

use super::ImageError;
use super::tree::{
    Attributes, Body, Content, Node, NodeId, ROOT, TYPE_BLOCK, TYPE_CHARACTER, TYPE_DIRECTORY,
    TYPE_FIFO, TYPE_REGULAR, TYPE_SYMLINK, Tree,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _};
use std::path::Path;
use tar::{Archive, Entry, EntryType};

/// Permissions of directories that the archive implies and does not list.
const IMPLIED_DIRECTORY: Attributes =
    Attributes { mode: TYPE_DIRECTORY | 0o755, uid: 0, gid: 0, mtime_s: 0, mtime_ns: 0, device: 0 };

/// Reads names and attributes of all entries; a later entry of the same name replaces an earlier.
pub(super) fn read(path: &Path) -> Result<Tree, ImageError> {
    let open = || File::open(path).map_err(ImageError::io("open", path));
    let mut reader = Reader { path, tree: Tree::new(IMPLIED_DIRECTORY) };
    let mut archive = Archive::new(open()?);
    for entry in archive.entries_with_seek().map_err(ImageError::io("read", path))? {
        reader.entry(entry.map_err(ImageError::io("read", path))?)?;
    }
    reader.tree.archive = Some(open()?);
    Ok(reader.tree)
}

struct Reader<'a> {
    path: &'a Path,
    tree: Tree,
}

impl Reader<'_> {
    fn entry(&mut self, mut entry: Entry<'_, File>) -> Result<(), ImageError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let name = entry.path_bytes().into_owned();
        let parts = self.parts(&name)?;
        let Some((last, folders)) = parts.split_last() else {
            if kind == EntryType::Directory {
                let attributes = self.attributes(&mut entry, TYPE_DIRECTORY)?;
                self.set_attributes(ROOT, attributes);
            }
            return Ok(());
        };
        let folder = self.folder(&name, folders)?;
        if kind == EntryType::Directory {
            let attributes = self.attributes(&mut entry, TYPE_DIRECTORY)?;
            let id = self.subdirectory(folder, last);
            self.set_attributes(id, attributes);
            return Ok(());
        }
        let id = if kind == EntryType::Link {
            self.hard_link(&name, &entry)?
        } else {
            let node = self.file(&name, kind, &mut entry)?;
            self.tree.add(node)
        };
        self.tree.link(folder, last, id);
        Ok(())
    }

    /// A node for anything but directories and hard links.
    fn file(
        &mut self,
        name: &[u8],
        kind: EntryType,
        entry: &mut Entry<'_, File>,
    ) -> Result<Node, ImageError> {
        let (type_bits, body) = if kind == EntryType::GNUSparse {
            (TYPE_REGULAR, self.spool(entry)?)
        } else if kind.is_file() || kind.is_contiguous() {
            let content = Content::Archive(entry.raw_file_position());
            (TYPE_REGULAR, Body::Regular { size: entry.size(), content })
        } else if kind.is_symlink() {
            (TYPE_SYMLINK, Body::Symlink(self.link_target(name, entry)?))
        } else if kind.is_character_special() {
            (TYPE_CHARACTER, Body::Special)
        } else if kind.is_block_special() {
            (TYPE_BLOCK, Body::Special)
        } else if kind.is_fifo() {
            (TYPE_FIFO, Body::Special)
        } else {
            return Err(self.refuse(name, "has a type that is not supported"));
        };
        Ok(Node { attributes: self.attributes(entry, type_bits)?, body })
    }

    /// Unfolds a sparse file, whose bytes do not lie in one piece.
    fn spool(&mut self, entry: &mut Entry<'_, File>) -> Result<Body, ImageError> {
        let report = || ImageError::io("unfold a sparse file of", self.path);
        if self.tree.spool.is_none() {
            self.tree.spool = Some(tempfile::tempfile().map_err(report())?);
        }
        let Some(spool) = &mut self.tree.spool else {
            return Err(report()(io::ErrorKind::NotFound.into()));
        };
        let offset = spool.stream_position().map_err(report())?;
        let size = io::copy(entry, spool).map_err(report())?;
        Ok(Body::Regular { size, content: Content::Spool(offset) })
    }

    fn link_target(&self, name: &[u8], entry: &Entry<'_, File>) -> Result<Vec<u8>, ImageError> {
        match entry.link_name_bytes() {
            Some(target) if !target.is_empty() => Ok(target.into_owned()),
            Some(_) | None => Err(self.refuse(name, "is a link without a target")),
        }
    }

    fn hard_link(&self, name: &[u8], entry: &Entry<'_, File>) -> Result<NodeId, ImageError> {
        let target = self.link_target(name, entry)?;
        let mut id = ROOT;
        for part in self.parts(&target)? {
            let next = self.tree.entries(id).and_then(|entries| entries.get(part));
            id = *next.ok_or_else(|| self.refuse(name, "is a hard link to nothing"))?;
        }
        if self.tree.entries(id).is_some() {
            return Err(self.refuse(name, "is a hard link to a directory"));
        }
        Ok(id)
    }

    /// The directory of these names, made where it is not there.
    fn folder(&mut self, name: &[u8], folders: &[&[u8]]) -> Result<NodeId, ImageError> {
        let mut id = ROOT;
        for part in folders {
            let next = self.tree.entries(id).and_then(|entries| entries.get(*part)).copied();
            id = match next {
                Some(next) if self.tree.entries(next).is_some() => next,
                Some(_) => return Err(self.refuse(name, "lies below something not a directory")),
                None => self.subdirectory(id, part),
            };
        }
        Ok(id)
    }

    /// The directory of that name, or a new one in place of what has the name.
    fn subdirectory(&mut self, folder: NodeId, name: &[u8]) -> NodeId {
        let known = self.tree.entries(folder).and_then(|entries| entries.get(name)).copied();
        if let Some(id) = known.filter(|id| self.tree.entries(*id).is_some()) {
            return id;
        }
        let body = Body::Directory(BTreeMap::new());
        let id = self.tree.add(Node { attributes: IMPLIED_DIRECTORY, body });
        self.tree.link(folder, name, id);
        id
    }

    fn set_attributes(&mut self, id: NodeId, attributes: Attributes) {
        if let Some(node) = self.tree.node_mut(id) {
            node.attributes = attributes;
        }
    }

    /// The names in a path; `.` and slashes at either end do not count.
    fn parts<'n>(&self, name: &'n [u8]) -> Result<Vec<&'n [u8]>, ImageError> {
        let parts: Vec<&[u8]> = name
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        if parts.contains(&&b".."[..]) {
            return Err(self.refuse(name, "has .. in its name"));
        }
        if name.contains(&0) {
            return Err(self.refuse(name, "has a zero byte in its name"));
        }
        Ok(parts)
    }

    fn attributes(
        &self,
        entry: &mut Entry<'_, File>,
        type_bits: u32,
    ) -> Result<Attributes, ImageError> {
        let report = || ImageError::io("read", self.path);
        let exact = exact_time(entry);
        let header = entry.header();
        let number = |value: io::Result<u64>| {
            let value = value.map_err(report())?;
            u32::try_from(value).map_err(|_| report()(io::ErrorKind::InvalidData.into()))
        };
        let seconds = header.mtime().map_err(report())?;
        let (mtime_s, mtime_ns) = exact.unwrap_or((seconds.cast_signed(), 0));
        let device = if matches!(type_bits, TYPE_CHARACTER | TYPE_BLOCK) {
            let major = header.device_major().map_err(report())?.unwrap_or(0);
            let minor = header.device_minor().map_err(report())?.unwrap_or(0);
            // As the kernel packs 32-bit device numbers: minor 7-0, major 11-0, minor 19-8.
            (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
        } else {
            0
        };
        Ok(Attributes {
            mode: type_bits | (header.mode().map_err(report())? & 0o7777),
            uid: number(header.uid())?,
            gid: number(header.gid())?,
            mtime_s,
            mtime_ns,
            device,
        })
    }

    fn refuse(&self, name: &[u8], reason: &'static str) -> ImageError {
        ImageError::Entry {
            path: self.path.to_path_buf(),
            entry: String::from_utf8_lossy(name).into_owned(),
            reason,
        }
    }
}

/// The modification time of a pax header, `seconds[.fraction]`, where the archive has one.
fn exact_time(entry: &mut Entry<'_, File>) -> Option<(i64, u32)> {
    let extensions = entry.pax_extensions().ok()??;
    let value = extensions
        .flatten()
        .find(|extension| extension.key_bytes() == b"mtime")
        .and_then(|extension| extension.value().ok().map(str::to_owned))?;
    let (seconds, fraction) = value.split_once('.').unwrap_or((&value, ""));
    let whole: i64 = seconds.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if seconds.starts_with('-') && nanoseconds > 0 {
        return Some((whole.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((whole, nanoseconds))
}
