// SPDX-License-Identifier: MIT
//! Where made images are kept, and how they are found again without a network.
//!
//! An image's folder is named after what it was made of. A file beside it names the folder in use,
//! so a second run looks at nothing else.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::Configuration;
use crate::workspace::Workspace;

/// Raise it when images made by older code must be made again.
const RECIPE: u32 = 1;

/// Hexadecimal digits of a digest that make a name unique enough.
const DIGITS: usize = 12;

/// The folder of all images.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// What something is made of, by name and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions(Vec<(String, String)>);

impl Versions {
    /// Adds one; the first of a name counts.
    pub(super) fn add(&mut self, name: &str, version: &str) {
        if self.of(name).is_none() {
            self.0.push((name.to_owned(), version.to_owned()));
        }
    }

    /// The version of one of them.
    pub(crate) fn of(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, version)| version.as_str())
    }

    /// All of them, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, version)| (name.as_str(), version.as_str()))
    }

    fn to_text(&self) -> String {
        self.iter().map(|(name, version)| format!("{name} {version}\n")).collect()
    }

    fn from_text(text: &str) -> Self {
        let pair = |line: &str| {
            let (name, version) = line.split_once(' ')?;
            Some((name.to_owned(), version.to_owned()))
        };
        Self(text.lines().filter_map(pair).collect())
    }
}

/// The name of the folder for an image of these versions: the order does not matter.
fn folder_name(configuration: Configuration, versions: &Versions) -> String {
    let mut lines: Vec<String> =
        versions.iter().map(|(name, version)| format!("{name} {version}\n")).collect();
    lines.sort();
    let digest = digest(format!("recipe {RECIPE}\n{}", lines.concat()).as_bytes());
    let version = versions.of("optee-os").unwrap_or("unknown");
    // A version may have characters that file names should not have.
    let version: String = version
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    format!("{}-{version}-{digest}", configuration.name())
}

/// A short digest in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes)).chars().take(DIGITS).collect()
}

impl Cache {
    pub(super) fn of(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.cache.join("optee");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Held while something is made: a second process waits and then finds it made.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.folder.join("lock");
        let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
        file.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(file)
    }

    /// The image in use, if it was made by this recipe.
    pub(super) fn current(&self, configuration: Configuration) -> Option<(PathBuf, Versions)> {
        let name = fs::read_to_string(self.pointer(configuration)).ok()?;
        let folder = self.folder.join(name.trim());
        let versions = Versions::from_text(&fs::read_to_string(folder.join("versions.txt")).ok()?);
        (folder_name(configuration, &versions) == name.trim()).then_some((folder, versions))
    }

    /// Makes the image of these versions, unless it is there, and takes it into use.
    pub(super) fn make(
        &self,
        configuration: Configuration,
        versions: &Versions,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let name = folder_name(configuration, versions);
        let folder = self.folder.join(&name);
        if !folder.is_dir() {
            let partial = tempfile::tempdir_in(&self.folder)?;
            make(partial.path())?;
            fs::write(partial.path().join("versions.txt"), versions.to_text())?;
            fs::rename(partial.path(), &folder)
                .with_context(|| format!("rename to {}", folder.display()))?;
            // It has another name: there is nothing left to delete.
            let _ = partial.keep();
        }
        fs::write(self.pointer(configuration), format!("{name}\n"))?;
        Ok(folder)
    }

    fn pointer(&self, configuration: Configuration) -> PathBuf {
        self.folder.join(format!("{}.current", configuration.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(pairs: &[(&str, &str)]) -> Versions {
        let mut versions = Versions::default();
        for (name, version) in pairs {
            versions.add(name, version);
        }
        versions
    }

    #[test]
    fn a_key_depends_on_every_version_and_not_on_their_order() {
        let name = |pairs: &[(&str, &str)]| folder_name(Configuration::Big, &versions(pairs));
        let first = name(&[("optee-os", "4.10.0-2"), ("libc6", "2.43-7")]);
        assert!(first.starts_with("big-4.10.0-2-"), "{first}");
        assert_eq!(first, name(&[("libc6", "2.43-7"), ("optee-os", "4.10.0-2")]));
        assert_ne!(first, name(&[("optee-os", "4.10.0-2"), ("libc6", "2.43-8")]));
        assert_ne!(first, name(&[("optee-os", "4.10.0-2")]));
        let odd = name(&[("optee-os", "1:4~rc/1+b2")]);
        assert!(odd.starts_with("big-1-4-rc-1-b2-"), "{odd}");
    }

    #[test]
    fn what_was_made_is_found_again_and_not_made_twice() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: folder.path().to_path_buf() };
        let versions = versions(&[("optee-os", "1"), ("linux", "6 (x)")]);
        assert!(cache.current(Configuration::Stock).is_none());
        let made = cache
            .make(Configuration::Stock, &versions, |folder| Ok(fs::write(folder.join("a"), "b")?))
            .unwrap();
        assert_eq!(fs::read_to_string(made.join("a")).unwrap(), "b");
        let again = cache
            .make(Configuration::Stock, &versions, |_| anyhow::bail!("made a second time"))
            .unwrap();
        assert_eq!(made, again);
        assert_eq!(cache.current(Configuration::Stock), Some((made.clone(), versions)));
        assert!(cache.current(Configuration::Big).is_none());
        fs::write(made.join("versions.txt"), "optee-os 2\n").unwrap();
        assert!(cache.current(Configuration::Stock).is_none(), "a changed folder is not used");
    }

    #[test]
    fn what_failed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: folder.path().to_path_buf() };
        let versions = versions(&[("optee-os", "1")]);
        cache.make(Configuration::Big, &versions, |_| anyhow::bail!("no")).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
