// SPDX-License-Identifier: MIT
//! Decides where everything lies in an image, and writes it in that order.
//!
//! Superblock, inode table, then directories and link targets packed together, then the regular
//! files, each from a block boundary on. Inodes are numbered depth first by sorted name, so files
//! that lie together in the tree lie together in the image.

use super::tree::{
    Body, Content, Node, NodeId, ROOT, TYPE_BLOCK, TYPE_CHARACTER, TYPE_DIRECTORY, TYPE_FIFO,
    TYPE_MASK, TYPE_REGULAR, TYPE_SYMLINK, Tree,
};
use super::writer::ImageWriter;
use super::{Built, ImageError};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use strongroom_wire::image::{
    BLOCK, Geometry, INODE_RECORD, INODES_MAX, InodeRecord, NAME_MAX, Superblock,
};

const BLOCK_BYTES: u64 = BLOCK as u64;
const COPY_BYTES: usize = 256 * 1024;

/// Writes the image of `tree` into `file`.
pub(super) fn write(
    tree: &Tree,
    source: &Path,
    file: &mut File,
    output: &Path,
) -> Result<Built, ImageError> {
    let plan = Plan::new(tree, source)?;
    let geometry = Geometry::new(plan.blocks).map_err(|_| too_large(source, "blocks"))?;
    let mut writer = ImageWriter::new(file, geometry, output);
    writer.put(&plan.superblock().encode())?;
    for inode in &plan.inodes {
        writer.put(&inode.record.encode())?;
    }
    writer.pad()?;
    for data in plan.inodes.iter().filter_map(|inode| inode.packed.as_ref()) {
        writer.put(data)?;
    }
    writer.pad()?;
    for inode in &plan.inodes {
        if let Some(Node { body: Body::Regular { size, content }, .. }) = tree.node(inode.node) {
            copy(tree, source, content, *size, &mut writer)?;
            writer.pad()?;
        }
    }
    let root_digest = writer.finish()?;
    Ok(Built { root_digest, blocks: plan.blocks, inodes: plan.superblock().inodes })
}

struct Planned {
    node: NodeId,
    record: InodeRecord,
    /// Directory entries or link target.
    packed: Option<Vec<u8>>,
}

struct Plan {
    inodes: Vec<Planned>,
    blocks: u64,
}

impl Plan {
    fn new(tree: &Tree, source: &Path) -> Result<Self, ImageError> {
        let (order, numbers) = number(tree);
        if order.len() > INODES_MAX as usize {
            return Err(too_large(source, "files"));
        }
        let links = count_links(tree, &order);
        let mut inodes = Vec::with_capacity(order.len());
        for node in order {
            let links = links.get(node).copied().unwrap_or(0);
            inodes.extend(plan_inode(tree, source, node, links, &numbers)?);
        }
        let table_bytes = (inodes.len() * INODE_RECORD) as u64;
        let mut offset = BLOCK_BYTES + table_bytes.next_multiple_of(BLOCK_BYTES);
        for inode in &mut inodes {
            if inode.packed.is_some() {
                inode.record.data = offset;
                offset = grow(offset, inode.record.size, source)?;
            }
        }
        for inode in &mut inodes {
            offset = offset.next_multiple_of(BLOCK_BYTES);
            if inode.record.mode & TYPE_MASK == TYPE_REGULAR {
                inode.record.data = offset;
                offset = grow(offset, inode.record.size, source)?;
            }
        }
        Ok(Self { inodes, blocks: offset.div_ceil(BLOCK_BYTES) })
    }

    fn superblock(&self) -> Superblock {
        Superblock { inodes: self.inodes.len() as u32, inode_table: BLOCK_BYTES }
    }
}

fn grow(offset: u64, size: u64, source: &Path) -> Result<u64, ImageError> {
    // Far over what an image may hold, and far under where rounding up to a block overflows.
    const END_MAX: u64 = 1 << 60;
    offset.checked_add(size).filter(|end| *end < END_MAX).ok_or_else(|| too_large(source, "bytes"))
}

fn too_large(source: &Path, what: &'static str) -> ImageError {
    ImageError::TooLarge { path: source.to_path_buf(), what }
}

/// The nodes that names lead to in the order of their inode numbers, and the number of each node.
fn number(tree: &Tree) -> (Vec<NodeId>, Vec<u32>) {
    let mut order = Vec::new();
    let mut numbers = vec![0; tree.len()];
    let mut waiting = vec![ROOT];
    while let Some(node) = waiting.pop() {
        let Some(number @ 0) = numbers.get_mut(node) else { continue };
        order.push(node);
        *number = order.len() as u32;
        if let Some(entries) = tree.entries(node) {
            waiting.extend(entries.values().rev());
        }
    }
    (order, numbers)
}

