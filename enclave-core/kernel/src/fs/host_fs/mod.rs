// SPDX-License-Identifier: MIT
//! Granted directories of the host. Plaintext and untrusted: what the host says is checked for
//! form, never believed for content, and not kept.
//!
//! The host knows paths, not open files. A [`Node`] therefore carries its path, and a table of
//! live nodes keeps paths right when a directory above is renamed. A file that is removed while it
//! is open is gone.

mod file;
mod node;
mod questions;

use crate::fs::Inode;
use crate::kernel::Kernel;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use node::Node;
use spin::Mutex;

/// A granted directory.
struct Grant {
    kernel: &'static Kernel,
    /// Position in the manifest.
    index: u16,
    writable: bool,
    device: u64,
    /// Nodes in use, by path.
    nodes: Mutex<BTreeMap<String, Weak<Node>>>,
}

/// The root directory of a grant.
pub(crate) fn root(kernel: &'static Kernel, index: u16, writable: bool) -> Arc<dyn Inode> {
    let device = kernel.next_device();
    let grant = Arc::new(Grant { kernel, index, writable, device, nodes: Mutex::default() });
    Node::root(grant)
}

/// Of which grant an inode is, if of any.
pub(crate) fn grant_of(inode: &dyn Inode) -> Option<u16> {
    inode.as_any().downcast_ref::<Node>().map(Node::grant_index)
}
