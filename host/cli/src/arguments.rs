// SPDX-License-Identifier: MIT
//! The command line's grammar and help.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::str::FromStr;
use strongroom_client::manifest::{
    DirectoryGrant, parse_connect, parse_directory, parse_environment, parse_listen, parse_memory,
};
use strongroom_client::session::{ConnectAccess, ListenAccess};

/// Runs unmodified Linux programs in an enclave.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<RunOptions>),
    #[command(subcommand)]
    Image(ImageCommand),
}

/// Run a program in an enclave.
///
/// Standard input, output and error, signals and the terminal pass through. No other file,
/// variable or socket of the host reaches the program unless it is granted.
///
/// Exit status: the program's; 128+N when signal N ended it; 125 for the launcher's own errors;
/// 126 when the program cannot be executed; 127 when it is not found.
#[derive(Args, Debug)]
#[command(after_help = "Environment:
  STRONGROOM_PAYLOAD    the payload to boot
  STRONGROOM_QEMU       the QEMU to use instead of qemu-system-x86_64
  STRONGROOM_QEMU_ARGS  further arguments for QEMU

Examples:
  strongroom run --root rootfs -- /bin/sh -c 'echo hello'
  strongroom run --root rootfs.tar --grant dir:./data=/data:rw -- python3 /data/job.py
  strongroom run --manifest strongroom.toml")]
pub(crate) struct RunOptions {
    /// Workload, image, grants and resources from a file; what follows adds to it
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Root file system: a directory, an uncompressed tar archive, or an image
    #[arg(long, value_name = "DIR_OR_TAR_OR_IMAGE")]
    pub(crate) root: Option<PathBuf>,
    /// Give all files of the root to user and group 0
    #[arg(long)]
    pub(crate) squash_owner: bool,
    /// Let the program use something of the host, plaintext and untrusted:
    /// dir:HOST=MOUNT[:rw], connect:HOST:PORT or listen:[ADDR:]HOSTPORT[=PORT]
    #[arg(long = "grant", value_name = "GRANT")]
    pub(crate) grants: Vec<Grant>,
    /// Set an environment variable
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_environment)]
    pub(crate) environment: Vec<(String, String)>,
    /// Memory for the program, for example 512M or 2G
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub(crate) memory: Option<u64>,
    /// The payload to boot
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: Option<PathBuf>,
    /// Keep the kernel's serial log, where the payload is a debug image
    #[arg(long, value_name = "FILE")]
    pub(crate) debug_log: Option<PathBuf>,
    /// Say nothing but errors of the launcher
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say how long the start took, how much memory was used, and what protects the program
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// The program in the image and its arguments
    #[arg(last = true, value_name = "PROGRAM [ARG]")]
    pub(crate) program: Vec<String>,
}

/// Build and verify root images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from a directory or an uncompressed tar archive
    ///
    /// The same input gives the same bytes.
    Build {
        /// Directory or tar archive
        #[arg(long, value_name = "DIR_OR_TAR")]
        root: PathBuf,
        /// The image to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Give all files to user and group 0
        #[arg(long)]
        squash_owner: bool,
    },
    /// Check every block of an image against its hash tree
    Verify {
        /// The image
        image: PathBuf,
    },
}

/// Something that the host does for the program.
#[derive(Clone, Debug)]
pub(crate) enum Grant {
    Directory(DirectoryGrant),
    Connect(ConnectAccess),
    Listen(ListenAccess),
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("dir", rest)) => parse_directory(rest).map(Self::Directory),
            Some(("connect", rest)) => parse_connect(rest).map(Self::Connect),
            Some(("listen", rest)) => parse_listen(rest).map(Self::Listen),
            Some(_) | None => Err(format!(
                "`{text}` is no grant; allowed are dir:HOST=MOUNT[:rw], connect:HOST:PORT and listen:[ADDR:]HOSTPORT[=PORT]"
            )),
        }
    }
}