/// Link counts as Linux has them: names, and for directories also `.` and the children's `..`.
fn count_links(tree: &Tree, order: &[NodeId]) -> Vec<u32> {
    let mut links: Vec<u32> = vec![0; tree.len()];
    let mut add = |node: NodeId| {
        if let Some(count) = links.get_mut(node) {
            *count += 1;
        }
    };
    add(ROOT);
    for node in order {
        let Some(entries) = tree.entries(*node) else { continue };
        add(*node);
        for child in entries.values() {
            add(*child);
            if tree.entries(*child).is_some() {
                add(*node);
            }
        }
    }
    links
}

fn plan_inode(
    tree: &Tree,
    source: &Path,
    id: NodeId,
    links: u32,
    numbers: &[u32],
) -> Result<Option<Planned>, ImageError> {
    let Some(node) = tree.node(id) else { return Ok(None) };
    let packed = match &node.body {
        Body::Directory(_) => Some(directory_data(tree, source, id, numbers)?),
        Body::Symlink(target) => Some(target.clone()),
        Body::Regular { .. } | Body::Special => None,
    };
    let size = match (&node.body, &packed) {
        (Body::Regular { size, .. }, _) => *size,
        (Body::Directory(_) | Body::Symlink(_) | Body::Special, Some(data)) => data.len() as u64,
        (Body::Directory(_) | Body::Symlink(_) | Body::Special, None) => 0,
    };
    let attributes = node.attributes;
    let record = InodeRecord {
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        links,
        size,
        mtime_s: attributes.mtime_s,
        mtime_ns: attributes.mtime_ns,
        device: attributes.device,
        data: 0,
    };
    Ok(Some(Planned { node: id, record, packed }))
}

fn directory_data(
    tree: &Tree,
    source: &Path,
    id: NodeId,
    numbers: &[u32],
) -> Result<Vec<u8>, ImageError> {
    let mut data = Vec::new();
    for (name, child) in tree.entries(id).into_iter().flatten() {
        let refuse = |reason| ImageError::Entry {
            path: source.to_path_buf(),
            entry: String::from_utf8_lossy(name).into_owned(),
            reason,
        };
        let name_len = u8::try_from(name.len())
            .ok()
            .filter(|length| usize::from(*length) <= NAME_MAX)
            .ok_or_else(|| refuse("has a name over 255 bytes"))?;
        let mode = tree.node(*child).map_or(0, |node| node.attributes.mode);
        let kind = directory_kind(mode).ok_or_else(|| refuse("has an unknown file type"))?;
        let number = numbers.get(*child).copied().unwrap_or(0);
        data.extend_from_slice(&number.to_le_bytes());
        data.extend_from_slice(&[kind, name_len]);
        data.extend_from_slice(name);
    }
    Ok(data)
}

/// `d_type` of a mode.
fn directory_kind(mode: u32) -> Option<u8> {
    match mode & TYPE_MASK {
        TYPE_FIFO => Some(1),
        TYPE_CHARACTER => Some(2),
        TYPE_DIRECTORY => Some(4),
        TYPE_BLOCK => Some(6),
        TYPE_REGULAR => Some(8),
        TYPE_SYMLINK => Some(10),
        _ => None,
    }
}

/// Copies the contents of a file, which have to be exactly `size` bytes.
fn copy(
    tree: &Tree,
    source: &Path,
    content: &Content,
    size: u64,
    writer: &mut ImageWriter<'_>,
) -> Result<(), ImageError> {
    match content {
        Content::Path(path) => {
            let mut file = File::open(path).map_err(ImageError::io("open", path))?;
            let metadata = file.metadata().map_err(ImageError::io("read", path))?;
            if metadata.len() != size {
                return Err(ImageError::Changed(path.clone()));
            }
            stream(&mut file, size, path, writer)
        }
        Content::Archive(offset) => range(tree.archive.as_ref(), *offset, size, source, writer),
        Content::Spool(offset) => range(tree.spool.as_ref(), *offset, size, source, writer),
    }
}

fn range(
    file: Option<&File>,
    offset: u64,
    size: u64,
    source: &Path,
    writer: &mut ImageWriter<'_>,
) -> Result<(), ImageError> {
    let file = file.ok_or_else(|| ImageError::Changed(source.to_path_buf()))?;
    stream(&mut Range { file, offset }, size, source, writer)
}

/// Reads a file from an offset on, without moving its position.
struct Range<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

fn stream(
    reader: &mut impl Read,
    size: u64,
    path: &Path,
    writer: &mut ImageWriter<'_>,
) -> Result<(), ImageError> {
    let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(size).unwrap_or(COPY_BYTES))];
    let mut left = size;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = buffer.get_mut(..most).unwrap_or_default();
        let count = match reader.read(part) {
            Ok(0) => return Err(ImageError::Changed(path.to_path_buf())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ImageError::io("read", path)(error)),
        };
        writer.put(part.get(..count).unwrap_or_default())?;
        left -= count as u64;
    }
    Ok(())
}
