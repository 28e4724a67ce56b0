// SPDX-License-Identifier: MIT
//! `cargo xtask tidy`: rules of the source tree that no compiler checks.

mod arrows;
mod dependencies;
mod links;
mod panics;
mod ratchet;
mod sources;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::{process, workspace::Workspace};

/// One file of the tree, as git would commit it.
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    /// Path from the workspace's root, with `/`.
    pub(crate) path: String,
    /// Contents; files that are not text are not listed.
    pub(crate) text: String,
}

/// One workspace package, reduced to what the rules need.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its folder from the workspace's root, with `/`.
    pub(crate) folder: String,
    /// What it is built from.
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency that is not for tests only.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// Set when it is a package of this workspace.
    pub(crate) folder: Option<String>,
    /// True when a feature has to be on.
    pub(crate) optional: bool,
}

/// Checks everything; the error lists every violation.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let files = tracked(workspace)?;
    let packages = packages(workspace)?;
    let limits = ratchet::Limits::read(&workspace.root.join("xtask/ratchet.toml"))?;
    let mut problems = Vec::new();
    problems.extend(sources::problems(&files, &limits.long_files));
    problems.extend(ratchet::problems(&files, &limits.unsafe_counts));
    problems.extend(panics::problems(&files));
    problems.extend(arrows::problems(&packages));
    problems.extend(links::problems(&files));
    problems.extend(dependencies::problems(&files, &packages, &limits.required));
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    bail!("{} violations:\n{}", problems.len(), problems.join("\n"))
}

/// Packages of the core that ship: everything in `enclave-core` but the fake platform.
pub(crate) fn shipped_core_packages(workspace: &Workspace) -> Result<Vec<String>> {
    let mut packages = packages(workspace)?;
    packages.retain(|package| {
        package.folder.starts_with("enclave-core/") && package.folder != "enclave-core/fake"
    });
    Ok(packages.into_iter().map(|package| package.name).collect())
}

fn tracked(workspace: &Workspace) -> Result<Vec<Tracked>> {
    let read = |path: String| {
        let text = fs::read_to_string(workspace.root.join(&path)).ok()?;
        Some(Tracked { path, text })
    };
    Ok(tracked_paths(workspace)?.into_iter().filter_map(read).collect())
}

/// Paths of the files of the tree, as git would commit them.
pub(crate) fn tracked_paths(workspace: &Workspace) -> Result<Vec<String>> {
    let mut command = Command::new("git");
    command.current_dir(&workspace.root);
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = process::run_quietly(&mut command)?;
    let listed = String::from_utf8(listed).context("file names are UTF-8")?;
    let there = |path: &&str| workspace.root.join(path).is_file();
    Ok(listed.split_terminator('\0').filter(there).map(str::to_owned).collect())
}

fn packages(workspace: &Workspace) -> Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace.root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("read cargo metadata")?;
    let folder = |path: &Path| {
        let inside = path.strip_prefix(&workspace.root).unwrap_or(path);
        inside.to_string_lossy().into_owned()
    };
    Ok(describe(&metadata, folder))
}

fn describe(metadata: &Metadata, folder: impl Fn(&Path) -> String) -> Vec<Package> {
    let dependency = |dependency: &cargo_metadata::Dependency| Dependency {
        name: dependency.name.clone(),
        folder: dependency.path.as_ref().map(|path| folder(path.as_std_path())),
        optional: dependency.optional,
    };
    let package = |package: &cargo_metadata::Package| Package {
        name: package.name.to_string(),
        folder: package
            .manifest_path
            .parent()
            .map(|path| folder(path.as_std_path()))
            .unwrap_or_default(),
        dependencies: package
            .dependencies
            .iter()
            .filter(|one| one.kind != cargo_metadata::DependencyKind::Development)
            .map(dependency)
            .collect(),
    };
    metadata.packages.iter().map(package).collect()
}
