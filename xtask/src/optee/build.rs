// SPDX-License-Identifier: MIT
//! `cargo xtask optee build`.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    Built, Configuration,
    image::{Made, warn_without_big},
};
use crate::{
    Setup,
    setup::{self, Wants},
    workspace::Workspace,
};

/// What is printed of an image's packages, in this order, where it has them.
const SHOWN: &[&str] =
    &["optee-os", "arm-trusted-firmware", "optee-test-qemu", "tee-supplicant", "libteec2", "libc6"];

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this one [default: both]
    #[arg(long)]
    config: Option<Configuration>,
    /// Look what Debian has today, and build it when it has changed
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    setup: Setup,
}

/// Makes the images and says where they are. Without the big one it fails only when asked for it.
pub(crate) fn build(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let images = options.config.map_or(Configuration::ALL, Configuration::alone);
    setup::setup(workspace, Wants::optee(images), options.setup.no_install)?;
    for configuration in images {
        match Made::of(workspace, *configuration, options.update) {
            Ok(made) => show(&made, &Built::make(workspace, &made)?),
            Err(error) if *configuration == Configuration::Big && options.config.is_none() => {
                warn_without_big(&error);
            }
            Err(error) => return Err(error),
        }
    }
    println!("launcher:  {}", workspace.launcher().display());
    Ok(ExitCode::SUCCESS)
}

fn show(made: &Made, built: &Built) {
    println!("{}:", made.configuration.name());
    let kernel = made.versions.iter().filter(|(name, _)| name.starts_with("linux-image"));
    let named = SHOWN.iter().filter_map(|name| Some((*name, made.versions.of(name)?)));
    for (name, version) in named.chain(kernel) {
        println!("  {name} {version}");
    }
    println!("  image:   {}", made.folder.display());
    println!("  dev kit: {}", made.dev_kit().display());
    println!("  client:  {}", made.client().display());
    println!("  machine: {}", built.machine.display());
    println!("  for the device: {}", built.runner.display());
}
