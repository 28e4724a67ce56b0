// SPDX-License-Identifier: MIT
//! Pipes: `pipe(2)`, and their size.

use crate::calls::descriptors::install;
use crate::fs::pipe::{Pipe, PipeEnd};
use crate::fs::{OpenFile, OpenFlags};
use crate::outcome::SysResult;
use crate::table::{Row, row};
use crate::task::Call;
use crate::user::UserPtr;
use strongroom_abi::Errno;

pub(crate) const CALLS: &[Row] =
    &[row!(Pipe, pipe(1), Full), row!(Pipe2, pipe2(2), Partial("no packet mode"))];

/// `F_SETPIPE_SZ` and `F_GETPIPE_SZ`.
pub(super) fn pipe_size(open: &OpenFile, command: u32, argument: usize) -> SysResult {
    let end = open.file.as_any().downcast_ref::<PipeEnd>().ok_or(Errno::EBADF)?;
    if command == 1031 { end.set_capacity(argument) } else { Ok(end.capacity()) }
}

fn pipe(call: &mut Call<'_>, descriptors: UserPtr<i32>) -> SysResult {
    pipe2(call, descriptors, 0)
}

fn pipe2(call: &mut Call<'_>, descriptors: UserPtr<i32>, flags: u32) -> SysResult {
    let allowed = OpenFlags::CLOSE_ON_EXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT;
    if flags & !allowed.bits() != 0 {
        return Err(Errno::EINVAL.into());
    }
    // Written before anything is made, so that a fault changes nothing.
    descriptors.write(call.memory, &0)?;
    descriptors.element(1).write(call.memory, &0)?;
    let flags = OpenFlags::from_bits_truncate(flags);
    let close_on_exec = flags.contains(OpenFlags::CLOSE_ON_EXEC);
    let pipe = Pipe::new(call.kernel);
    let reader = OpenFile::new(call.kernel, pipe.end(true, false), None, flags);
    let write_flags = flags | OpenFlags::WRITE_ONLY;
    let writer = OpenFile::new(call.kernel, pipe.end(false, true), None, write_flags);
    let first = install(call, reader, close_on_exec)?;
    let second = match install(call, writer, close_on_exec) {
        Ok(second) => second,
        Err(errno) => {
            call.files.remove(first as i32)?;
            return Err(errno.into());
        }
    };
    descriptors.write(call.memory, &(first as i32))?;
    descriptors.element(1).write(call.memory, &(second as i32))?;
    Ok(0)
}
