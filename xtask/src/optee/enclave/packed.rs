// SPDX-License-Identifier: MIT
//! Cases packed into trusted applications.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{
    built::{self, Built},
    cases::{Case, Spoil},
    root,
};
use crate::{optee::Made, process, workspace::Workspace};

/// What packing takes.
#[derive(Debug)]
pub(super) struct Packer {
    pub(super) built: Built,
    made: Made,
    pub(super) root: PathBuf,
    /// Files go there, and are gone when this is.
    pub(super) work: TempDir,
}

/// A packed case.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) uuid: String,
    pub(super) application: PathBuf,
    pub(super) image: PathBuf,
}

impl Packer {
    /// Builds for an image, and makes the root.
    pub(super) fn make(workspace: &Workspace, made: &Made) -> Result<Self> {
        let built = Built::make(workspace, made)?;
        let root = root::make(workspace)?;
        let work = tempfile::tempdir_in(&workspace.target)?;
        Ok(Self { built, made: made.clone(), root, work })
    }

    /// Packs a case, and spoils what is to be spoilt.
    pub(super) fn pack(&self, case: &Case) -> Result<Packed> {
        let key = match case.spoil {
            Some(Spoil::Key) => self.other_key()?,
            Some(Spoil::Application | Spoil::Image(_)) | None => built::key(&self.made),
        };
        let mut command = self.command(case, &key)?;
        let printed = process::run_quietly(&mut command).with_context(|| case.name.clone())?;
        let uuid = String::from_utf8_lossy(&printed).trim().to_owned();
        let file = |ending: &str| self.work.path().join(format!("{uuid}.{ending}"));
        // The same root gives the same image: one is enough.
        let image = self.work.path().join("image");
        fs::rename(file("image"), &image)?;
        let application = file("ta");
        if case.spoil == Some(Spoil::Application) {
            flip_in_the_middle(&application)?;
        }
        Ok(Packed { uuid, application, image })
    }

    /// What is wrong with how the packer refuses a case.
    pub(super) fn refuses(&self, case: &Case, words: &str) -> Result<Option<String>> {
        let output = self.command(case, &built::key(&self.made))?.output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let good = output.status.code() == Some(125) && output.stdout.is_empty();
        Ok((!(good && errors.contains(words) && errors.contains("hint: ")))
            .then(|| format!("{}: {errors}", output.status)))
    }

    fn command(&self, case: &Case, key: &Path) -> Result<Command> {
        let mut command = Command::new(&self.built.launcher);
        command.args(["pack-ta", "--squash-owner", "--memory", &case.memory, "--root"]);
        command.arg(&self.root).arg("--key").arg(key);
        command.arg("--library-os").arg(&self.built.library_os);
        for grant in &case.grants {
            command.args(["--grant", grant]);
        }
        if !case.spawns.is_empty() {
            let program = case.command.first().context("a case has a program")?;
            let manifest = self.work.path().join("spawns.toml");
            let text = format!("[workload]\nprogram = {program:?}\nspawns = {:?}\n", case.spawns);
            fs::write(&manifest, text)?;
            command.arg("--manifest").arg(manifest);
        }
        for library in &case.libraries {
            command.args(["--library", library]);
        }
        // Two cases with the same program are two applications.
        command.args(["--env", &format!("CASE={}", case.name)]);
        command.arg("--output").arg(self.work.path()).arg("--").args(&case.command);
        Ok(command)
    }

    /// A key of our own.
    fn other_key(&self) -> Result<PathBuf> {
        let key = self.work.path().join("other.pem");
        let mut command = Command::new("openssl");
        command.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]);
        process::run_quietly(command.arg(&key))?;
        Ok(key)
    }
}

fn flip_in_the_middle(file: &Path) -> Result<()> {
    let mut bytes = fs::read(file)?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("an empty file")? ^= 1;
    Ok(fs::write(file, bytes)?)
}

/// Where in an image the first byte of a file of its root lies.
pub(super) fn place_in_image(image: &Path, root: &Path, file: &str) -> Result<usize> {
    const LENGTH: usize = 64;
    let contents = fs::read(root.join(file)).with_context(|| format!("read {file}"))?;
    let Some(beginning) = contents.get(..LENGTH) else { bail!("{file} is too short to be found") };
    let image = fs::read(image)?;
    let mut places = image.windows(LENGTH).enumerate().filter(|(_, window)| *window == beginning);
    let (place, _) = places.next().with_context(|| format!("{file} is not in the image"))?;
    ensure!(places.next().is_none(), "{file} begins like another file");
    Ok(place)
}
