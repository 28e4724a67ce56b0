// SPDX-License-Identifier: MIT
//! A private view of Debian suites: own configuration, own lists, own downloads.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

use super::Mirrors;
use crate::{process, progress::Step, workspace::Workspace};

/// One download at a time: two would race for the same lists.
static DOWNLOADS: Mutex<()> = Mutex::new(());

/// Where Debian's `debian-archive-keyring` puts the keys, newest name first.
const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// Whether dependencies come along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Only the packages named.
    Alone,
    /// Everything they need to be installed on an empty machine.
    WithDependencies,
}

/// Which processor a view's packages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// This computer's.
    Amd64,
    /// That of OP-TEE's machine. Such a view has source packages, too.
    Arm64,
}

impl Architecture {
    /// Debian's name for it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// Some suites, seen from an empty machine: dependencies resolve to all packages they need.
#[derive(Debug)]
pub(crate) struct View {
    folder: PathBuf,
}

impl View {
    /// Makes or reuses the view of `suites`; touches no network.
    pub(crate) fn open(workspace: &Workspace, suites: &[&str]) -> Result<Self> {
        Self::open_for(workspace, suites, Architecture::Amd64)
    }

    /// As [`View::open`], for another processor.
    pub(crate) fn open_for(
        workspace: &Workspace,
        suites: &[&str],
        architecture: Architecture,
    ) -> Result<Self> {
        let name = match architecture {
            Architecture::Amd64 => suites.join("+"),
            Architecture::Arm64 => format!("{}-arm64", suites.join("+")),
        };
        let folder = workspace.cache.join("apt").join(name);
        for part in ["lists/partial", "state", "cache", "parts", "downloads"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
        }
        let keyring = KEYRINGS
            .iter()
            .map(Path::new)
            .find(|keyring| keyring.exists())
            .context("the Debian archive keyring is missing: install debian-archive-keyring")?;
        fs::write(folder.join("status"), "")?;
        let sources = Mirrors::of_machine()?.lines(suites, keyring, architecture);
        fs::write(folder.join("sources.list"), sources)?;
        fs::write(folder.join("apt.conf"), configuration(&folder, architecture))?;
        Ok(Self { folder })
    }

    /// Downloads `packages` into a folder named `name`; returns the package files in a fixed order.
    pub(crate) fn download(
        &self,
        name: &str,
        packages: &[&str],
        depth: Depth,
    ) -> Result<Vec<PathBuf>> {
        let archives = self.fetched(name, |archives| self.fetch(archives, packages, depth))?;
        files_with_ending(&archives, "deb")
    }

    /// Downloads the source of `package` into a folder named `name` and returns its description
    /// file, which `dpkg-source` reads. Checksums are checked up to the archive's signature.
    pub(crate) fn download_source(&self, name: &str, package: &str) -> Result<PathBuf> {
        let archives = self.fetched(name, |archives| {
            let mut command = self.apt_get();
            command.current_dir(archives).args(["source", "--download-only", package]);
            process::run_quietly(&mut command).map_err(without_addresses)?;
            Ok(())
        })?;
        let found = files_with_ending(&archives, "dsc")?;
        found.into_iter().next().with_context(|| format!("{package} has no description file"))
    }

    /// Deletes the package lists: the next download fetches new ones.
    pub(crate) fn forget_lists(&self) -> Result<()> {
        let lists = self.folder.join("lists");
        fs::remove_dir_all(&lists).with_context(|| format!("delete {}", lists.display()))?;
        fs::create_dir_all(lists.join("partial"))?;
        Ok(())
    }

    /// Lets `fetch` fill an empty folder named `name`. The lists are fetched when there are none,
    /// and once more when it fails with old ones.
    fn fetched(&self, name: &str, fetch: impl Fn(&Path) -> Result<()>) -> Result<PathBuf> {
        let _one_at_a_time = DOWNLOADS.lock().unwrap_or_else(PoisonError::into_inner);
        let archives = self.folder.join("downloads").join(name);
        if archives.exists() {
            fs::remove_dir_all(&archives)?;
        }
        fs::create_dir_all(archives.join("partial"))?;
        let fresh = !self.has_lists();
        if fresh {
            self.update()?;
        }
        if let Err(error) = fetch(&archives) {
            if fresh {
                return Err(error);
            }
            self.update()?;
            fetch(&archives)?;
        }
        Ok(archives)
    }

    /// True when [`View::download`] fetched something under `name` and nobody deleted it.
    pub(crate) fn has_download(&self, name: &str) -> bool {
        self.folder.join("downloads").join(name).is_dir()
    }

    /// Deletes what [`View::download`] fetched under `name`.
    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        let archives = self.folder.join("downloads").join(name);
        fs::remove_dir_all(&archives).with_context(|| format!("delete {}", archives.display()))
    }

    fn has_lists(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.folder.join("lists")) else { return false };
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    }

    fn update(&self) -> Result<()> {
        let step = Step::start("fetch package lists");
        process::run_quietly(self.apt_get().arg("update")).map_err(without_addresses)?;
        step.finish("done");
        Ok(())
    }

    fn fetch(&self, archives: &Path, packages: &[&str], depth: Depth) -> Result<()> {
        let mut command = self.apt_get();
        command.current_dir(archives);
        match depth {
            Depth::Alone => command.arg("download"),
            Depth::WithDependencies => command
                .arg("-o")
                .arg(format!("Dir::Cache::archives={}", archives.display()))
                .args(["install", "--yes", "--download-only", "--no-install-recommends"]),
        };
        process::run_quietly(command.args(packages)).map_err(without_addresses)?;
        Ok(())
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(self.folder.join("apt.conf")).arg("-q");
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        command
    }
}

/// The machine's own settings stay in force (proxies), except hooks and where things lie.
fn configuration(folder: &Path, architecture: Architecture) -> String {
    let (folder, architecture) = (folder.display(), architecture.name());
    format!(
        r#"#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "{folder}/parts";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "{folder}/parts";
Dir::State "{folder}/state";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"#
    )
}

/// Mirrors' addresses do not belong in logs.
fn without_addresses(error: anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{}", hide_addresses(&format!("{error:#}")))
}

/// `text` with the host part of every address replaced.
pub(crate) fn hide_addresses(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://(mirror)");
        let end = after.find(['/', ' ', '\n', '\'', '"']).unwrap_or(after.len());
        rest = after.get(end..).unwrap_or_default();
    }
    shown.push_str(rest);
    shown
}

fn files_with_ending(archives: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(archives)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("the package manager downloaded nothing");
    }
    Ok(files)
}

/// Unlike `dpkg-deb -x` this keeps links to folders: `/bin` stays a link into `/usr`.
const UNPACK: &str = r#"dpkg-deb --fsys-tarfile "$1" |
    tar -xp --numeric-owner --keep-directory-symlink --warning=no-timestamp -C "$2" -f -"#;

/// Unpacks package files over `folder`; runs no maintainer script.
pub(crate) fn unpack(packages: &[PathBuf], folder: &Path, step: &Step) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for package in packages {
        if let Some(name) = package.file_name() {
            step.note(&name.to_string_lossy());
        }
        let mut command = Command::new("sh");
        process::run_quietly(command.args(["-c", UNPACK, "unpack"]).arg(package).arg(folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_disappear_from_messages() {
        assert_eq!(
            hide_addresses("Err http://m.example/debian x 'https://n.example' end"),
            "Err http://(mirror)/debian x 'https://(mirror)' end"
        );
        assert_eq!(hide_addresses("plain"), "plain");
    }
}
