// SPDX-License-Identifier: MIT
//! An open node of the tree in memory, and its pages in mappings.

use super::{Contents, Node};
use crate::fs::{Attributes, File, Inode, InodeId, OpenFile, Pages, Ready, Whence};
use crate::outcome::SysResult;
use crate::sync::Waiter;
use crate::task::{Call, Thread};
use crate::user::{Sink, Source};
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use strongroom_abi::Errno;
use strongroom_south::Frame;

/// An open node.
pub(super) struct NodeFile {
    node: Arc<Node>,
}

impl NodeFile {
    /// Opens a node.
    pub(super) const fn of(node: Arc<Node>) -> Self {
        Self { node }
    }

    fn contents(&self) -> Result<&Contents, Errno> {
        self.node.contents().ok_or(Errno::EISDIR)
    }
}

impl File for NodeFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(
        &self,
        call: &mut Call<'_>,
        _open: &OpenFile,
        offset: u64,
        to: &mut Sink<'_>,
    ) -> SysResult {
        self.contents()?.read(call.thread, offset, to)
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        _open: &OpenFile,
        offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        let contents = self.contents()?;
        let end_max = self.node.sealing.end_of_writes(contents.size());
        let count = contents.write(call.thread, offset, from, end_max)?;
        if count > 0 {
            self.node.modified();
        }
        Ok(count)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self, _by: &Thread) -> SysResult<u64> {
        Ok(self.node.contents().map_or(0, Contents::size))
    }

    fn find(&self, _by: &Thread, offset: u64, whence: Whence) -> SysResult<u64> {
        Ok(self.contents()?.find(offset, whence)?)
    }

    fn poll(&self, _open: &OpenFile, _waiter: Option<&Waiter>) -> Ready {
        Ready::READ | Ready::WRITE
    }

    fn pollable(&self) -> bool {
        false
    }

    fn truncate(&self, by: &Thread, size: u64) -> SysResult<()> {
        self.node.truncate(by, size)
    }

    fn allocate(&self, by: &Thread, offset: u64, length: u64, keep: bool) -> SysResult<()> {
        let contents = self.contents()?;
        let end = offset.saturating_add(length);
        self.node.sealing.check_resize(contents.size(), end.max(contents.size()))?;
        contents.allocate(by, offset, length, keep)
    }

    fn punch(&self, by: &Thread, offset: u64, length: u64) -> SysResult<()> {
        self.node.sealing.check_write()?;
        self.contents()?.punch(by, offset, length)
    }

    fn sync(&self, _by: &Thread) -> SysResult<()> {
        Ok(())
    }

    fn pages(&self) -> Option<Arc<dyn Pages>> {
        Arc::clone(&self.node).pages()
    }

    fn attributes(&self, by: &Thread) -> SysResult<Attributes> {
        self.node.attributes(by)
    }

    fn label(&self) -> String {
        let label = self.node.label.lock();
        alloc::format!("{} (deleted)", if label.is_empty() { "/" } else { &**label })
    }
}

impl Pages for NodeFile {
    fn page(&self, by: &Thread, index: u64, _write: bool) -> SysResult<Frame> {
        self.contents()?.page(by, index)
    }

    fn mapped_writable(&self, more: bool) {
        self.node.sealing.mapped_writable(more);
    }

    fn refuses_writers(&self) -> bool {
        self.node.sealing.check_write().is_err()
    }

    fn id(&self) -> InodeId {
        self.node.id()
    }
}
