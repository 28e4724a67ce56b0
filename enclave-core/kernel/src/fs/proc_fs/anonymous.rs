// SPDX-License-Identifier: MIT
//! What `/proc/self/fd/N` leads to when the open file has no name: a pipe, a socket, an eventfd.

use crate::fs::pipe::PipeEnd;
use crate::fs::{Attributes, File, Inode, InodeId, Kind, OpenFile, OpenFlags, Place};
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use strongroom_abi::Errno;

/// An open file in the shape of a node. It is in no directory.
struct Anonymous {
    open: Arc<OpenFile>,
    attributes: Attributes,
}

/// The place that stands for an open file without a name.
pub(super) fn place(by: &Thread, open: &Arc<OpenFile>) -> SysResult<Place> {
    let attributes = open.file.attributes(by)?;
    let inode = Arc::new(Anonymous { open: Arc::clone(open), attributes });
    Ok(Place { mount: by.process.fs().root().mount, inode, entry: None })
}

/// What `readlink(2)` shows for such a place: `pipe:[7]`. `None` for places with a path.
pub(crate) fn label_of(inode: &dyn Inode) -> Option<Vec<u8>> {
    let anonymous = inode.as_any().downcast_ref::<Anonymous>()?;
    Some(anonymous.open.file.label().into_bytes())
}

/// Opens such a place again, whatever its kind: `/dev/stdout` where that is a pipe. `None` for
/// every other place, which is opened by its kind.
pub(crate) fn reopened(place: &Place, flags: OpenFlags) -> Option<SysResult<Arc<dyn File>>> {
    let anonymous = place.inode.as_any().downcast_ref::<Anonymous>()?;
    Some(anonymous.file(flags).map_err(Into::into))
}

impl Anonymous {
    /// The same object behind a new open file; of a pipe, the end that is asked for.
    fn file(&self, flags: OpenFlags) -> Result<Arc<dyn File>, Errno> {
        if let Some(end) = self.open.file.as_any().downcast_ref::<PipeEnd>() {
            return Ok(end.another(flags.readable(), flags.writable()));
        }
        let had = self.open.flags();
        match self.attributes.kind {
            Kind::Fifo | Kind::CharacterDevice => {
                let reads = !flags.readable() || had.readable();
                let writes = !flags.writable() || had.writable();
                if !reads || !writes {
                    return Err(Errno::EACCES);
                }
            }
            Kind::Regular if self.open.file.seekable() => {}
            Kind::Regular | Kind::Directory | Kind::Symlink | Kind::BlockDevice | Kind::Socket => {
                return Err(Errno::ENXIO);
            }
        }
        Ok(Arc::clone(&self.open.file))
    }
}

impl Inode for Anonymous {
    fn id(&self) -> InodeId {
        self.attributes.id
    }

    fn kind(&self) -> Kind {
        self.attributes.kind
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attributes(&self, by: &Thread) -> SysResult<Attributes> {
        self.open.file.attributes(by)
    }

    fn open(
        self: Arc<Self>,
        _call: &mut Call<'_>,
        _place: &Place,
        flags: OpenFlags,
    ) -> SysResult<Arc<dyn File>> {
        Ok(self.file(flags)?)
    }
}
