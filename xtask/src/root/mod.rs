// SPDX-License-Identifier: MIT
//! Root folders for guest programs, made of unmodified Debian 12 packages.
//!
//! A root is made once, in the cache; a stamp beside it says what it was made of. Same packages,
//! same folder: file times that do not come from a package are set to a fixed one.

mod finish;
mod sets;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

pub(crate) use sets::Set;

use crate::{
    apt::{View, unpack},
    process,
    progress::Step,
    workspace::Workspace,
};

/// Raise it when roots made by older code must be made again.
const RECIPE: u32 = 2;

/// A root folder, ready to use.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// `small`, `debian`, or the name of a derived root.
    pub(crate) name: String,
    /// The folder itself; nobody writes to it.
    pub(crate) folder: PathBuf,
    /// Changes whenever the contents do.
    pub(crate) stamp: String,
}

impl Root {
    /// The root of `set`; built if it is not there or was built by another recipe.
    pub(crate) fn of_set(workspace: &Workspace, set: Set) -> Result<Self> {
        let roots = workspace.cache.join("roots");
        let folder = roots.join(set.name());
        let stamp_file = roots.join(format!("{}.stamp", set.name()));
        let wanted = recipe(set);
        let stamp = fs::read_to_string(&stamp_file).unwrap_or_default();
        if folder.is_dir() && stamp.starts_with(&wanted) {
            return Ok(Self { name: set.name().to_owned(), folder, stamp: digest(&stamp) });
        }
        fs::create_dir_all(&roots)?;
        let contents = build(workspace, set, &folder)?;
        let stamp = format!("{wanted}{contents}");
        fs::write(&stamp_file, &stamp)?;
        Ok(Self { name: set.name().to_owned(), folder, stamp: digest(&stamp) })
    }

    /// True when [`Root::of_set`] would have nothing to do.
    pub(crate) fn is_made(workspace: &Workspace, set: Set) -> bool {
        let roots = workspace.cache.join("roots");
        let stamp = fs::read_to_string(roots.join(format!("{}.stamp", set.name())));
        roots.join(set.name()).is_dir() && stamp.is_ok_and(|stamp| stamp.starts_with(&recipe(set)))
    }

    /// A copy of this root with more files: pairs of a host file and its path inside.
    ///
    /// Unchanged files are shared as hard links: nobody writes to a root.
    pub(crate) fn with_files(
        &self,
        workspace: &Workspace,
        name: &str,
        files: &[(PathBuf, PathBuf)],
    ) -> Result<Self> {
        let mut description = self.stamp.clone();
        for (source, inside) in files {
            let bytes = fs::read(source).with_context(|| format!("read {}", source.display()))?;
            writeln!(description, "{} {}", inside.display(), digest_bytes(&bytes))?;
        }
        let stamp = digest(&description);
        let folder = workspace.cache.join("roots").join(name);
        let stamp_file = folder.with_extension("stamp");
        let derived = Self { name: name.to_owned(), folder, stamp };
        if fs::read_to_string(&stamp_file).is_ok_and(|stamp| stamp == derived.stamp) {
            return Ok(derived);
        }
        clear(&derived.folder)?;
        let mut copy = Command::new("cp");
        copy.arg("-al").arg(&self.folder).arg(&derived.folder);
        process::run_quietly(&mut copy)?;
        for (source, inside) in files {
            let target = derived.folder.join(inside.strip_prefix("/").unwrap_or(inside));
            fs::create_dir_all(target.parent().context("a file lies in a folder")?)?;
            if target.symlink_metadata().is_ok() {
                fs::remove_file(&target)?;
            }
            fs::copy(source, &target).with_context(|| format!("copy to {}", target.display()))?;
        }
        finish::fix_times(&derived.folder, finish::Times::AllOf(files))?;
        fs::write(&stamp_file, &derived.stamp)?;
        Ok(derived)
    }

    /// This root as an image file, built by the launcher once per contents and launcher. It lies beside
    /// the launcher: another checkout has another one, and forgets images that are not its own.
    pub(crate) fn image(&self, workspace: &Workspace) -> Result<PathBuf> {
        let launcher = workspace.launcher();
        let tool = digest_bytes(&fs::read(&launcher).context("read the launcher")?);
        let key = digest(&format!("{}{tool}", self.stamp));
        let images = workspace.target.join("images");
        fs::create_dir_all(&images)?;
        let prefix = format!("{}-", self.name);
        let image = images.join(format!("{prefix}{}.img", key.get(..16).unwrap_or(&key)));
        if image.exists() {
            return Ok(image);
        }
        let step = Step::start(&format!("root image {}", self.name));
        forget_old_images(&images, &prefix)?;
        let partial = image.with_extension("partial");
        let mut command = Command::new(&launcher);
        command.args(["image", "build", "--root"]).arg(&self.folder).arg("-o").arg(&partial);
        process::run_quietly(&mut command)?;
        fs::rename(&partial, &image)?;
        step.finish("built");
        Ok(image)
    }
}

fn build(workspace: &Workspace, set: Set, folder: &Path) -> Result<String> {
    let step = Step::start(&format!("root folder {}", set.name()));
    let view = View::open(workspace, &["bookworm"])?;
    step.note("download packages");
    let packages = view.download(set.name(), set.packages(), set.depth())?;
    let partial = folder.with_extension("partial");
    clear(&partial)?;
    finish::merged_usr(&partial)?;
    unpack(&packages, &partial, &step)?;
    step.note("finish");
    finish::finish(&partial, set)?;
    clear(folder)?;
    fs::rename(&partial, folder)?;
    view.forget(set.name())?;
    step.finish(&format!("made of {} packages", packages.len()));
    let mut contents = String::new();
    for package in &packages {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        writeln!(contents, "{name}")?;
    }
    Ok(contents)
}

/// First lines of the stamp: what the root is meant to be, whatever versions it came to.
fn recipe(set: Set) -> String {
    format!("recipe {RECIPE}: {}\n", set.packages().join(" "))
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("delete {}", folder.display()))?;
    }
    Ok(())
}

fn forget_old_images(images: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(images)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn digest(text: &str) -> String {
    digest_bytes(text.as_bytes())
}

fn digest_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha_256_in_hex() {
        assert_eq!(
            digest("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
