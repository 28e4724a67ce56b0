// SPDX-License-Identifier: MIT
//! Hosts and security processors that lie to a simulated SNP guest, one lie a run.
//!
//! `strongroom-snp-hosts PROBE` starts the probe in QEMU once for each lie, asks it for evidence, and
//! compares what it says, or the code with which it stops, with what has to be. Status 0 when all
//! is as it has to be.
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::single_range_in_vec_init,
    clippy::wildcard_enum_match_arm,
    reason = "a test: what overflows fails it, and most lies leave most answers as they are"
)]

mod guest;
mod lies;

use anyhow::{Context as _, Result, ensure};
use lies::{Expected, Lie, Outcome};
use std::path::PathBuf;
use strongroom_psp::Installation;

fn main() -> Result<()> {
    let probe = std::env::args_os().nth(1).context("usage: strongroom-snp-hosts PROBE")?;
    let probe = std::fs::read(PathBuf::from(&probe)).context("read the probe")?;
    let folder = tempfile::tempdir()?;
    let chip = folder.path().join("psp");
    Installation::open(&chip)?;
    let mut wrong = Vec::new();
    for lie in Lie::ALL {
        let outcome = guest::run(&probe, &chip, lie)?;
        let right = outcome.is_expected(lie);
        println!("{} {lie:?}: {}", if right { "ok  " } else { "FAIL" }, outcome.shown());
        if !right {
            wrong.push(lie);
        }
    }
    ensure!(wrong.is_empty(), "the guest was taken in: {wrong:?}");
    Ok(())
}

impl Outcome {
    /// Whether the guest said or did what it has to.
    fn is_expected(&self, lie: Lie) -> bool {
        let Expected { code, says, never } = lie.expected();
        self.code == code
            && says.iter().all(|words| self.said.contains(words))
            && !never.iter().any(|words| self.said.contains(words))
    }

    fn shown(&self) -> String {
        let readable = |text: &char| text.is_ascii_graphic() || *text == ' ';
        let words: Vec<String> = self
            .said
            .lines()
            .map(|line| line.chars().filter(readable).take(40).collect())
            .collect();
        format!("code {:#x}, {words:?}", self.code)
    }
}
