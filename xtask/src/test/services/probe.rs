// SPDX-License-Identifier: MIT
//! Whatever can go wrong between a client and a service in an SNP guest.

use anyhow::{Context as _, Result, ensure};

use super::{
    example::{Example, Recipe},
    text,
};
use crate::{build::Built, workspace::Workspace};

/// Lines of its client. It has one more where allocations are counted.
const SAID: usize = 6;
/// MiB of a stream.
const STREAMED: &str = "16";

/// The client provokes it; `cargo xtask test sdk` does the same in a trusted application.
pub(super) fn check(workspace: &Workspace, built: &Built) -> Result<()> {
    let probe = Example::make(workspace, built, &Recipe::of("probe", &["probe"]))?;
    let called = probe.call("probe", "probe", &[&[STREAMED]])?.pop().context("it was called")?;
    let said = String::from_utf8_lossy(&called.stdout);
    let oks = said.lines().filter(|line| line.starts_with("ok ")).count();
    ensure!(called.status == 0 && oks == SAID, "{}", text(&called));
    Ok(())
}
