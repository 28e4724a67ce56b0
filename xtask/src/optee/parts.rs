// SPDX-License-Identifier: MIT
//! What a machine is started from: a made image, with parts of it replaced by the user's own.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use strongroom_optee_qemu::{Error, Image, Options};

use super::{
    Configuration,
    cache::{Cache, digest},
    firmware::{self, SecureMemory, TEE_PARTS},
    image::Made,
    packages::{self, STABLE, Source, view},
    programs,
};
use crate::{
    Setup,
    progress::Step,
    setup::{self, Wants},
    workspace::Workspace,
};

/// Folders of logs that are kept, and how many seconds each is kept in any case.
const LOGS_KEPT: usize = 20;
const LOGS_YOUNG_S: u64 = 24 * 3600;

/// Which image, and what of it is replaced.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Parts {
    /// Which OP-TEE [default: big, or stock where big cannot be built]
    #[arg(long)]
    pub(super) config: Option<Configuration>,
    /// A flash image of your own: TF-A with OP-TEE, that starts Linux at 0x60000000
    #[arg(long, value_name = "FILE", conflicts_with = "optee_dir")]
    flash: Option<PathBuf>,
    /// An OP-TEE of your own (PLATFORM=vexpress-qemu_armv8a): the folder of its build with
    /// core/tee-header_v2.bin and the others; TF-A is built around it
    #[arg(long, value_name = "DIR")]
    optee_dir: Option<PathBuf>,
    /// A kernel of your own: a plain arm64 Image with OP-TEE's driver built in
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// A folder that is merged over the normal world's root; may be given more than once
    #[arg(long, value_name = "DIR")]
    rootfs_overlay: Vec<PathBuf>,
    /// Keep OP-TEE's secure storage in this folder from one boot to the next
    #[arg(long, value_name = "DIR")]
    keep_storage: Option<PathBuf>,
    /// Where the consoles' logs go [default: a folder of its own in target/optee]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    #[command(flatten)]
    pub(super) setup: Setup,
}

impl Parts {
    /// Makes what is missing; the options of a machine.
    pub(super) fn prepare(&self, workspace: &Workspace, limit: Duration) -> Result<Options> {
        let made = self.image(workspace)?;
        self.options(workspace, &made, limit)
    }

    /// Makes the image, if it is not there.
    pub(super) fn image(&self, workspace: &Workspace) -> Result<Made> {
        self.check()?;
        let images = self.config.unwrap_or(Configuration::Big).alone();
        setup::setup(workspace, Wants::optee(images), self.setup.no_install)?;
        match self.config {
            Some(configuration) => Made::of(workspace, configuration, false),
            None => Made::best(workspace),
        }
    }

    /// The options of a machine of a made image.
    pub(super) fn options(
        &self,
        workspace: &Workspace,
        made: &Made,
        limit: Duration,
    ) -> Result<Options> {
        let mut image = Image::in_directory(&made.folder, programs::agent(workspace)?);
        if let Some(flash) = &self.flash {
            image.flash.clone_from(flash);
        }
        if let Some(folder) = &self.optee_dir {
            image.flash = own_flash(workspace, folder)?;
        }
        if let Some(kernel) = &self.kernel {
            image.kernel.clone_from(kernel);
        }
        let logs = match &self.logs {
            Some(folder) => folder.clone(),
            None => logs(workspace, made.configuration)?,
        };
        let mut options = Options::new(image, logs);
        options.overlays.clone_from(&self.rootfs_overlay);
        options.storage.clone_from(&self.keep_storage);
        options.limit = limit;
        Ok(options)
    }

    /// Files that are named have to be there before anything is downloaded.
    fn check(&self) -> Result<()> {
        for (option, file) in [("--flash", &self.flash), ("--kernel", &self.kernel)] {
            if let Some(file) = file.as_ref().filter(|file| !file.is_file()) {
                bail!("{option}: there is no file {}", file.display());
            }
        }
        let folders = self.rootfs_overlay.iter().map(|folder| ("--rootfs-overlay", folder));
        for (option, folder) in
            folders.chain(self.optee_dir.iter().map(|folder| ("--optee-dir", folder)))
        {
            if !folder.is_dir() {
                bail!("{option}: there is no folder {}", folder.display());
            }
        }
        Ok(())
    }
}

/// A flash image around the OP-TEE in `folder`, built once for the same files.
fn own_flash(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let core = [folder.to_path_buf(), folder.join("core")];
    let tee = core.iter().find(|folder| folder.join(TEE_PARTS[0]).is_file());
    let tee = tee.with_context(|| {
        format!("--optee-dir: neither {0} nor {0}/core has {1}", folder.display(), TEE_PARTS[0])
    })?;
    let memory = memory_of(tee)?;
    let mut contents = format!("{memory:?}").into_bytes();
    for part in TEE_PARTS {
        let part = tee.join(part);
        contents.extend(fs::read(&part).with_context(|| format!("read {}", part.display()))?);
    }
    let cache = Cache::of(workspace)?;
    let _one_at_a_time = cache.lock()?;
    let flash = cache.folder().join(format!("own-{}.bin", digest(&contents)));
    if flash.exists() {
        return Ok(flash);
    }
    let step = Step::start("build TF-A around your OP-TEE");
    let stable = view(workspace, STABLE)?;
    let tfa = Source::download(&stable, firmware::PACKAGE)?;
    let work = tempfile::tempdir_in(cache.folder())?;
    let partial = work.path().join("flash.bin");
    firmware::build(&tfa, &fs::canonicalize(tee)?, memory, work.path(), &partial)?;
    packages::forget(&stable)?;
    fs::rename(&partial, &flash)?;
    step.finish("built");
    Ok(flash)
}

