// SPDX-License-Identifier: MIT
//! Files: what a descriptor leads to.
//!
//! descriptor → [`OpenFile`] (offset, flags) → [`File`] (behaviour), and by name: [`Place`] (a mount
//! and an [`Inode`]), found by [`walk`]. [`memory_fs`] is the writable tree, whose contents may be
//! backed by the measured [`image`]; [`host_fs`], [`proc_fs`], [`sys_fs`], [`config_fs`] and
//! [`devices`] are the others.

mod config_fs;
mod descriptors;
mod file;
mod inode;
mod mount;
mod mount_all;
mod open_file;
mod reader;
mod walk;

pub(crate) mod devices;
pub(crate) mod epoll;
pub(crate) mod eventfd;
pub(crate) mod host_fs;
pub(crate) mod image;
pub(crate) mod locks;
pub(crate) mod memory_fs;
pub(crate) mod pidfd;
pub(crate) mod pipe;
pub(crate) mod proc_fs;
pub(crate) mod signalfd;
pub(crate) mod sys_fs;
pub(crate) mod text;
pub(crate) mod timerfd;

pub(crate) use descriptors::{Descriptor, FileTable};
pub(crate) use file::{File, Ready, Whence};
pub(crate) use inode::{
    Attributes, Change, DirectoryEntry, Inode, InodeId, Kind, Make, NodeKind, Pages, RenameMode,
    Target, Timestamp, device_number,
};
pub(crate) use mount::{FsContext, Mount, Mounts, Place};
pub(crate) use mount_all::{mount_all, mount_late};
pub(crate) use open_file::{OpenFile, OpenFlags};
pub(crate) use reader::Reader;
pub(crate) use walk::{Follow, Parent, path_of, walk, walk_parent};
