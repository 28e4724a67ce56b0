// SPDX-License-Identifier: MIT
//! Files of an image, read by their paths: for tools that look at what is packed.
//!
//! Every block is checked against the root digest before it is used, as the enclave does.

use super::tree::{TYPE_DIRECTORY, TYPE_MASK, TYPE_REGULAR, TYPE_SYMLINK};
use super::{Image, ImageError};
use std::cell::RefCell;
use std::collections::HashSet;
use strongroom_wire::image::{
    BLOCK, Digest, FANOUT, Geometry, INODE_RECORD, InodeRecord, Superblock, child_digest,
    leaf_digest, next_entry, node_digest,
};

/// Inode number of the root directory.
const ROOT: u32 = 1;
/// Symbolic links of a path after which it is taken to lead in circles (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;
/// Most bytes of a file that is read whole.
const FILE_MAX: u64 = 1 << 30;
const BLOCK_BYTES: u64 = BLOCK as u64;

/// The file system in an image.
#[derive(Debug)]
pub struct Files<'a> {
    image: &'a Image,
    superblock: Superblock,
    /// Nodes of the tree that are known to be good, by level and index.
    good: RefCell<HashSet<(usize, u64)>>,
}

/// A regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Its path, absolute and without symbolic links.
    pub path: String,
    /// Its bytes.
    pub contents: Vec<u8>,
}

impl Image {
    /// The file system in it.
    ///
    /// # Errors
    ///
    /// [`ImageError`] where its first block is not what the root digest vouches for.
    pub fn files(&self) -> Result<Files<'_>, ImageError> {
        let superblock = Superblock { inodes: 1, inode_table: 0 };
        let mut files = Files { image: self, superblock, good: RefCell::default() };
        let superblock = Superblock::decode(&files.block(0)?);
        files.superblock = superblock.map_err(|_| files.broken("its first block"))?;
        Ok(files)
    }
}

impl Files<'_> {
    /// The regular file that a path leads to, symbolic links followed inside of the image; none where
    /// it leads nowhere, or to something else.
    ///
    /// # Errors
    ///
    /// [`ImageError`] of reading, and for an image that is damaged.
    pub fn read(&self, path: &str) -> Result<Option<FoundFile>, ImageError> {
        // Names and records from the root on.
        let mut place: Vec<(String, InodeRecord)> = Vec::new();
        let mut waiting: Vec<String> = components(path);
        let mut links = 0;
        while let Some(name) = waiting.pop() {
            if name == ".." {
                place.pop();
                continue;
            }
            let directory = match place.last() {
                Some((_, record)) => *record,
                None => self.inode(ROOT)?,
            };
            let Some(record) = self.child(&directory, &name)? else { return Ok(None) };
            if record.mode & TYPE_MASK != TYPE_SYMLINK {
                place.push((name, record));
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Ok(None);
            }
            let target = self.text(&record)?;
            if target.starts_with('/') {
                place.clear();
            }
            waiting.extend(components(&target));
        }
        let Some((_, record)) = place.last() else { return Ok(None) };
        if record.mode & TYPE_MASK != TYPE_REGULAR {
            return Ok(None);
        }
        let contents = self.bytes(record.data, record.size)?;
        let path = place.iter().map(|(name, _)| format!("/{name}")).collect();
        Ok(Some(FoundFile { path, contents }))
    }

    fn child(
        &self,
        directory: &InodeRecord,
        name: &str,
    ) -> Result<Option<InodeRecord>, ImageError> {
        if directory.mode & TYPE_MASK != TYPE_DIRECTORY {
            return Ok(None);
        }
        let data = self.bytes(directory.data, directory.size)?;
        let mut rest = data.as_slice();
        while let Some(entry) = next_entry(&mut rest).map_err(|_| self.broken("a directory"))? {
            if entry.name == name.as_bytes() {
                return self.inode(entry.inode).map(Some);
            }
        }
        Ok(None)
    }

    fn inode(&self, number: u32) -> Result<InodeRecord, ImageError> {
        let broken = || self.broken("an inode number");
        let index = number.checked_sub(1).filter(|index| *index < self.superblock.inodes);
        let index = index.ok_or_else(broken)?;
        let at = u64::from(index) * INODE_RECORD as u64;
        let at = self.superblock.inode_table.checked_add(at).ok_or_else(broken)?;
        let bytes = self.bytes(at, INODE_RECORD as u64)?;
        let bytes = bytes.first_chunk().ok_or_else(broken)?;
        Ok(InodeRecord::decode(bytes))
    }

    fn text(&self, record: &InodeRecord) -> Result<String, ImageError> {
        let bytes = self.bytes(record.data, record.size)?;
        String::from_utf8(bytes).map_err(|_| self.broken("the target of a link"))
    }

    fn bytes(&self, offset: u64, size: u64) -> Result<Vec<u8>, ImageError> {
        let broken = || self.broken("the place of some data");
        let end = offset.checked_add(size).filter(|_| size <= FILE_MAX).ok_or_else(broken)?;
        let mut bytes = Vec::new();
        for block in offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) {
            bytes.extend(self.block(block)?);
        }
        let start = (offset % BLOCK_BYTES) as usize;
        bytes.get(start..start + size as usize).map(<[u8]>::to_vec).ok_or_else(broken)
    }

    /// A data block that the root digest vouches for.
    fn block(&self, index: u64) -> Result<[u8; BLOCK], ImageError> {
        if index >= self.image.blocks() {
            return Err(self.broken("the place of some data"));
        }
        let block = self.raw(index)?;
        let digest = leaf_digest(index, &block);
        if self.expected(0, index)? == Some(digest) {
            return Ok(block);
        }
        Err(ImageError::Damaged { path: self.image.path().to_path_buf(), block: index })
    }

    /// The digest of a node's child, once the node itself is known to be good. That of the top node
    /// is part of the root digest, which is where the image was opened with.
    fn expected(&self, level: usize, child: u64) -> Result<Option<Digest>, ImageError> {
        let geometry =
            Geometry::new(self.image.blocks()).map_err(|_| self.broken("its number of blocks"))?;
        let index = child / FANOUT;
        let at = geometry.node_at(level, index).ok_or_else(|| self.broken("its tree"))?;
        let node = self.raw(at)?;
        let top = level + 1 == geometry.levels();
        if !top && !self.good.borrow().contains(&(level, index)) {
            if self.expected(level + 1, index)? != Some(node_digest(level as u8, index, &node)) {
                return Err(ImageError::Damaged {
                    path: self.image.path().to_path_buf(),
                    block: at,
                });
            }
            self.good.borrow_mut().insert((level, index));
        }
        Ok(child_digest(&node, child))
    }

    fn raw(&self, block: u64) -> Result<[u8; BLOCK], ImageError> {
        let mut bytes = [0; BLOCK];
        let read = self.image.read_blocks(block, &mut bytes);
        read.map_err(ImageError::io("read", self.image.path()))?;
        Ok(bytes)
    }

    fn broken(&self, reason: &'static str) -> ImageError {
        ImageError::NotAnImage { path: self.image.path().to_path_buf(), reason }
    }
}

/// The names in a path, the last one first.
fn components(path: &str) -> Vec<String> {
    let names = path.rsplit('/').filter(|name| !name.is_empty() && *name != ".");
    names.map(str::to_owned).collect()
}
