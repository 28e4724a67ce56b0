// SPDX-License-Identifier: MIT
//! Open files of a granted directory, and their pages for private mappings.

use super::node::Node;
use super::questions::data;
use crate::fs::{Attributes, File, Inode, InodeId, Kind, OpenFile, Pages};
use crate::host::Ticket;
use crate::outcome::{Interrupt, Stop, SysResult};
use crate::task::{Call, Thread};
use crate::user::{Sink, Source};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_south::{Frame, PAGE_SIZE};
use strongroom_wire::frame::DATA_MAX;
use strongroom_wire::message::{Ask, FileAsk};

/// Bytes of one call; the answers are kept until it ends.
const BATCH_MAX: usize = 8 * DATA_MAX;

/// See the module's text.
pub(super) struct HostFile {
    node: Arc<Node>,
}

impl HostFile {
    pub(super) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    fn check_regular(&self) -> Result<(), Errno> {
        match self.node.kind() {
            Kind::Regular => Ok(()),
            Kind::Directory => Err(Errno::EISDIR),
            Kind::Symlink
            | Kind::CharacterDevice
            | Kind::BlockDevice
            | Kind::Fifo
            | Kind::Socket => Err(Errno::EINVAL),
        }
    }
}

/// What a transfer ends with that could not go on: its bytes so far, or the reason.
fn partial(done: usize, stop: Stop) -> SysResult {
    match stop {
        Stop::Errno(_) if done > 0 => Ok(done),
        Stop::Errno(_) | Stop::Page(_) | Stop::Sleep(_) | Stop::Turn | Stop::Context => Err(stop),
    }
}

impl File for HostFile {
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
        self.check_regular()?;
        let path = &*self.node.path();
        let mut done = 0;
        while to.room() > 0 && done < BATCH_MAX {
            let max = to.room().min(DATA_MAX) as u32;
            let at = offset.checked_add(done as u64).ok_or(Errno::EINVAL)?;
            let outcome =
                self.node.grant.read(call.thread, path, at, max, |bytes| Ok(to.put(bytes)?));
            match outcome {
                Ok(count) => done += count,
                Err(stop) => return partial(done, stop),
            }
            if !outcome.is_ok_and(|count| count == max as usize) {
                break;
            }
        }
        Ok(done)
    }

    fn write(
        &self,
        call: &mut Call<'_>,
        _open: &OpenFile,
        offset: u64,
        from: &mut Source<'_>,
    ) -> SysResult {
        self.check_regular()?;
        let path = &*self.node.path();
        let grant = self.node.grant_index();
        let mut done = 0;
        while from.left() > 0 && done < BATCH_MAX {
            let bytes = &*from.take_vec(DATA_MAX)?;
            let offset = offset.checked_add(done as u64).ok_or(Errno::EFBIG)?;
            let ask = FileAsk::Write { grant, path, offset, bytes };
            match self.node.grant.carry_out(call.thread, ask) {
                Ok(()) => done += bytes.len(),
                Err(stop) => return partial(done, stop),
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self, by: &Thread) -> SysResult<u64> {
        Ok(self.node.look(by)?.size)
    }

    fn pollable(&self) -> bool {
        false
    }

    fn truncate(&self, by: &Thread, size: u64) -> SysResult<()> {
        self.check_regular()?;
        self.node.change(by, &crate::fs::Change { size: Some(size), ..Default::default() })
    }

    fn sync(&self, by: &Thread) -> SysResult<()> {
        if !self.node.grant.writable {
            return Ok(());
        }
        let path = &*self.node.path();
        let grant = self.node.grant_index();
        self.node.grant.carry_out(by, FileAsk::Sync { grant, path })
    }

    fn pages(&self) -> Option<Arc<dyn Pages>> {
        self.check_regular().ok()?;
        let state = Mutex::new(Mapped::default());
        Some(Arc::new(HostPages { node: Arc::clone(&self.node), state }))
    }

    fn attributes(&self, by: &Thread) -> SysResult<Attributes> {
        self.node.attributes(by)
    }

    fn label(&self) -> String {
        String::from("/ (deleted)")
    }
}

#[derive(Default)]
struct Mapped {
    frames: BTreeMap<u64, Frame>,
    asked: BTreeMap<u64, Ticket>,
}

/// Pages of a private mapping. They are read once: what the host does to the file later is not
/// seen, so that code cannot be changed under a running program.
///
/// Questions are kept here and not in the thread's reader, because a page may be missing in the
/// middle of a call that asks the host itself.
struct HostPages {
    node: Arc<Node>,
    state: Mutex<Mapped>,
}

impl Pages for HostPages {
    fn page(&self, by: &Thread, index: u64, write: bool) -> SysResult<Frame> {
        if write {
            return Err(Errno::EACCES.into());
        }
        let kernel = self.node.grant.kernel;
        let mut state = self.state.lock();
        if let Some(frame) = state.frames.get(&index) {
            kernel.machine.retain(*frame);
            return Ok(*frame);
        }
        let offset = index.checked_mul(PAGE_SIZE as u64).ok_or(Errno::EFAULT)?;
        let ticket = state.asked.entry(index).or_insert_with(|| {
            let path = &*self.node.path();
            let (grant, max) = (self.node.grant_index(), PAGE_SIZE as u32);
            kernel.host.ask(Ask::File(FileAsk::Read { grant, path, offset, max }))
        });
        let Some(reply) = ticket.take() else {
            ticket.register(&by.waiter());
            return Err(Stop::Sleep(Interrupt::Never));
        };
        state.asked.remove(&index);
        let bytes = data(reply.answer()?, PAGE_SIZE as u32)?;
        if bytes.is_empty() {
            return Err(Errno::EFAULT.into());
        }
        let frame = kernel.allocate_frame()?;
        kernel.machine.write(frame, 0, bytes);
        kernel.machine.retain(frame);
        state.frames.insert(index, frame);
        Ok(frame)
    }

    fn shareable(&self) -> bool {
        false
    }

    fn id(&self) -> InodeId {
        self.node.id()
    }
}

impl Drop for HostPages {
    fn drop(&mut self) {
        let frames = core::mem::take(&mut self.state.get_mut().frames);
        frames.into_values().for_each(|frame| self.node.grant.kernel.machine.release(frame));
    }
}
