// SPDX-License-Identifier: MIT
//! Writes blocks in order and builds the hash tree above them on the way.

use super::ImageError;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use strongroom_wire::image::{
    BLOCK, DIGEST, Digest, FANOUT, Geometry, leaf_digest, node_digest, root_digest,
};

/// Bytes gathered before they are hashed and written.
const BATCH: usize = 64 * BLOCK;

/// A node that is being filled.
struct OpenNode {
    index: u64,
    bytes: Vec<u8>,
}

/// Takes the data of an image from its first byte to its last; nodes go to their places as they
/// are filled, so that one node a level is all that is held.
pub(super) struct ImageWriter<'a> {
    file: &'a mut File,
    output: &'a Path,
    geometry: Geometry,
    batch: Vec<u8>,
    /// Data blocks written.
    written: u64,
    levels: Vec<OpenNode>,
    top: Option<Digest>,
}

impl<'a> ImageWriter<'a> {
    pub(super) fn new(file: &'a mut File, geometry: Geometry, output: &'a Path) -> Self {
        let levels = (0..geometry.levels())
            .map(|_| OpenNode { index: 0, bytes: Vec::with_capacity(BLOCK) })
            .collect();
        let batch = Vec::with_capacity(BATCH);
        Self { file, output, geometry, batch, written: 0, levels, top: None }
    }

    /// Appends data.
    pub(super) fn put(&mut self, mut data: &[u8]) -> Result<(), ImageError> {
        while !data.is_empty() {
            let room = BATCH - self.batch.len();
            let (now, later) = data.split_at(room.min(data.len()));
            self.batch.extend_from_slice(now);
            data = later;
            if self.batch.len() == BATCH {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Appends zeros up to the next block boundary.
    pub(super) fn pad(&mut self) -> Result<(), ImageError> {
        self.batch.resize(self.batch.len().next_multiple_of(BLOCK), 0);
        if self.batch.len() == BATCH { self.flush() } else { Ok(()) }
    }

    /// Closes all nodes; the root digest.
    pub(super) fn finish(mut self) -> Result<Digest, ImageError> {
        self.pad()?;
        self.flush()?;
        for level in 0..self.levels.len() {
            if self.levels.get(level).is_some_and(|node| !node.bytes.is_empty()) {
                self.close(level)?;
            }
        }
        let complete = self.written == self.geometry.blocks();
        match self.top {
            Some(top) if complete => Ok(root_digest(self.written, &top)),
            // The plan and what was written differ: a defect here, and no image comes of it.
            Some(_) | None => Err(ImageError::NotAnImage {
                path: self.output.to_path_buf(),
                reason: "the builder wrote another number of blocks than it planned",
            }),
        }
    }

    fn flush(&mut self) -> Result<(), ImageError> {
        let batch = std::mem::take(&mut self.batch);
        self.file
            .write_all_at(&batch, self.written * BLOCK as u64)
            .map_err(ImageError::io("write", self.output))?;
        let (blocks, _) = batch.as_chunks::<BLOCK>();
        for block in blocks {
            let digest = leaf_digest(self.written, block);
            self.written += 1;
            self.add(0, &digest)?;
        }
        self.batch = batch;
        self.batch.clear();
        Ok(())
    }

    /// Adds a child's digest to the open node of a level.
    fn add(&mut self, level: usize, digest: &Digest) -> Result<(), ImageError> {
        let Some(node) = self.levels.get_mut(level) else {
            self.top = Some(*digest);
            return Ok(());
        };
        node.bytes.extend_from_slice(digest);
        if node.bytes.len() == FANOUT as usize * DIGEST { self.close(level) } else { Ok(()) }
    }

    /// Writes the open node of a level and tells the level above.
    fn close(&mut self, level: usize) -> Result<(), ImageError> {
        let Some(node) = self.levels.get_mut(level) else { return Ok(()) };
        let mut block = [0; BLOCK];
        block.iter_mut().zip(&node.bytes).for_each(|(to, from)| *to = *from);
        let index = node.index;
        node.index += 1;
        node.bytes.clear();
        let digest = node_digest(level as u8, index, &block);
        // A node beyond the plan has no place; `finish` reports it.
        if let Some(at) = self.geometry.node_at(level, index) {
            self.file
                .write_all_at(&block, at * BLOCK as u64)
                .map_err(ImageError::io("write", self.output))?;
        }
        self.add(level + 1, &digest)
    }
}
