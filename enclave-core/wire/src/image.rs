// SPDX-License-Identifier: MIT
//! The root image: a read-only file system in 4 KiB blocks under a hash tree.
//!
//! An image file holds `blocks` data blocks, then the tree's levels from the leaves' parents up to
//! one top node. A node is 128 SHA-256 digests of its children, zero-filled at the end. Digests
//! carry a domain label, a level and an index, so that a block can stand for no node and for no
//! other block:
//!
//! ```text
//! leaf  = SHA-256(0x00 ‖ index: u64 ‖ block)
//! node  = SHA-256(0x01 ‖ level: u8 ‖ index: u64 ‖ node)
//! root  = SHA-256("strongroom image v1" ‖ blocks: u64 ‖ digest of the top node)
//! ```
//!
//! Data block 0 is the [`Superblock`]. The inode table is an array of 64-byte [`InodeRecord`]s;
//! number 1 is the root directory, record `n - 1` describes inode `n`. The data of a directory is
//! a sequence of entries `inode: u32, kind: u8, name_len: u8, name`, sorted by name, without `.`
//! and `..`. The data of a symbolic link is its target. All integers are little-endian.

use crate::Malformed;
use sha2::{Digest as _, Sha256};

/// Bytes in a block and in a node.
pub const BLOCK: usize = 4096;
/// Digests in a node.
pub const FANOUT: u64 = 128;
/// Bytes of a digest.
pub const DIGEST: usize = 32;
/// Bytes of an inode record.
pub const INODE_RECORD: usize = 64;
/// Most blocks of an image: 1 TiB.
pub const BLOCKS_MAX: u64 = 1 << 28;
/// Most levels of nodes: `FANOUT.pow(4) >= BLOCKS_MAX`.
pub const LEVELS_MAX: usize = 4;
/// Longest name of a directory entry.
pub const NAME_MAX: usize = 255;
/// Most inodes of an image.
pub const INODES_MAX: u32 = 1 << 26;

const MAGIC: [u8; 8] = *b"SRIMAGE1";
const ROOT_LABEL: &[u8] = b"strongroom image v1";

/// A SHA-256 digest.
pub type Digest = [u8; DIGEST];

/// Digest of data block `index`.
pub fn leaf_digest(index: u64, block: &[u8; BLOCK]) -> Digest {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(index.to_le_bytes());
    hash.update(block);
    hash.finalize().into()
}

/// Digest of node `index` of `level`; level 0 is the parents of the leaves.
pub fn node_digest(level: u8, index: u64, node: &[u8; BLOCK]) -> Digest {
    let mut hash = Sha256::new();
    hash.update([1, level]);
    hash.update(index.to_le_bytes());
    hash.update(node);
    hash.finalize().into()
}

/// The digest that stands for the whole image.
pub fn root_digest(blocks: u64, top: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update(ROOT_LABEL);
    hash.update(blocks.to_le_bytes());
    hash.update(top);
    hash.finalize().into()
}

/// Where the levels of a tree lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    blocks: u64,
    levels: usize,
    /// First node and number of nodes of each level, in blocks of the file.
    nodes: [(u64, u64); LEVELS_MAX],
}

impl Geometry {
    /// The tree over `blocks` data blocks.
    ///
    /// # Errors
    ///
    /// [`Malformed::TooLong`] for none or more than [`BLOCKS_MAX`].
    pub fn new(blocks: u64) -> Result<Self, Malformed> {
        if blocks == 0 || blocks > BLOCKS_MAX {
            return Err(Malformed::TooLong);
        }
        let mut nodes = [(0, 0); LEVELS_MAX];
        let mut below = blocks;
        let mut start = blocks;
        let mut levels = 0;
        for level in &mut nodes {
            let count = below.div_ceil(FANOUT);
            *level = (start, count);
            levels = usize::saturating_add(levels, 1);
            start = start.saturating_add(count);
            below = count;
            if count == 1 {
                break;
            }
        }
        Ok(Self { blocks, levels, nodes })
    }

