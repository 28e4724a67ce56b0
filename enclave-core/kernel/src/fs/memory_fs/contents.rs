// SPDX-License-Identifier: MIT
//! The bytes of a regular file: frames by page number, holes, and what the image still holds.

use crate::fs::Whence;
use crate::fs::image::{Image, READ_AHEAD};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::task::Thread;
use crate::user::{Sink, Source};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use spin::Mutex;
use strongroom_abi::Errno;
use strongroom_south::{Frame, PAGE_SIZE};
use strongroom_wire::image::InodeRecord;

const PAGE: u64 = PAGE_SIZE as u64;
/// Largest file, as Linux has it for this page size (`MAX_LFS_FILESIZE`).
const SIZE_MAX: u64 = i64::MAX as u64;
/// Bytes copied before other threads get a turn.
const BATCH_MAX: usize = 1 << 20;

/// Where pages come from that were never touched.
struct Backing {
    image: Arc<Image>,
    first_block: u64,
    /// Bytes that the image answers for; shrinks when the file is truncated.
    size: u64,
}

struct State {
    size: u64,
    frames: BTreeMap<u64, Frame>,
    backing: Option<Backing>,
}

/// See the module's text.
pub(crate) struct Contents {
    kernel: &'static Kernel,
    state: Mutex<State>,
}

impl Contents {
    /// No bytes.
    pub(crate) fn empty(kernel: &'static Kernel) -> Self {
        let state = State { size: 0, frames: BTreeMap::new(), backing: None };
        Self { kernel, state: Mutex::new(state) }
    }

