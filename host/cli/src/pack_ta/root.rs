// SPDX-License-Identifier: MIT
//! A root file system in a directory of the host.

use anyhow::bail;
use std::fs;
use std::path::{Component, Path, PathBuf};
use strongroom_optee_packer::File;
use strongroom_optee_packer::closure::Root;

/// Symbolic links of a path after which it is taken to lead in circles (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

/// A directory that plays the root: links in it lead to places in it.
#[derive(Debug)]
pub(super) struct DirectoryRoot(PathBuf);

impl DirectoryRoot {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.is_dir() {
            bail!("{} is no directory: unpack it, to be packed", path.display());
        }
        Ok(Self(path.to_owned()))
    }

    /// The place inside that a path leads to, from the root on, without links.
    fn resolve(&self, path: &str) -> Option<PathBuf> {
        let mut place = PathBuf::new();
        let mut waiting: Vec<PathBuf> = vec![path.into()];
        let mut links = 0_usize;
        while let Some(next) = waiting.pop() {
            let mut parts = next.components();
            let Some(part) = parts.next() else { continue };
            waiting.push(parts.as_path().to_owned());
            match part {
                Component::RootDir | Component::Prefix(_) => place = PathBuf::new(),
                Component::CurDir => {}
                Component::ParentDir => {
                    place.pop();
                }
                Component::Normal(name) => {
                    let there = self.0.join(&place).join(name);
                    match fs::read_link(&there) {
                        Ok(target) => {
                            links = links.saturating_add(1);
                            if links > LINKS_MAX {
                                return None;
                            }
                            waiting.push(target);
                        }
                        Err(_) => place.push(name),
                    }
                }
            }
        }
        Some(place)
    }
}

impl Root for DirectoryRoot {
    fn read(&self, path: &str) -> Result<Option<File>, String> {
        let Some(place) = self.resolve(path) else { return Ok(None) };
        let there = self.0.join(&place);
        if !there.is_file() {
            return Ok(None);
        }
        let contents = fs::read(&there)
            .map_err(|error| format!("cannot read {}: {error}", there.display()))?;
        let Some(place) = place.to_str() else { return Ok(None) };
        Ok(Some(File { path: format!("/{place}"), contents }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |path: &str| folder.path().join(path);
        fs::create_dir_all(inside("usr/lib")).unwrap();
        fs::write(inside("usr/lib/a.so"), b"a").unwrap();
        symlink("usr/lib", inside("lib")).unwrap();
        symlink("/usr/lib/a.so", inside("usr/lib/b.so")).unwrap();
        symlink("../../../../usr/lib/b.so", inside("usr/lib/c.so")).unwrap();
        symlink("loop", inside("loop")).unwrap();
        let root = DirectoryRoot::open(folder.path()).unwrap();
        for path in ["/lib/a.so", "lib/b.so", "/usr/lib/c.so", "/lib/.././lib/a.so"] {
            let file = root.read(path).unwrap().unwrap();
            assert_eq!(
                (file.path.as_str(), &file.contents[..]),
                ("/usr/lib/a.so", &b"a"[..]),
                "{path}"
            );
        }
        for path in ["/loop", "/lib", "/lib/d.so", "/etc/passwd"] {
            assert_eq!(root.read(path), Ok(None), "{path}");
        }
        assert!(DirectoryRoot::open(&inside("usr/lib/a.so")).is_err());
    }
}
