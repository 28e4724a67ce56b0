// SPDX-License-Identifier: MIT
//! Open files of a generated tree.

use super::What;
use super::node::Node;
use crate::fs::{Attributes, File, Inode, OpenFile};
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use crate::user::{Sink, Source};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use spin::Mutex;
use strongroom_abi::Errno;

/// Most bytes written to a setting at once.
const WRITE_MAX: usize = 4096;

/// A file whose text is made at the first read and again whenever it is read from its start.
pub(super) struct TextFile {
    node: Arc<Node>,
    text: Mutex<Option<Vec<u8>>>,
}

impl TextFile {
    pub(super) const fn new(node: Arc<Node>) -> Self {
        Self { node, text: Mutex::new(None) }
    }

    fn make(&self, by: &Thread) -> SysResult<Vec<u8>> {
        match &self.node.entry.what {
            What::Text(make) | What::Setting(make, _) => make(&self.node.view(by)),
            What::Constant(text) => Ok(text.as_bytes().to_vec()),
            What::Directory(..) => Err(Errno::EISDIR.into()),
            What::Link(_) => Err(Errno::EINVAL.into()),
        }
    }
}

impl File for TextFile {
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
        let kept = if offset == 0 { None } else { self.text.lock().take() };
        let text = match kept {
            Some(text) => text,
            None => self.make(call.thread)?,
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let outcome = to.put(text.get(from..).unwrap_or_default());
        *self.text.lock() = Some(text);
        Ok(outcome?)
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        _open: &OpenFile,
        _offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        let What::Setting(_, store) = &self.node.entry.what else {
            return Err(Errno::EACCES.into());
        };
        let bytes = from.take_vec(WRITE_MAX)?;
        store(&self.node.view(call.thread), bytes.trim_ascii_end())?;
        Ok(bytes.len())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn attributes(&self, by: &Thread) -> SysResult<Attributes> {
        self.node.attributes(by)
    }

    fn label(&self) -> String {
        String::from("/proc (deleted)")
    }
}