/// Where an OP-TEE was built to lie: `conf.mk` beside its `core` folder says so.
fn memory_of(tee: &Path) -> Result<SecureMemory> {
    let conf = tee.join("../conf.mk");
    let Ok(text) = fs::read_to_string(&conf) else { return Ok(SecureMemory::PROTECTED) };
    memory_in(&text).with_context(|| format!("in {}", conf.display()))
}

fn memory_in(conf: &str) -> Result<SecureMemory> {
    let value = |name: &str| -> Result<Option<u64>> {
        let mut values = conf.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let Some(text) = values.next() else { return Ok(None) };
        let digits = text.trim().trim_start_matches("0x");
        let number = u64::from_str_radix(digits, 16);
        Ok(Some(number.with_context(|| format!("{name} is no hexadecimal number: {text}"))?))
    };
    Ok(match (value("CFG_TZDRAM_START")?, value("CFG_TZDRAM_SIZE")?) {
        (Some(start), Some(size)) => SecureMemory { start, size },
        (None | Some(_), None | Some(_)) => SecureMemory::PROTECTED,
    })
}

/// A folder for the logs of one machine; old ones are deleted.
fn logs(workspace: &Workspace, configuration: Configuration) -> Result<PathBuf> {
    let all = workspace.target.join("optee");
    fs::create_dir_all(&all).with_context(|| format!("create {}", all.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let names: Vec<String> = fs::read_dir(&all)?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    for name in outdated(names, now) {
        // Another run may have deleted it just before.
        let _ = fs::remove_dir_all(all.join(name));
    }
    Ok(all.join(format!("{now}-{}-{}", std::process::id(), configuration.name())))
}

/// Of folders named after the second in which they were made, those that are neither among the
/// newest nor young: a machine may still write to a young one.
fn outdated(mut names: Vec<String>, now: u64) -> Vec<String> {
    names.sort();
    names.truncate(names.len().saturating_sub(LOGS_KEPT));
    let made = |name: &String| name.split('-').next()?.parse::<u64>().ok();
    names.retain(|name| made(name).is_some_and(|made| now.saturating_sub(made) > LOGS_YOUNG_S));
    names
}

/// A machine's error with what to do about it.
pub(super) fn explained(error: Error) -> anyhow::Error {
    match error.hint() {
        Some(hint) => anyhow::anyhow!("{error}\nhint: {hint}"),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_optee_is_read_from_its_build() {
        let conf = "CFG_A=y\nCFG_TZDRAM_START=0x50000000\nCFG_TZDRAM_SIZE=0x0c000000\n";
        assert_eq!(memory_in(conf).unwrap(), SecureMemory::LARGE);
        assert_eq!(memory_in("CFG_A=y\n").unwrap(), SecureMemory::PROTECTED);
        assert!(memory_in("CFG_TZDRAM_START=soon\n").is_err());
    }

    #[test]
    fn only_old_folders_of_ours_are_outdated() {
        let day = LOGS_YOUNG_S;
        let mut names: Vec<String> = (0..30).map(|age| format!("{}-7-big", 1000 + age)).collect();
        names.push("a user's own".to_owned());
        let found = outdated(names.clone(), 1000 + 2 * day);
        assert_eq!(found.len(), 11);
        assert!(
            found.contains(&"1010-7-big".to_owned()) && !found.contains(&"1011-7-big".to_owned())
        );
        assert!(!found.contains(&"a user's own".to_owned()));
        // The oldest has just passed its day, the others have not.
        assert_eq!(outdated(names, 1001 + day), ["1000-7-big"]);
    }

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        parts: Parts,
    }

    fn parse(words: &[&str]) -> Result<Parts, clap::Error> {
        let words = std::iter::once("x").chain(words.iter().copied());
        <Line as clap::Parser>::try_parse_from(words).map(|line| line.parts)
    }

    #[test]
    fn parts_that_are_not_there_are_named_before_anything_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing").display().to_string();
        for option in ["--flash", "--kernel", "--optee-dir", "--rootfs-overlay"] {
            let error = parse(&[option, &missing]).unwrap().check().unwrap_err().to_string();
            assert!(error.starts_with(option) && error.ends_with(&missing), "{error}");
        }
        let there = folder.path().display().to_string();
        parse(&["--rootfs-overlay", &there, "--optee-dir", &there]).unwrap().check().unwrap();
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        assert!(parse(&["--flash", "a", "--optee-dir", "b"]).is_err());
        assert!(parse(&["--config", "small"]).is_err());
        assert_eq!(parse(&["--config", "big"]).unwrap().config, Some(Configuration::Big));
    }
}
