// SPDX-License-Identifier: MIT
//! Memory: the map of the kernel's half, frames, heap, address spaces and user copies.
//!
//! The kernel's half of every address space, entries 256 to 511 of the root table:
//!
//! | from | what |
//! |---|---|
//! | `0xffff_8000_0000_0000` | all memory, the direct map: read, write |
//! | `0xffff_c000_0000_0000` | device registers, uncached |
//! | `0xffff_d000_0000_0000` | the heap |
//! | `0xffff_ffff_8020_0000` | the image, each section with its own rights |
//!
//! Nothing is mapped writable and executable. The lower half is the guest's.

pub(crate) mod device;
pub(crate) mod direct;
pub(crate) mod frames;
pub(crate) mod heap;
pub(crate) mod image;
pub(crate) mod space;
mod spare;
pub(crate) mod table;
mod tree;
pub(crate) mod user;
