// SPDX-License-Identifier: MIT
//! Debian packages: the machine's own mirror, and private views of other suites of it.
//!
//! A view ([`View`]) is a folder with a package manager configuration of its own. Nothing under
//! `/etc` or `/var` changes; packages come from the mirror the machine is already set up to
//! use, checked with the Debian archive keyring.

mod sources;
mod view;

pub(crate) use sources::Mirrors;
pub(crate) use view::{Architecture, Depth, View, hide_addresses, unpack};
