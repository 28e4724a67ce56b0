// SPDX-License-Identifier: MIT
//! What goes into an image: names and attributes, and where file contents are found.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

/// File type bits of `st_mode`.
pub(super) const TYPE_MASK: u32 = 0o170_000;
pub(super) const TYPE_DIRECTORY: u32 = 0o040_000;
pub(super) const TYPE_REGULAR: u32 = 0o100_000;
pub(super) const TYPE_SYMLINK: u32 = 0o120_000;
pub(super) const TYPE_CHARACTER: u32 = 0o020_000;
pub(super) const TYPE_BLOCK: u32 = 0o060_000;
pub(super) const TYPE_FIFO: u32 = 0o010_000;
pub(super) const TYPE_SOCKET: u32 = 0o140_000;

/// Index of a node in its [`Tree`].
pub(super) type NodeId = usize;
/// The root directory.
pub(super) const ROOT: NodeId = 0;

/// Attributes that an image stores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime_s: i64,
    pub(super) mtime_ns: u32,
    pub(super) device: u32,
}

/// Where the bytes of a regular file are.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A file of the host.
    Path(PathBuf),
    /// In [`Tree::archive`], from this byte on.
    Archive(u64),
    /// In [`Tree::spool`], from this byte on.
    Spool(u64),
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Body {
    /// Names, sorted by byte value.
    Directory(BTreeMap<Vec<u8>, NodeId>),
    /// A regular file.
    Regular { size: u64, content: Content },
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A device node or FIFO.
    Special,
}

/// A file of any type; hard links are several names for one node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) attributes: Attributes,
    pub(super) body: Body,
}

/// A whole file tree; node 0 is its root directory.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// The archive that contents lie in.
    pub(super) archive: Option<File>,
    /// Contents that could not be left where they were.
    pub(super) spool: Option<File>,
}

impl Tree {
    /// A tree of an empty root directory.
    pub(super) fn new(root: Attributes) -> Self {
        let root = Node { attributes: root, body: Body::Directory(BTreeMap::new()) };
        Self { nodes: vec![root], archive: None, spool: None }
    }

    /// A node, if there is one of that number.
    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// A node to be changed.
    pub(super) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    /// Number of nodes, those included that no name leads to any more.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a node that no name leads to yet.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The names in a directory; `None` when it is none.
    pub(super) fn entries(&self, directory: NodeId) -> Option<&BTreeMap<Vec<u8>, NodeId>> {
        match &self.node(directory)?.body {
            Body::Directory(entries) => Some(entries),
            Body::Regular { .. } | Body::Symlink(_) | Body::Special => None,
        }
    }

    /// Gives a node a name, instead of whatever had it. False when `directory` is none.
    pub(super) fn link(&mut self, directory: NodeId, name: &[u8], id: NodeId) -> bool {
        let Some(Node { body: Body::Directory(entries), .. }) = self.node_mut(directory) else {
            return false;
        };
        entries.insert(name.to_vec(), id);
        true
    }

    /// Makes user and group 0 the owner of everything.
    pub(super) fn own_by_root(&mut self) {
        for node in &mut self.nodes {
            node.attributes.uid = 0;
            node.attributes.gid = 0;
        }
    }
}
