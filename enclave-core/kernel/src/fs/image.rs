// SPDX-License-Identifier: MIT
//! The measured root image: blocks that come from the host when needed, and are verified against
//! the measured root digest before anything else sees them.
//!
//! Data blocks land in page-cache frames of whoever asked. Tree nodes stay in a cache of their
//! own: 4 KiB of digests answer for 512 KiB of image.

use crate::host::Ticket;
use crate::kernel::Kernel;
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::sync::WaitQueue;
use crate::task::Thread;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_wire::Malformed;
use strongroom_wire::image::{
    BLOCK, Digest, Geometry, INODE_RECORD, InodeRecord, Superblock, child_digest, leaf_digest,
    node_digest, root_digest,
};
use strongroom_wire::message::{Answer, Ask};

/// Blocks fetched at once when a file is read from the host.
pub(crate) const READ_AHEAD: u64 = 8;
/// Metadata blocks kept: inode table and directories.
const METADATA_MAX: usize = 256;
/// Blocks remembered as refused.
const REFUSED_MAX: usize = 4096;
/// Longest symbolic link or directory of an image, in bytes.
const METADATA_BYTES_MAX: u64 = 64 << 20;

type Block = [u8; BLOCK];

struct Fetch {
    ticket: Ticket,
    first: u64,
    count: u64,
    arrived: Arc<WaitQueue>,
}

#[derive(Default)]
struct State {
    /// Verified nodes by level and index.
    nodes: BTreeMap<(usize, u64), Box<Block>>,
    /// Blocks that came with others and wait to be asked for, not verified yet.
    early: BTreeMap<u64, Box<Block>>,
    /// Verified metadata blocks.
    metadata: BTreeMap<u64, Box<Block>>,
    fetches: Vec<Fetch>,
    superblock: Option<Superblock>,
    /// What the host has lied about once is not asked for again: a call that is attempted anew
    /// meets the same answer.
    refused: BTreeSet<u64>,
}

/// See the module's text.
pub(crate) struct Image {
    kernel: &'static Kernel,
    geometry: Geometry,
    root: Digest,
    state: Mutex<State>,
}

impl Image {
    /// An image of which only the measured facts are known.
    pub(crate) fn new(
        kernel: &'static Kernel,
        root: Digest,
        blocks: u64,
    ) -> Result<Self, Malformed> {
        let geometry = Geometry::new(blocks)?;
        Ok(Self { kernel, geometry, root, state: Mutex::new(State::default()) })
    }

    /// An inode's record.
    pub(crate) fn inode(&self, by: &Thread, number: u32) -> SysResult<InodeRecord> {
        let superblock = self.superblock(by)?;
        if number == 0 || number > superblock.inodes {
            return Err(self.damaged("an inode number is out of range"));
        }
        let offset = u64::from(number - 1) * INODE_RECORD as u64;
        let at = superblock.inode_table.checked_add(offset).ok_or(Errno::EIO)?;
        let mut record = [0; INODE_RECORD];
        self.read_metadata(by, at, &mut record)?;
        Ok(InodeRecord::decode(&record))
    }

    /// Data of a directory or symbolic link.
    pub(crate) fn small_data(&self, by: &Thread, record: &InodeRecord) -> SysResult<Vec<u8>> {
        if record.size > METADATA_BYTES_MAX {
            return Err(self.damaged("a directory is too large"));
        }
        let mut data = alloc::vec![0; record.size as usize];
        self.read_metadata(by, record.data, &mut data)?;
        Ok(data)
    }

    /// A block of file data, into a buffer. Fetches up to `ahead` blocks with it.
    pub(crate) fn block(&self, by: &Thread, index: u64, ahead: u64) -> SysResult<Box<Block>> {
        if index >= self.geometry.blocks() {
            return Err(self.damaged("a file lies outside the image"));
        }
        let mut state = self.state.lock();
        let block = self.raw(&mut state, by, index, ahead).inspect_err(|_| {
            self.fetch_path(&mut state, by, index);
        })?;
        let expected = match self.expected(&mut state, by, index) {
            Ok(expected) => expected,
            Err(stop) => {
                state.early.insert(index, block);
                return Err(stop);
            }
        };
        if leaf_digest(index, &block) != expected {
            return Err(self.refused(&mut state, "data block", index));
        }
        Ok(block)
    }

    fn superblock(&self, by: &Thread) -> SysResult<Superblock> {
        if let Some(superblock) = self.state.lock().superblock {
            return Ok(superblock);
        }
        // The inode table and the first directories come behind it.
        let block = self.block(by, 0, READ_AHEAD)?;
        let superblock = Superblock::decode(&block).map_err(|_| self.damaged("no superblock"))?;
        self.state.lock().superblock = Some(superblock);
        Ok(superblock)
    }

    fn read_metadata(&self, by: &Thread, mut at: u64, to: &mut [u8]) -> SysResult<()> {
        let mut rest = to;
        while !rest.is_empty() {
            let index = at / BLOCK as u64;
            let offset = (at % BLOCK as u64) as usize;
            let step = rest.len().min(BLOCK - offset);
            self.ensure_metadata(by, index)?;
            let state = self.state.lock();
            let block = state.metadata.get(&index).ok_or(Errno::EIO)?;
            let (head, tail) = rest.split_at_mut_checked(step).ok_or(Errno::EIO)?;
            head.copy_from_slice(block.get(offset..offset + step).ok_or(Errno::EIO)?);
            rest = tail;
            at = at.checked_add(step as u64).ok_or(Errno::EIO)?;
        }
        Ok(())
    }

