// SPDX-License-Identifier: MIT
//! What is to run, from the command line and a manifest.

use crate::arguments::Grant;
use clap::Args;
use std::path::{Path, PathBuf};
use strongroom_client::image::{Image, Ownership};
use strongroom_client::manifest::{ManifestFile, parse_environment, parse_memory};
use strongroom_client::package::{Bindings, Package, Target};
use strongroom_client::{LaunchError, Workload};

/// A workload's options, which several commands have.
#[derive(Args, Debug)]
pub(crate) struct WorkloadOptions {
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
    /// The program in the image and its arguments
    #[arg(last = true, value_name = "PROGRAM [ARG]")]
    pub(crate) program: Vec<String>,
}

/// A program, where its root comes from, and to whom the files there belong.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) workload: Workload,
    pub(crate) root: PathBuf,
    pub(crate) ownership: Ownership,
}

/// A workload for a trusted application, and its root file system.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) workload: Workload,
    pub(crate) image: Image,
    /// What a package brings along.
    pub(crate) packaged: Option<Packaged>,
}

/// What of a package is packed into a trusted application, as it is there.
#[derive(Debug)]
pub(crate) struct Packaged {
    pub(crate) library_os: Vec<u8>,
    /// The boot record.
    pub(crate) record: Vec<u8>,
}

impl Prepared {
    /// Makes the image, unless it is one.
    pub(crate) fn of(described: Described) -> Result<Self, LaunchError> {
        let Described { workload, root, ownership } = described;
        Ok(Self { workload, image: Image::for_source(&root, ownership)?, packaged: None })
    }

    /// Takes all of it out of a package.
    pub(crate) fn of_package(path: &Path, bindings: &Bindings) -> Result<Self, LaunchError> {
        let package = Package::open(path)?;
        let library_os = package.kernel(Target::Optee)?;
        let packaged = Packaged { library_os, record: package.record_bytes().to_vec() };
        let workload = package.workload(bindings)?;
        Ok(Self { workload, image: package.image()?, packaged: Some(packaged) })
    }
}

impl WorkloadOptions {
    /// The workload, with a program and a root. `terminal` is the kind of the user's terminal, which
    /// a program that draws on it has to know.
    pub(crate) fn describe(self, terminal: Option<String>) -> Result<Described, LaunchError> {
        let manifest = self.manifest.as_deref().map(ManifestFile::read).transpose()?;
        let (mut workload, root, ownership) = match manifest {
            Some(manifest) => (manifest.workload, manifest.root, manifest.ownership),
            None => (Workload::default(), None, Ownership::Keep),
        };
        let ownership = if self.squash_owner { Ownership::Root } else { ownership };
        let root = self.root.or(root).ok_or(LaunchError::NoRoot)?;
        if let Some((program, arguments)) = self.program.split_first() {
            workload.program.clone_from(program);
            workload.arguments = arguments.to_vec();
        }
        if workload.program.is_empty() {
            return Err(LaunchError::NoProgram);
        }
        if let Some(terminal) = terminal {
            workload.environment.entry("TERM".to_owned()).or_insert(terminal);
        }
        workload.environment.extend(self.environment);
        for grant in self.grants {
            match grant {
                Grant::Directory(grant) => workload.directories.push(grant),
                Grant::Connect(access) => workload.connects.push(access),
                Grant::Listen(access) => workload.listens.push(access),
            }
        }
        workload.memory_max = self.memory.unwrap_or(workload.memory_max);
        Ok(Described { workload, root, ownership })
    }
}
