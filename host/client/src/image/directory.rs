// SPDX-License-Identifier: MIT
//! Reads a directory of the host as a [`Tree`].

use super::ImageError;
use super::tree::{
    Attributes, Body, Content, Node, NodeId, ROOT, TYPE_DIRECTORY, TYPE_MASK, TYPE_REGULAR,
    TYPE_SOCKET, TYPE_SYMLINK, Tree,
};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Reads names and attributes of everything below `root`.
pub(super) fn read(root: &Path) -> Result<Tree, ImageError> {
    let metadata = fs::metadata(root).map_err(ImageError::io("read", root))?;
    let mut walk = Walk {
        tree: Tree::new(attributes(root, &metadata)?),
        device: metadata.dev(),
        linked: HashMap::new(),
        directories: vec![(root.to_path_buf(), ROOT)],
    };
    while let Some((path, id)) = walk.directories.pop() {
        walk.directory(&path, id)?;
    }
    Ok(walk.tree)
}

struct Walk {
    tree: Tree,
    /// The file system that the walk stays on.
    device: u64,
    /// Files with several names, by their host inode.
    linked: HashMap<u64, NodeId>,
    /// Directories to be read.
    directories: Vec<(PathBuf, NodeId)>,
}

impl Walk {
    fn directory(&mut self, path: &Path, id: NodeId) -> Result<(), ImageError> {
        for entry in fs::read_dir(path).map_err(ImageError::io("list", path))? {
            let entry = entry.map_err(ImageError::io("list", path))?;
            let child = entry.path();
            let metadata = entry.metadata().map_err(ImageError::io("read", &child))?;
            if let Some(node) = self.entry(&child, &metadata)? {
                self.tree.link(id, &entry.file_name().into_vec(), node);
            }
        }
        Ok(())
    }

    /// The node of one entry; `None` for what an image does not hold.
    fn entry(&mut self, path: &Path, metadata: &Metadata) -> Result<Option<NodeId>, ImageError> {
        let kind = metadata.mode() & TYPE_MASK;
        if kind == TYPE_SOCKET {
            return Ok(None);
        }
        let shared = kind != TYPE_DIRECTORY && metadata.nlink() > 1;
        let known = if shared { self.linked.get(&metadata.ino()).copied() } else { None };
        if known.is_some() {
            return Ok(known);
        }
        let body = match kind {
            TYPE_DIRECTORY => Body::Directory(BTreeMap::new()),
            TYPE_REGULAR => {
                Body::Regular { size: metadata.size(), content: Content::Path(path.to_path_buf()) }
            }
            TYPE_SYMLINK => {
                let target = fs::read_link(path).map_err(ImageError::io("read", path))?;
                Body::Symlink(target.into_os_string().into_vec())
            }
            _ => Body::Special,
        };
        let id = self.tree.add(Node { attributes: attributes(path, metadata)?, body });
        if shared {
            self.linked.insert(metadata.ino(), id);
        }
        if kind == TYPE_DIRECTORY && metadata.dev() == self.device {
            self.directories.push((path.to_path_buf(), id));
        }
        Ok(Some(id))
    }
}

fn attributes(path: &Path, metadata: &Metadata) -> Result<Attributes, ImageError> {
    let device = u32::try_from(metadata.rdev()).map_err(|_| ImageError::Entry {
        path: path.to_path_buf(),
        entry: path.display().to_string(),
        reason: "has a device number over 32 bits",
    })?;
    Ok(Attributes {
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime_s: metadata.mtime(),
        mtime_ns: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
        device,
    })
}
