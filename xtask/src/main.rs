// SPDX-License-Identifier: MIT
//! Builds, images, tests and checks Strongroom.

fn main() {}