    fn ensure_metadata(&self, by: &Thread, index: u64) -> SysResult<()> {
        if self.state.lock().metadata.contains_key(&index) {
            return Ok(());
        }
        let block = self.block(by, index, 2)?;
        let mut state = self.state.lock();
        if state.metadata.len() >= METADATA_MAX {
            state.metadata.pop_first();
        }
        state.metadata.insert(index, block);
        Ok(())
    }

    /// Asks for what a block will be compared with while the block itself is on its way: each answer
    /// that is waited for is a turn of the host's.
    fn fetch_path(&self, state: &mut State, by: &Thread, index: u64) {
        for level in 0..self.geometry.levels() {
            let node_index = index >> (7 * (level as u32 + 1));
            let known = state.nodes.contains_key(&(level, node_index));
            let at = self.geometry.node_at(level, node_index).filter(|_| !known);
            let Some(at) = at.filter(|at| !state.early.contains_key(at)) else { continue };
            // It is looked at when it is needed, and what is wrong with it said then.
            if let Ok(node) = self.raw(state, by, at, 1) {
                state.early.insert(at, node);
            }
        }
    }

    /// The digest that a data block has to have: a walk down the tree over verified nodes.
    fn expected(&self, state: &mut State, by: &Thread, index: u64) -> SysResult<Digest> {
        let top = self.geometry.levels() - 1;
        let mut expected = None;
        for level in (0..=top).rev() {
            let shift = 7 * (level as u32 + 1);
            let node_index = index >> shift;
            if !state.nodes.contains_key(&(level, node_index)) {
                let at = self.geometry.node_at(level, node_index).ok_or(Errno::EIO)?;
                let node = self.raw(state, by, at, 1)?;
                let digest = node_digest(level as u8, node_index, &node);
                let good = match expected {
                    None => root_digest(self.geometry.blocks(), &digest) == self.root,
                    Some(expected) => digest == expected,
                };
                if !good {
                    return Err(self.refused(state, "hash tree node", at));
                }
                state.nodes.insert((level, node_index), node);
            }
            let node = state.nodes.get(&(level, node_index)).ok_or(Errno::EIO)?;
            expected = child_digest(node, index >> (shift - 7));
        }
        expected.ok_or_else(|| Errno::EIO.into())
    }

    /// A block as the host gave it.
    fn raw(&self, state: &mut State, by: &Thread, index: u64, ahead: u64) -> SysResult<Box<Block>> {
        if state.refused.contains(&index) {
            return Err(Errno::EIO.into());
        }
        if let Some(block) = state.early.remove(&index) {
            return Ok(block);
        }
        self.collect(state)?;
        if let Some(block) = state.early.remove(&index) {
            return Ok(block);
        }
        let covers = |fetch: &&Fetch| (fetch.first..fetch.first + fetch.count).contains(&index);
        let arrived = if let Some(fetch) = state.fetches.iter().find(covers) {
            fetch.ticket.register(&by.waiter());
            Arc::clone(&fetch.arrived)
        } else {
            let last = self.geometry.file_blocks();
            let count = ahead.clamp(1, READ_AHEAD * 2).min(last - index);
            let ask = Ask::ImageRead { block: index, count: count as u32 };
            let ticket = self.kernel.host.ask(ask);
            ticket.register(&by.waiter());
            let arrived = Arc::new(WaitQueue::new(self.kernel.scheduler));
            let fetch = Fetch { ticket, first: index, count, arrived: Arc::clone(&arrived) };
            state.fetches.push(fetch);
            arrived
        };
        arrived.register(&by.waiter());
        Err(Stop::Sleep(Interrupt::Never))
    }

    /// Takes what has arrived.
    fn collect(&self, state: &mut State) -> SysResult<()> {
        let mut position = 0;
        while let Some(fetch) = state.fetches.get(position) {
            let Some(reply) = fetch.ticket.take() else {
                position += 1;
                continue;
            };
            let fetch = state.fetches.swap_remove(position);
            fetch.arrived.wake();
            let Ok(Answer::Data(data)) = reply.answer() else {
                return Err(self.refused(state, "reply for block", fetch.first));
            };
            let (blocks, rest) = data.as_chunks::<BLOCK>();
            if !rest.is_empty() || blocks.len() as u64 != fetch.count {
                return Err(self.refused(state, "length for block", fetch.first));
            }
            for (index, block) in (fetch.first..).zip(blocks) {
                state.early.insert(index, Box::new(*block));
            }
        }
        Ok(())
    }

    fn refused(&self, state: &mut State, what: &str, index: u64) -> Stop {
        let first = state.refused.is_empty();
        if state.refused.len() < REFUSED_MAX {
            state.refused.insert(index);
        }
        if first {
            self.kernel.report(format_args!(
                "image: wrong {what} {index}: not what was measured; reads of it fail with EIO"
            ));
        }
        Errno::EIO.into()
    }

    fn damaged(&self, what: &str) -> Stop {
        self.kernel.report(format_args!("image: {what}; the measured image itself is damaged"));
        Errno::EIO.into()
    }
}
