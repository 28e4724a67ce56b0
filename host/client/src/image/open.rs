// SPDX-License-Identifier: MIT
//! Existing image files.

use super::{Cache, ImageError, Ownership, SourceKind, source_kind};
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use strongroom_wire::image::{
    BLOCK, BLOCKS_MAX, Digest, Geometry, Superblock, child_digest, leaf_digest, node_digest,
    root_digest,
};

/// A root image that is open for reading.
#[derive(Debug)]
pub struct Image {
    file: File,
    path: PathBuf,
    /// Where in the file the image begins.
    start: u64,
    geometry: Geometry,
    root_digest: Digest,
}

impl Image {
    /// Opens an image file. Only its first block and top node are looked at; the enclave verifies
    /// every block that it uses against the root digest.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotAnImage`] for other files and cut ones.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let file = File::open(path).map_err(ImageError::io("open", path))?;
        Self::from_file(file, path)
    }

    /// Opens whatever `source` is: an image as it is, a directory or tar archive by building its
    /// image in the user's cache, unless an image of just that state is there.
    ///
    /// # Errors
    ///
    /// [`ImageError`] of building or opening.
    pub fn for_source(source: &Path, ownership: Ownership) -> Result<Self, ImageError> {
        match source_kind(source)? {
            SourceKind::Image => Self::open(source),
            SourceKind::Directory | SourceKind::Archive => {
                Cache::of_user()?.image(source, ownership)
            }
        }
    }

    pub(super) fn from_file(file: File, path: &Path) -> Result<Self, ImageError> {
        let bytes = file.metadata().map_err(ImageError::io("read", path))?.len();
        Self::within(file, path, 0..bytes)
    }

    /// An image that is part of a file.
    pub(crate) fn within(file: File, path: &Path, part: Range<u64>) -> Result<Self, ImageError> {
        let refuse = |reason| ImageError::NotAnImage { path: path.to_path_buf(), reason };
        let start = part.start;
        let geometry = geometry_of(part.end.saturating_sub(start))
            .ok_or_else(|| refuse("no image has this number of bytes"))?;
        let read = |block| read_block(&file, start, block).map_err(ImageError::io("read", path));
        Superblock::decode(&read(0)?).map_err(|_| refuse("its first block is not an image's"))?;
        let level = geometry.levels().saturating_sub(1);
        let top = geometry.node_at(level, 0).ok_or_else(|| refuse("it has no top node"))?;
        let digest = node_digest(level as u8, 0, &read(top)?);
        let root_digest = root_digest(geometry.blocks(), &digest);
        Ok(Self { file, path: path.to_path_buf(), start, geometry, root_digest })
    }

    /// The bytes of the image, tree included, from its first block on.
    pub(crate) fn bytes(&self) -> io::Result<impl Read> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(self.start))?;
        Ok(file.take(self.file_len()))
    }

    /// How many bytes that are.
    pub(crate) fn file_len(&self) -> u64 {
        self.geometry.file_blocks().saturating_mul(BLOCK as u64)
    }

    /// The digest that the launch measures.
    pub const fn root_digest(&self) -> &Digest {
        &self.root_digest
    }

    /// Data blocks of 4 KiB.
    pub const fn blocks(&self) -> u64 {
        self.geometry.blocks()
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buffer` with blocks of the file, data or nodes, from block `first` on.
    ///
    /// # Errors
    ///
    /// The system's, or [`io::ErrorKind::UnexpectedEof`] behind the end.
    pub fn read_blocks(&self, first: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = first.checked_mul(BLOCK as u64).filter(|offset| {
            // What lies behind an image that is part of a file is none of its blocks.
            offset.saturating_add(buffer.len() as u64) <= self.file_len()
        });
        let offset = offset.and_then(|offset| offset.checked_add(self.start));
        let offset = offset.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file.read_exact_at(buffer, offset)
    }

    /// Checks every block against the hash tree, from the top down.
    ///
    /// # Errors
    ///
    /// [`ImageError::Damaged`] names the first block that does not match.
    pub fn verify(&self) -> Result<(), ImageError> {
        for level in (0..self.geometry.levels()).rev() {
            for index in 0..self.geometry.nodes(level) {
                self.verify_children(level, index)?;
            }
        }
        Ok(())
    }

    /// Checks the children of a node. The top node itself stands for the root digest.
    fn verify_children(&self, level: usize, index: u64) -> Result<(), ImageError> {
        let read = |block| {
            read_block(&self.file, self.start, block).map_err(ImageError::io("read", &self.path))
        };
        let damaged = |block| ImageError::Damaged { path: self.path.clone(), block };
        let at = self.geometry.node_at(level, index).unwrap_or(0);
        let node = read(at)?;
        let below = level.checked_sub(1);
        let count = below.map_or(self.geometry.blocks(), |below| self.geometry.nodes(below));
        let first = index * strongroom_wire::image::FANOUT;
        let last = count.min(first + strongroom_wire::image::FANOUT);
        for child in first..last {
            let block = match below {
                Some(below) => self.geometry.node_at(below, child).unwrap_or(0),
                None => child,
            };
            let bytes = read(block)?;
            let digest = match below {
                Some(below) => node_digest(below as u8, child, &bytes),
                None => leaf_digest(child, &bytes),
            };
            if child_digest(&node, child) != Some(digest) {
                return Err(damaged(block));
            }
        }
        let used = (last - first) as usize * strongroom_wire::image::DIGEST;
        let unused = node.get(used..).unwrap_or_default();
        if unused.iter().any(|byte| *byte != 0) { Err(damaged(at)) } else { Ok(()) }
    }
}

fn read_block(file: &File, start: u64, block: u64) -> io::Result<[u8; BLOCK]> {
    let mut bytes = [0; BLOCK];
    file.read_exact_at(&mut bytes, start + block * BLOCK as u64)?;
    Ok(bytes)
}

/// The tree whose file has that many bytes. File sizes grow with the number of blocks, so a
/// search finds the only candidate.
fn geometry_of(bytes: u64) -> Option<Geometry> {
    if !bytes.is_multiple_of(BLOCK as u64) {
        return None;
    }
    let file_blocks = bytes / BLOCK as u64;
    let (mut low, mut high) = (1, BLOCKS_MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if Geometry::new(middle).ok()?.file_blocks() < file_blocks {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Geometry::new(low).ok().filter(|geometry| geometry.file_blocks() == file_blocks)
}
