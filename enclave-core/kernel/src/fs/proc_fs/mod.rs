// SPDX-License-Identifier: MIT
//! `/proc` (`proc(5)`), and the kind of file system it is: tables of names whose contents are made
//! when they are read.
//!
//! A [`Tree`] has no state of its own. A [`Node`] is a line of a table and whom it is about; its
//! number is a digest of its path, so that finding it again gives the same identity.

mod anonymous;
mod descriptors;
mod maps;
mod node;
mod process;
mod process_status;
mod settings;
mod system;
mod text;

pub(crate) use anonymous::{label_of, reopened};
pub(crate) use node::{Tree, process_of};

use crate::fs::{Inode, Target};
use crate::kernel::Kernel;
use crate::outcome::SysResult;
use crate::task::{Process, Thread};
use alloc::sync::Arc;
use alloc::vec::Vec;
use strongroom_abi::Errno;

/// Makes the text of a file.
pub(crate) type MakeText = fn(&View<'_>) -> SysResult<Vec<u8>>;
/// Takes what was written to a file.
pub(crate) type Store = fn(&View<'_>, &[u8]) -> SysResult<()>;

/// A line of a table.
pub(crate) struct Entry {
    name: &'static str,
    permissions: u32,
    what: What,
}

/// What a name stands for.
pub(crate) enum What {
    /// Names of several tables, and members that come and go.
    Directory(&'static [&'static [Entry]], Members),
    Text(MakeText),
    Constant(&'static str),
    Setting(MakeText, Store),
    Link(fn(&View<'_>) -> SysResult<Target>),
}

/// Names in a directory that stand in no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Members {
    None,
    Processes,
    Threads,
    Descriptors,
    DescriptorDetails,
}

impl Entry {
    /// A directory with fixed names.
    pub(crate) const fn directory(name: &'static str, of: &'static [&'static [Self]]) -> Self {
        Self { name, permissions: 0o555, what: What::Directory(of, Members::None) }
    }

    const fn family(
        name: &'static str,
        permissions: u32,
        of: &'static [&'static [Self]],
        members: Members,
    ) -> Self {
        Self { name, permissions, what: What::Directory(of, members) }
    }

    /// A file that is made when it is read.
    pub(crate) const fn text(name: &'static str, make: MakeText) -> Self {
        Self { name, permissions: 0o444, what: What::Text(make) }
    }

    const fn private(name: &'static str, make: MakeText) -> Self {
        Self { name, permissions: 0o400, what: What::Text(make) }
    }

    /// A file that never changes.
    pub(crate) const fn constant(name: &'static str, text: &'static str) -> Self {
        Self { name, permissions: 0o444, what: What::Constant(text) }
    }

    const fn setting(name: &'static str, make: MakeText, store: Store) -> Self {
        Self { name, permissions: 0o644, what: What::Setting(make, store) }
    }

    const fn link(name: &'static str, target: fn(&View<'_>) -> SysResult<Target>) -> Self {
        Self { name, permissions: 0o777, what: What::Link(target) }
    }
}

/// Whom a node is about; zeroes where it is about nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pid: u32,
    tid: u32,
    descriptor: u32,
}

/// Who asks, and about whom.
pub(crate) struct View<'a> {
    by: &'a Thread,
    owner: Owner,
}

impl View<'_> {
    /// The system.
    pub(crate) fn kernel(&self) -> &'static Kernel {
        self.by.kernel
    }

    fn process(&self) -> Result<Arc<Process>, Errno> {
        self.kernel().processes.find(self.owner.pid).ok_or(Errno::ESRCH)
    }

    /// The thread; of a directory that is about a process, its first.
    fn thread(&self) -> Result<Arc<Thread>, Errno> {
        let process = self.process()?;
        let thread = if self.owner.tid == self.owner.pid {
            process.main_thread()
        } else {
            process.thread(self.owner.tid)
        };
        thread.ok_or(Errno::ESRCH)
    }
}

/// `/proc` itself.
pub(crate) fn root(kernel: &'static Kernel) -> Arc<dyn Inode> {
    Tree::root(kernel, &ROOT)
}

static ROOT: Entry = Entry::family("", 0o555, &[system::ENTRIES], Members::Processes);
static PROCESS: Entry =
    Entry::family("", 0o555, &[process::ENTRIES, process::ONLY_PROCESS], Members::None);
static THREAD: Entry = Entry::family("", 0o555, &[process::ENTRIES], Members::None);
static DESCRIPTOR: Entry =
    Entry { name: "", permissions: 0o700, what: What::Link(descriptors::target) };
static DETAILS: Entry = Entry::private("", descriptors::details);
