// SPDX-License-Identifier: MIT
//! Moving data between files: `sendfile(2)`, `copy_file_range(2)`.

use crate::calls::io::{read_at, read_file, write_at, write_file};
use crate::fs::{Kind, OpenFile, OpenFlags};
use crate::memory::Memory;
use crate::outcome::{Stop, SysResult};
use crate::table::{Row, row};
use crate::task::Call;
use crate::user::{Sink, Source, UserPtr, zeroed};
use alloc::sync::Arc;
use strongroom_abi::Errno;

pub(crate) const CALLS: &[Row] =
    &[row!(Sendfile, sendfile(4), Full), row!(CopyFileRange, copy_file_range(6), Full)];

/// Bytes moved at once.
const STEP: usize = 64 * 1024;

/// One side of a transfer: at an offset of the caller, or at the file's own.
struct Side {
    open: Arc<OpenFile>,
    offset: Option<i64>,
}

fn sendfile(
    call: &mut Call<'_>,
    out: i32,
    input: i32,
    offset: UserPtr<i64>,
    count: usize,
) -> SysResult {
    let output = Side { open: call.file(out)?, offset: None };
    let input = Side { open: call.file(input)?, offset: offset.read_optional(call.memory)? };
    output.open.check_writable()?;
    input.open.check_readable()?;
    if output.open.flags().contains(OpenFlags::APPEND) || input.open.file.pages().is_none() {
        return Err(Errno::EINVAL.into());
    }
    let moved = transfer(call, &input, &output, count)?;
    if let Some(start) = input.offset {
        offset.write(call.memory, &start.wrapping_add(moved as i64))?;
    }
    Ok(moved)
}

fn copy_file_range(
    call: &mut Call<'_>,
    input: i32,
    input_offset: UserPtr<i64>,
    out: i32,
    out_offset: UserPtr<i64>,
    count: usize,
    flags: u32,
) -> SysResult {
    let input = Side { open: call.file(input)?, offset: input_offset.read_optional(call.memory)? };
    let output = Side { open: call.file(out)?, offset: out_offset.read_optional(call.memory)? };
    input.open.check_readable()?;
    output.open.check_writable()?;
    if output.open.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EBADF.into());
    }
    for side in [&input, &output] {
        match side.open.place.as_ref().map(|place| place.inode.kind()) {
            Some(Kind::Regular) => {}
            Some(Kind::Directory) => return Err(Errno::EISDIR.into()),
            Some(_) | None => return Err(Errno::EINVAL.into()),
        }
    }
    if flags != 0 || overlap(&input, &output, count) {
        return Err(Errno::EINVAL.into());
    }
    let moved = transfer(call, &input, &output, count)?;
    for (side, pointer) in [(&input, input_offset), (&output, out_offset)] {
        if let Some(start) = side.offset {
            pointer.write(call.memory, &start.wrapping_add(moved as i64))?;
        }
    }
    Ok(moved)
}

fn overlap(input: &Side, output: &Side, count: usize) -> bool {
    let same = match (&input.open.place, &output.open.place) {
        (Some(one), Some(two)) => one.inode.id() == two.inode.id(),
        (Some(_), None) | (None, Some(_) | None) => false,
    };
    let start = |side: &Side| side.offset.unwrap_or_else(|| side.open.offset().cast_signed());
    same && start(input).abs_diff(start(output)) < count as u64
}

/// Moves up to `count` bytes; what was moved before the call has to wait is kept in its progress.
fn transfer(call: &mut Call<'_>, input: &Side, output: &Side, count: usize) -> SysResult {
    let mut buffer: alloc::vec::Vec<u8> = zeroed(STEP.min(count))?;
    loop {
        let done = call.progress.items;
        let wanted = buffer.len().min(count - done);
        if wanted == 0 {
            return Ok(done);
        }
        match step(call, input, output, buffer.get_mut(..wanted).unwrap_or_default(), done) {
            Ok(0) => return Ok(done),
            Ok(moved) => call.progress.items += moved,
            Err(Stop::Errno(_)) if done > 0 => return Ok(done),
            Err(stop) => return Err(stop),
        }
    }
}

fn step(
    call: &mut Call<'_>,
    input: &Side,
    output: &Side,
    buffer: &mut [u8],
    done: usize,
) -> SysResult {
    let memory: &Memory = call.memory;
    let before = input.open.offset();
    let from = |side: &Side| side.offset.map(|offset| offset.wrapping_add(done as i64));
    let mut sink = Sink::kernel(memory, buffer);
    let read = match from(input) {
        Some(offset) => read_at(call, &input.open, offset, &mut sink)?,
        None => read_file(call, &input.open, &mut sink)?,
    };
    let bytes = buffer.get(..read).unwrap_or_default();
    let mut source = Source::kernel(memory, bytes);
    call.progress.done = 0;
    let written = match from(output) {
        Some(offset) => write_at(call, &output.open, offset, &mut source),
        None => write_file(call, &output.open, &mut source),
    };
    if input.offset.is_none() && !matches!(written, Ok(count) if count == read) {
        // What was not written has not been read.
        let kept = written.unwrap_or(call.progress.done) as u64;
        input.open.set_offset(before.wrapping_add(kept));
    }
    if written.is_err() && call.progress.done > 0 {
        return Ok(core::mem::take(&mut call.progress.done));
    }
    written
}
