// SPDX-License-Identifier: MIT
//! Images for tests: a few files, built in memory.

use std::collections::BTreeMap;
use strongroom_wire::image::{
    BLOCK, Digest, FANOUT, Geometry, INODE_RECORD, InodeRecord, Superblock, leaf_digest,
    node_digest, root_digest,
};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

#[derive(Clone, Debug)]
enum Node {
    Directory(BTreeMap<String, u32>),
    File(Vec<u8>),
    Symlink(String),
}

/// Builds an [`Image`].
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    /// By inode number, less one.
    nodes: Vec<(u32, Node)>,
}

/// An image as a host has it, and what is measured of it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Data blocks, then the tree.
    pub bytes: Vec<u8>,
    /// Data blocks.
    pub blocks: u64,
    /// What stands for the whole.
    pub root_digest: Digest,
}

impl Default for ImageBuilder {
    fn default() -> Self {
        Self { nodes: vec![(0o755, Node::Directory(BTreeMap::new()))] }
    }
}

impl ImageBuilder {
    /// Adds a file with these permissions; directories above it are made.
    #[must_use]
    pub fn file(self, path: &str, permissions: u32, bytes: &[u8]) -> Self {
        self.add(path, permissions, Node::File(bytes.to_vec()))
    }

    /// Adds an empty directory.
    #[must_use]
    pub fn directory(self, path: &str) -> Self {
        self.add(path, 0o755, Node::Directory(BTreeMap::new()))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.add(path, 0o777, Node::Symlink(target.into()))
    }

    fn add(mut self, path: &str, permissions: u32, node: Node) -> Self {
        let mut at = 1;
        let mut names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let last = names.pop().expect("a path has a name");
        for name in names {
            at = match self.entries(at).get(name) {
                Some(number) => *number,
                None => self.insert(at, name, 0o755, Node::Directory(BTreeMap::new())),
            };
        }
        self.insert(at, last, permissions, node);
        self
    }

    fn entries(&mut self, number: u32) -> &mut BTreeMap<String, u32> {
        match &mut self.nodes[number as usize - 1].1 {
            Node::Directory(entries) => entries,
            Node::File(_) | Node::Symlink(_) => panic!("only directories have entries"),
        }
    }

    fn insert(&mut self, parent: u32, name: &str, permissions: u32, node: Node) -> u32 {
        self.nodes.push((permissions, node));
        let number = self.nodes.len() as u32;
        self.entries(parent).insert(name.into(), number);
        number
    }

    /// Lays it out: superblock, inode table, then each node's data in blocks of their own.
    pub fn build(&self) -> Image {
        let table_blocks = (self.nodes.len() * INODE_RECORD).div_ceil(BLOCK);
        let mut data = Vec::new();
        let mut table = Vec::new();
        for (permissions, node) in &self.nodes {
            let bytes = self.data(node);
            let at = (1 + table_blocks) * BLOCK + data.len();
            let record = InodeRecord {
                mode: permissions | kind(node),
                links: 1,
                size: bytes.len() as u64,
                mtime_s: 1,
                data: at as u64,
                ..InodeRecord::default()
            };
            table.extend_from_slice(&record.encode());
            data.extend_from_slice(&bytes);
            data.resize(data.len().next_multiple_of(BLOCK), 0);
        }
        table.resize(table_blocks * BLOCK, 0);
        let superblock = Superblock { inodes: self.nodes.len() as u32, inode_table: BLOCK as u64 };
        let mut bytes = superblock.encode().to_vec();
        bytes.extend_from_slice(&table);
        bytes.extend_from_slice(&data);
        Image::seal(bytes)
    }

    fn data(&self, node: &Node) -> Vec<u8> {
        match node {
            Node::File(bytes) => bytes.clone(),
            Node::Symlink(target) => target.as_bytes().to_vec(),
            Node::Directory(entries) => {
                let mut bytes = Vec::new();
                for (name, number) in entries {
                    let kind = kind(&self.nodes[*number as usize - 1].1) >> 12;
                    bytes.extend_from_slice(&number.to_le_bytes());
                    bytes.extend_from_slice(&[kind as u8, name.len() as u8]);
                    bytes.extend_from_slice(name.as_bytes());
                }
                bytes
            }
        }
    }
}

fn kind(node: &Node) -> u32 {
    match node {
        Node::Directory(_) => DIRECTORY,
        Node::File(_) => REGULAR,
        Node::Symlink(_) => SYMLINK,
    }
}

impl Image {
    /// Puts a hash tree over data blocks, whatever is in them.
    ///
    /// # Panics
    ///
    /// When `bytes` is not a number of whole blocks, or none.
    pub fn seal(mut bytes: Vec<u8>) -> Self {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        assert!(rest.is_empty(), "an image has whole blocks");
        let count = blocks.len() as u64;
        let geometry = Geometry::new(count).expect("the image has a possible size");
        let mut digests: Vec<Digest> =
            (0..).zip(blocks).map(|(index, block)| leaf_digest(index, block)).collect();
        for level in 0..geometry.levels() {
            let mut above = Vec::new();
            for (index, children) in (0..).zip(digests.chunks(FANOUT as usize)) {
                let mut node = [0; BLOCK];
                let filled = children.iter().flatten();
                node.iter_mut().zip(filled).for_each(|(to, from)| *to = *from);
                above.push(node_digest(level as u8, index, &node));
                bytes.extend_from_slice(&node);
            }
            digests = above;
        }
        Self { bytes, blocks: count, root_digest: root_digest(count, &digests[0]) }
    }
}