    /// Data blocks.
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Levels of nodes, at least one.
    pub const fn levels(&self) -> usize {
        self.levels
    }

    /// Nodes of a level; 0 for levels that are not there.
    pub fn nodes(&self, level: usize) -> u64 {
        self.nodes.get(level).map_or(0, |(_, count)| *count)
    }

    /// Where node `index` of `level` lies, counted in blocks of the file.
    pub fn node_at(&self, level: usize, index: u64) -> Option<u64> {
        let (start, count) = self.nodes.get(level)?;
        (index < *count).then(|| start.saturating_add(index))
    }

    /// Blocks of the whole file.
    pub fn file_blocks(&self) -> u64 {
        self.nodes.iter().fold(self.blocks, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// The digest of child `index` in the node above it.
pub fn child_digest(node: &[u8; BLOCK], index: u64) -> Option<Digest> {
    let slot = usize::try_from(index.checked_rem(FANOUT)?).ok()?;
    let (digests, _) = node.as_chunks::<DIGEST>();
    digests.get(slot).copied()
}

/// The first block of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Inodes in the table.
    pub inodes: u32,
    /// Byte offset of the inode table.
    pub inode_table: u64,
}

impl Superblock {
    /// The block that holds it.
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let fields = MAGIC
            .into_iter()
            .chain(self.inodes.to_le_bytes())
            .chain([0; 4])
            .chain(self.inode_table.to_le_bytes());
        block.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        block
    }

    /// Reads it from its block.
    ///
    /// # Errors
    ///
    /// [`Malformed::Version`] for another format, [`Malformed::Value`] for no inodes or too many.
    pub fn decode(block: &[u8; BLOCK]) -> Result<Self, Malformed> {
        let (magic, rest) = block.split_first_chunk::<8>().ok_or(Malformed::Value)?;
        if *magic != MAGIC {
            return Err(Malformed::Version);
        }
        let (inodes, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        let (_, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Value)?;
        let (inode_table, _) = rest.split_first_chunk::<8>().ok_or(Malformed::Value)?;
        let inodes = u32::from_le_bytes(*inodes);
        if inodes == 0 || inodes > INODES_MAX {
            return Err(Malformed::Value);
        }
        Ok(Self { inodes, inode_table: u64::from_le_bytes(*inode_table) })
    }
}

/// An inode as it lies in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InodeRecord {
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Directory entries that name it.
    pub links: u32,
    /// Bytes of data.
    pub size: u64,
    /// Modification time, seconds since 1970.
    pub mtime_s: i64,
    /// Nanoseconds of the modification time.
    pub mtime_ns: u32,
    /// Device number, as `st_rdev`, of device nodes.
    pub device: u32,
    /// Byte offset of its data; a multiple of [`BLOCK`] for regular files.
    pub data: u64,
}

impl InodeRecord {
    /// Its bytes.
    pub fn encode(&self) -> [u8; INODE_RECORD] {
        let mut bytes = [0; INODE_RECORD];
        let fields = [self.mode, self.uid, self.gid, self.links]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .chain(self.size.to_le_bytes())
            .chain(self.mtime_s.to_le_bytes())
            .chain(self.mtime_ns.to_le_bytes())
            .chain(self.device.to_le_bytes())
            .chain(self.data.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Reads it from its bytes.
    pub fn decode(bytes: &[u8; INODE_RECORD]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let word = |index: usize| words.get(index).map_or(0, |word| u32::from_le_bytes(*word));
        let wide = |index: usize| {
            let (longs, _) = bytes.as_chunks::<8>();
            longs.get(index).map_or(0, |long| u64::from_le_bytes(*long))
        };
        Self {
            mode: word(0),
            uid: word(1),
            gid: word(2),
            links: word(3),
            size: wide(2),
            mtime_s: wide(3).cast_signed(),
            mtime_ns: word(8),
            device: word(9),
            data: wide(5),
        }
    }
}

/// A directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Inode number, from 1.
    pub inode: u32,
    /// `d_type` of `getdents64(2)`.
    pub kind: u8,
    /// Name: not empty, no `/` and no NUL.
    pub name: &'a [u8],
}

/// Takes the next entry from directory data; `None` at the end.
///
/// # Errors
///
/// [`Malformed::Value`] when the data ends inside an entry or a name is not one.
pub fn next_entry<'a>(data: &mut &'a [u8]) -> Result<Option<Entry<'a>>, Malformed> {
    if data.is_empty() {
        return Ok(None);
    }
    let (inode, rest) = data.split_first_chunk::<4>().ok_or(Malformed::Value)?;
    let ([kind, name_len], rest) = rest.split_first_chunk::<2>().ok_or(Malformed::Value)?;
    let (name, rest) = rest.split_at_checked(usize::from(*name_len)).ok_or(Malformed::Value)?;
    if name.is_empty() || name == b"." || name == b".." {
        return Err(Malformed::Value);
    }
    if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(Malformed::Value);
    }
    *data = rest;
    Ok(Some(Entry { inode: u32::from_le_bytes(*inode), kind: *kind, name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_stacks_levels_behind_the_data() {
        let one = Geometry::new(1).unwrap();
        assert_eq!((one.levels(), one.node_at(0, 0), one.file_blocks()), (1, Some(1), 2));
        let many = Geometry::new(128 * 128 + 1).unwrap();
        assert_eq!(many.levels(), 3);
        assert_eq!(many.nodes(0), 129);
        assert_eq!(many.node_at(1, 1), Some(128 * 128 + 1 + 129 + 1));
        assert_eq!(many.node_at(2, 1), None);
        assert!(Geometry::new(0).is_err());
        assert_eq!(Geometry::new(BLOCKS_MAX).unwrap().nodes(LEVELS_MAX - 1), 1);
        assert!(Geometry::new(BLOCKS_MAX + 1).is_err());
    }

    #[test]
    fn labels_keep_blocks_and_nodes_apart() {
        let block = [0; BLOCK];
        let digests = [
            leaf_digest(0, &block),
            leaf_digest(1, &block),
            node_digest(0, 0, &block),
            node_digest(1, 0, &block),
            node_digest(0, 1, &block),
        ];
        for (index, digest) in digests.iter().enumerate() {
            assert!(digests[index + 1..].iter().all(|other| other != digest));
        }
    }

    #[test]
    fn records_round_trip() {
        let record = InodeRecord {
            mode: 0o100_755,
            uid: 1,
            gid: 2,
            links: 3,
            size: 4 << 40,
            mtime_s: -5,
            mtime_ns: 6,
            device: 7,
            data: 8 << 40,
        };
        assert_eq!(InodeRecord::decode(&record.encode()), record);
        let superblock = Superblock { inodes: 9, inode_table: 4096 };
        assert_eq!(Superblock::decode(&superblock.encode()), Ok(superblock));
        assert_eq!(Superblock::decode(&[0; BLOCK]), Err(Malformed::Version));
    }

    #[test]
    fn hostile_entries_are_refused() {
        let mut good: &[u8] = b"\x02\0\0\0\x08\x01a\x03\0\0\0\x04\x02bc";
        assert_eq!(next_entry(&mut good).unwrap().unwrap().name, b"a");
        assert_eq!(next_entry(&mut good).unwrap().unwrap().inode, 3);
        assert_eq!(next_entry(&mut good), Ok(None));
        for bad in [
            &b"\x02\0\0\0\x08\x02a"[..],
            b"\x02\0\0",
            b"\x02\0\0\0\x08\0",
            b"\x02\0\0\0\x08\x01/",
            b"\x02\0\0\0\x04\x01.",
            b"\x02\0\0\0\x04\x02..",
        ] {
            assert_eq!(next_entry(&mut &bad[..]), Err(Malformed::Value));
        }
    }
}