    /// The bytes of an inode of the image.
    pub(crate) fn backed(
        kernel: &'static Kernel,
        image: &Arc<Image>,
        record: &InodeRecord,
    ) -> Self {
        let size = record.size.min(SIZE_MAX);
        let backing = Backing { image: Arc::clone(image), first_block: record.data / PAGE, size };
        let state = State { size, frames: BTreeMap::new(), backing: Some(backing) };
        Self { kernel, state: Mutex::new(state) }
    }

    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        self.state.lock().size
    }

    /// Gives a new, empty file its length.
    pub(crate) fn set_size(&self, size: u64) {
        self.state.lock().size = size.min(SIZE_MAX);
    }

    /// Units of 512 bytes in use, what the image holds included.
    pub(crate) fn blocks(&self) -> u64 {
        let state = self.state.lock();
        let backed = state.backing.as_ref().map_or(0, |backing| backing.size.div_ceil(PAGE));
        (state.frames.len() as u64).max(backed) * (PAGE / 512)
    }

    /// Reads at an offset.
    pub(crate) fn read(&self, by: &Thread, offset: u64, to: &mut Sink<'_>) -> SysResult {
        let mut at = offset;
        let mut done = 0;
        loop {
            let left = self.size().saturating_sub(at).min(to.room() as u64);
            if left == 0 || done >= BATCH_MAX {
                return Ok(done);
            }
            let within = (at % PAGE) as usize;
            let step = (PAGE_SIZE - within).min(left as usize);
            match self.present(by, at / PAGE)? {
                Some(frame) => to.put_frame(frame, within, step)?,
                None => {
                    to.put_zeroes(step)?;
                }
            }
            at += step as u64;
            done += step;
        }
    }

    /// Writes at an offset. A page that would be written behind `end_max` is `EPERM`.
    pub(crate) fn write(
        &self,
        by: &Thread,
        offset: u64,
        from: &mut Source<'_>,
        end_max: u64,
    ) -> SysResult {
        let limit = by.process.limits.lock().soft(crate::task::Limits::FSIZE).min(SIZE_MAX);
        if offset >= limit && from.left() > 0 {
            return Err(Errno::EFBIG.into());
        }
        let mut at = offset;
        let mut done = 0;
        loop {
            let left = (from.left() as u64).min(limit - at);
            if left == 0 || done >= BATCH_MAX {
                return Ok(done);
            }
            let within = (at % PAGE) as usize;
            let step = (PAGE_SIZE - within).min(left as usize);
            let outcome = if at + step as u64 > end_max {
                Err(Errno::EPERM.into())
            } else {
                self.writable(by, at / PAGE)
                    .and_then(|frame| Ok(from.take_frame(frame, within, step)?))
            };
            match outcome {
                Ok(()) => {}
                // What was written so far stays written: that much is the answer.
                Err(crate::outcome::Stop::Errno(_)) if done > 0 => return Ok(done),
                Err(stop) => return Err(stop),
            }
            at += step as u64;
            done += step;
            let mut state = self.state.lock();
            state.size = state.size.max(at);
        }
    }

    /// A page for a mapping, with a reference for the caller.
    pub(crate) fn page(&self, by: &Thread, index: u64) -> SysResult<Frame> {
        if index.checked_mul(PAGE).is_none_or(|start| start >= self.size()) {
            return Err(Errno::EFAULT.into());
        }
        let frame = match self.present(by, index)? {
            Some(frame) => frame,
            // Even for reading: a later writer must change the page that is mapped.
            None => self.writable(by, index)?,
        };
        self.kernel.machine.retain(frame);
        Ok(frame)
    }

    /// Changes the length.
    pub(crate) fn truncate(&self, by: &Thread, size: u64) -> SysResult<()> {
        if size > by.process.limits.lock().soft(crate::task::Limits::FSIZE).min(SIZE_MAX) {
            return Err(Errno::EFBIG.into());
        }
        let within = (size % PAGE) as usize;
        if within != 0 && size < self.size() {
            // Bytes behind the new end must read as zeroes if the file grows again.
            if self.present(by, size / PAGE)?.is_some() {
                let frame = self.writable(by, size / PAGE)?;
                self.kernel.machine.clear(frame, within..PAGE_SIZE);
            }
        }
        let mut state = self.state.lock();
        let gone = state.frames.split_off(&size.div_ceil(PAGE));
        if let Some(backing) = &mut state.backing {
            backing.size = backing.size.min(size);
        }
        state.size = size;
        drop(state);
        gone.into_values().for_each(|frame| self.kernel.machine.release(frame));
        Ok(())
    }

    /// Gives a range frames.
    pub(crate) fn allocate(
        &self,
        by: &Thread,
        offset: u64,
        length: u64,
        keep: bool,
    ) -> SysResult<()> {
        let end = offset.checked_add(length).filter(|end| *end <= SIZE_MAX).ok_or(Errno::EFBIG)?;
        let pages = length.div_ceil(PAGE);
        if pages > self.kernel.machine.counts().free as u64 {
            return Err(Errno::ENOSPC.into());
        }
        for index in offset / PAGE..end.div_ceil(PAGE) {
            self.writable(by, index)?;
        }
        if !keep {
            let mut state = self.state.lock();
            state.size = state.size.max(end);
        }
        Ok(())
    }

    /// Makes a range read as zeroes.
    pub(crate) fn punch(&self, by: &Thread, offset: u64, length: u64) -> SysResult<()> {
        let end = offset.saturating_add(length).min(self.size());
        let mut at = offset;
        while at < end {
            let within = (at % PAGE) as usize;
            let step = (PAGE_SIZE - within).min((end - at) as usize);
            if self.present(by, at / PAGE)?.is_some() {
                let frame = self.writable(by, at / PAGE)?;
                self.kernel.machine.clear(frame, within..within + step);
            }
            at += step as u64;
        }
        Ok(())
    }

    /// `SEEK_DATA` and `SEEK_HOLE`.
    pub(crate) fn find(&self, offset: u64, whence: Whence) -> Result<u64, Errno> {
        let state = self.state.lock();
        if offset >= state.size {
            return Err(Errno::ENXIO);
        }
        let backed = state.backing.as_ref().map_or(0, |backing| backing.size);
        let has_data = |page: u64| page * PAGE < backed || state.frames.contains_key(&page);
        let mut page = offset / PAGE;
        let wanted = whence != Whence::Hole;
        while page * PAGE < state.size {
            if has_data(page) == wanted {
                return Ok((page * PAGE).max(offset));
            }
            page = if wanted {
                match state.frames.range(page..).next() {
                    Some((next, _)) => *next,
                    None => break,
                }
            } else {
                page + 1
            };
        }
        if wanted { Err(Errno::ENXIO) } else { Ok(state.size) }
    }

    /// The frame of a page, if it is not a hole. The reference stays the file's.
    fn present(&self, by: &Thread, index: u64) -> SysResult<Option<Frame>> {
        let (image, block, valid, ahead) = {
            let state = self.state.lock();
            if let Some(frame) = state.frames.get(&index) {
                return Ok(Some(*frame));
            }
            let Some(backing) = &state.backing else { return Ok(None) };
            let start = index * PAGE;
            if start >= backing.size {
                return Ok(None);
            }
            let left = backing.size.div_ceil(PAGE) - index;
            let valid = (backing.size - start).min(PAGE) as usize;
            let image = Arc::clone(&backing.image);
            (image, backing.first_block.saturating_add(index), valid, left.min(READ_AHEAD))
        };
        let bytes = image.block(by, block, ahead)?;
        let frame = self.kernel.allocate_frame()?;
        self.kernel.machine.write(frame, 0, bytes.get(..valid).unwrap_or_default());
        self.insert(index, frame);
        Ok(Some(frame))
    }

    /// The frame of a page, made where there is none.
    fn writable(&self, by: &Thread, index: u64) -> SysResult<Frame> {
        if let Some(frame) = self.present(by, index)? {
            return Ok(frame);
        }
        let frame = self.kernel.allocate_frame()?;
        self.insert(index, frame);
        Ok(frame)
    }

    fn insert(&self, index: u64, frame: Frame) {
        if let Some(old) = self.state.lock().frames.insert(index, frame) {
            self.kernel.machine.release(old);
        }
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        let frames = core::mem::take(&mut self.state.lock().frames);
        frames.into_values().for_each(|frame| self.kernel.machine.release(frame));
    }
}
