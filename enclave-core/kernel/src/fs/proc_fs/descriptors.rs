// SPDX-License-Identifier: MIT
//! `/proc/PID/fd` and `/proc/PID/fdinfo`.

use super::{View, anonymous};
use crate::fs::{Descriptor, OpenFlags, Target};
use crate::outcome::SysResult;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_abi::Errno;

fn descriptor(view: &View<'_>) -> Result<Descriptor, Errno> {
    let files = Arc::clone(&view.thread()?.files.lock());
    files.descriptor(view.owner.descriptor.cast_signed()).map_err(|_| Errno::ENOENT)
}

/// The open file itself.
pub(super) fn target(view: &View<'_>) -> SysResult<Target> {
    let open = descriptor(view)?.open;
    Ok(Target::Place(match &open.place {
        Some(place) => place.clone(),
        None => anonymous::place(view.by, &open)?,
    }))
}

/// Position, flags and what the file adds.
pub(super) fn details(view: &View<'_>) -> SysResult<Vec<u8>> {
    let Descriptor { open, close_on_exec } = descriptor(view)?;
    let mut flags = open.flags();
    flags.set(OpenFlags::CLOSE_ON_EXEC, close_on_exec);
    let number = open.attributes(view.by)?.id.number;
    let mount = open.place.as_ref().map_or(0, |place| {
        let mounts = view.kernel().mounts.all();
        mounts.iter().position(|mount| Arc::ptr_eq(mount, &place.mount)).unwrap_or(0)
    });
    Ok(format!(
        "pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{number}\n{}",
        open.offset(),
        flags.bits(),
        mount + super::system::FIRST_MOUNT,
        open.file.details(),
    )
    .into_bytes())
}
