// SPDX-License-Identifier: MIT
//! Programs and libraries that a machine has put into memory before the kernel started.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// A file of the root image whose segments the machine has mapped, where it cannot make memory
/// executable itself. The kernel takes it as mapped instead of mapping the file.
///
/// Its pages are present from the start, as [`crate::Space::lookup`] says. Those that can be
/// written can be unmapped and mapped again; the others stay whatever is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedObject {
    /// The file's path in the root image, absolute and without symbolic links.
    pub path: String,
    /// Where its virtual address 0 lies.
    pub base: usize,
    /// Where its pages lie: from the first to the end of the last segment.
    pub range: Range<usize>,
    /// Which of them can be written, unmapped and mapped again; whole pages.
    pub writable: Vec<Range<usize>>,
    /// The largest alignment of its segments, in bytes: the page size it is linked for.
    pub alignment: usize,
}
