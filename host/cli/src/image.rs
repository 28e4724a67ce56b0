// SPDX-License-Identifier: MIT
//! `strongroom image`.

use crate::arguments::ImageCommand;
use crate::report;
use anyhow::Context as _;
use std::io::Write as _;
use std::process::ExitCode;
use strongroom_client::LaunchError;
use strongroom_client::image::{self, Image, Ownership};

/// Carries out the command.
pub(crate) fn image(command: ImageCommand) -> anyhow::Result<ExitCode> {
    let (digest, blocks) = match command {
        ImageCommand::Build { root, output, squash_owner } => {
            let ownership = if squash_owner { Ownership::Root } else { Ownership::Keep };
            let built = image::build(&root, &output, ownership).map_err(LaunchError::from)?;
            (built.root_digest, built.blocks)
        }
        ImageCommand::Verify { image } => {
            let image = Image::open(&image).map_err(LaunchError::from)?;
            image.verify().map_err(LaunchError::from)?;
            (*image.root_digest(), image.blocks())
        }
    };
    writeln!(std::io::stdout(), "sha256:{} {blocks} blocks", report::hex(&digest))
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
