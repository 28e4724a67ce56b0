// SPDX-License-Identifier: MIT
//! The mounts that every workload starts with.

use crate::fs::memory_fs::MemoryFs;
use crate::fs::{Mount, Place};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use alloc::boxed::Box;
use alloc::sync::Arc;

/// Mounts the image.
pub(crate) fn mount_all(kernel: &'static Kernel) -> SysResult<Place> {
    let root = MemoryFs::new(kernel, Some(kernel.image()?));
    let mount = kernel.mounts.add(Mount {
        root: root.clone(),
        covers: None,
        kind: "overlay",
        at: Box::from(*b"/"),
        read_only: false,
    });
    Ok(Place::directory(mount, Arc::clone(&root) as _))
}
