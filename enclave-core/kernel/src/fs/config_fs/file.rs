// SPDX-License-Identifier: MIT
//! Open files of items.

use super::Node;
use super::report::{Attribute, IN_BLOB_MAX, Report};
use crate::fs::{Attributes, File, Inode as _, OpenFile};
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use crate::user::{Sink, Source};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use spin::Mutex;
use strongroom_abi::Errno;

/// Most bytes of a text that is written (`SIMPLE_ATTR_SIZE`).
const TEXT_MAX: usize = 4096;

/// A file that is read: its contents are those of its first read, also where they changed since.
pub(super) struct ReadFile {
    pub(super) node: Arc<Node>,
    pub(super) report: Arc<Report>,
    pub(super) attribute: Attribute,
    pub(super) contents: Mutex<Option<Vec<u8>>>,
}

/// A text that is written: each write is a value of its own.
pub(super) struct TextFile {
    pub(super) node: Arc<Node>,
    pub(super) report: Arc<Report>,
    pub(super) attribute: Attribute,
}

/// A blob that is written: it counts when the file is closed.
pub(super) struct BlobFile {
    pub(super) node: Arc<Node>,
    pub(super) report: Arc<Report>,
    pub(super) attribute: Attribute,
    pub(super) contents: Mutex<Vec<u8>>,
}

macro_rules! file {
    ($name:ident, { $($method:item)* }) => {
        impl File for $name {
            fn as_any(&self) -> &dyn Any {
                self
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
                String::from(self.attribute.name())
            }
            $($method)*
        }
    };
}

file!(ReadFile, {
    fn read(&self, _: &mut Call<'_>, _: &OpenFile, offset: u64, to: &mut Sink<'_>) -> SysResult {
        let mut kept = self.contents.lock();
        if kept.is_none() {
            *kept = Some(self.report.read(self.attribute)?);
        }
        let contents = kept.as_deref().unwrap_or_default();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(to.put(contents.get(from..).unwrap_or_default())?)
    }
});

file!(TextFile, {
    fn write(&self, _: &mut Call<'_>, _: &OpenFile, _: u64, from: &mut Source<'_>) -> SysResult {
        let text = from.take_vec(TEXT_MAX)?;
        if !text.is_empty() {
            self.report.write(self.attribute, &text)?;
        }
        Ok(text.len())
    }
});

file!(BlobFile, {
    fn write(
        &self,
        _: &mut Call<'_>,
        _: &OpenFile,
        offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        let start = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        let end = start.checked_add(from.left()).ok_or(Errno::EFBIG)?;
        if end > IN_BLOB_MAX {
            return Err(Errno::EFBIG.into());
        }
        let bytes = from.take_vec(IN_BLOB_MAX)?;
        let mut contents = self.contents.lock();
        let length = contents.len().max(end);
        contents.resize(length, 0);
        contents.iter_mut().skip(start).zip(&bytes).for_each(|(to, from)| *to = *from);
        Ok(bytes.len())
    }
});

impl Drop for BlobFile {
    /// Nobody is left to hear of an error, as on Linux.
    fn drop(&mut self) {
        let contents = self.contents.get_mut();
        if !contents.is_empty() {
            let _nobody_hears = self.report.write(self.attribute, contents);
        }
    }
}
