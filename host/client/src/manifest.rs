// SPDX-License-Identifier: MIT
//! `strongroom.toml`: the workload, its image, and what the host grants it.
//!
//! ```toml
//! [workload]
//! program = "/usr/bin/python3"          # in the image; without / it is searched for in PATH
//! arguments = ["-m", "http.server", "8000"]
//! environment = { LANG = "C.UTF-8" }    # besides PATH and HOME
//! working-directory = "/srv"
//! hostname = "files"
//! insecure-inherit-environment = ["TZ"] # values that the host chooses
//! spawns = ["/bin/sh"]                  # placed beside it in a trusted application
//!
//! [image]
//! root = "rootfs"                       # directory, tar archive or image, from this file's folder
//! owner = "keep"                        # or "root": all files belong to user and group 0
//!
//! [grant]
//! untrusted-plaintext-connect = ["db.example:5432"]
//! untrusted-plaintext-listen = ["127.0.0.1:8080=8000"]  # host address and port = enclave port
//!
//! [[grant.directory]]
//! untrusted-plaintext-directory = "data"
//! mount = "/srv/data"
//! writable = true                       # false when left out
//!
//! [session]                             # the program waits for one of its owners
//! owners = ["x25519:4f1c…"]             # strongroom keygen makes such keys
//! late-arguments = true
//! late-environment = ["REGION"]
//! secrets = ["db-password"]
//!
//! [service]                             # the program takes calls of attested clients
//! clients = ["x25519:77ab…"]            # or any-client = true
//!
//! [resources]
//! memory = "512M"
//! ```

mod parse;
mod session;
mod values;

#[cfg(test)]
mod tests;

pub use values::{parse_connect, parse_directory, parse_environment, parse_listen, parse_memory};

use crate::LaunchError;
use crate::image::Ownership;
use crate::session::{ConnectAccess, DirectoryAccess, ListenAccess};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use strongroom_wire::boot::{
    GrantedConnect, GrantedDirectory, GrantedListen, Manifest, ServiceTerms, SessionTerms,
};

/// The search path of programs that are not told another.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program, and what its host does for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Path in the root image; without a slash it is searched for in [`DEFAULT_PATH`].
    pub program: String,
    /// Arguments, without the zeroth, which is the program as named.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Directory in which the program starts.
    pub working_directory: String,
    /// `uname -n`.
    pub hostname: String,
    /// Granted directories.
    pub directories: Vec<DirectoryGrant>,
    /// Hosts and ports to connect to.
    pub connects: Vec<ConnectAccess>,
    /// Addresses to listen on.
    pub listens: Vec<ListenAccess>,
    /// Bytes of memory for the program; 0 leaves it to the launcher.
    pub memory_max: u64,
    /// What the program waits for before it starts.
    pub session: Option<SessionTerms>,
    /// Who may call the program.
    pub service: Option<ServiceTerms>,
    /// Programs that it starts, once for each that runs at a time: they are packed into a trusted
    /// application. Elsewhere a program starts what it likes.
    pub spawns: Vec<String>,
}

/// A directory of the host in the enclave. Its contents are plaintext and untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryGrant {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where the program sees it, an absolute path.
    pub mount: String,
    /// Whether the program may change it.
    pub writable: bool,
}

/// A manifest file: the workload, and where its root comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// What to run.
    pub workload: Workload,
    /// Directory, tar archive or image; none when the file does not say.
    pub root: Option<PathBuf>,
    /// Who owns the files of an image that is built.
    pub ownership: Ownership,
}

/// What is wrong with a manifest file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", path.display(), place(*line, *column))]
pub struct ManifestError {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what is allowed.
    pub message: String,
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(":{line}:{column}") }
}

impl ManifestFile {
    /// Reads a manifest file. Paths of the host in it are relative to the file's folder.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] names file, line and column, and what is allowed there.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(path).map_err(|error| ManifestError {
            path: path.to_path_buf(),
            line: 0,
            column: 0,
            message: format!("cannot be read: {error}"),
        })?;
        parse::parse(path, &text)
    }
}

impl Default for Workload {
    fn default() -> Self {
        let variables = [("PATH", DEFAULT_PATH), ("HOME", "/root")];
        Self {
            program: String::new(),
            arguments: Vec::new(),
            environment: variables.map(|(name, value)| (name.into(), value.into())).into(),
            working_directory: "/".into(),
            hostname: "strongroom".into(),
            directories: Vec::new(),
            connects: Vec::new(),
            listens: Vec::new(),
            memory_max: 0,
            session: None,
            service: None,
            spawns: Vec::new(),
        }
    }
}

impl Workload {
    /// A program and its arguments, with no grants and the default environment.
    pub fn of_program<A: Into<String>>(
        program: impl Into<String>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, ..Self::default() }
    }

    /// Whether clients have a place to come to where there is a session or a service for them, and
    /// none where not.
    ///
    /// # Errors
    ///
    /// [`LaunchError::NoAttachAddress`], [`LaunchError::NoSession`].
    pub const fn check_attach(&self, listens: bool) -> Result<(), LaunchError> {
        match (self.session.is_some() || self.service.is_some(), listens) {
            (true, false) => Err(LaunchError::NoAttachAddress),
            (false, true) => Err(LaunchError::NoSession),
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// What the enclave is told and what is measured. Host paths and addresses are not part of it.
    pub fn measured(&self) -> Manifest {
        let zeroth = std::iter::once(&self.program);
        Manifest {
            program: self.program.clone(),
            arguments: zeroth.chain(&self.arguments).cloned().collect(),
            environment: self
                .environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            working_directory: self.working_directory.clone(),
            hostname: self.hostname.clone(),
            directories: self
                .directories
                .iter()
                .map(|grant| GrantedDirectory {
                    mount: grant.mount.clone(),
                    writable: grant.writable,
                })
                .collect(),
            connects: self
                .connects
                .iter()
                .map(|access| GrantedConnect { host: access.host.clone(), port: access.port })
                .collect(),
            listens: self
                .listens
                .iter()
                .map(|access| GrantedListen { port: access.port })
                .collect(),
            memory_max: self.memory_max,
            session: self.session.clone(),
            service: self.service.clone(),
            spawns: self.spawns.clone(),
        }
    }

    /// What the session needs to know about the granted directories.
    pub fn directory_accesses(&self) -> Vec<DirectoryAccess> {
        self.directories
            .iter()
            .map(|grant| DirectoryAccess { path: grant.host.clone(), writable: grant.writable })
            .collect()
    }
}
