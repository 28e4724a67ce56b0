// SPDX-License-Identifier: MIT
//! What executes the enclave's instructions: the processor itself, through KVM, where a trial has
//! shown that it can; else QEMU's emulator.
//!
//! A `/dev/kvm` that opens is no proof. With some modules behind it (`kvm_pvm`, for machines that
//! are guests themselves) ring 0 of a guest is interpreted, a system call from ring 3 faults, and
//! other instructions hang. So a small program runs in the payload under KVM first, with a time
//! limit. The verdict is kept until the host boots again or has another QEMU.

mod trial;

use crate::folders;
use crate::image::hex_prefix;
use crate::launch::Payload;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What executes the enclave's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor, through KVM.
    Kvm,
    /// QEMU's emulator, the Tiny Code Generator.
    Tcg,
}

impl Accelerator {
    /// QEMU's name for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// What it protects, to be shown to users: nothing.
    pub const fn platform(self) -> &'static str {
        match self {
            Self::Kvm => "simulated (QEMU KVM): no memory encryption, no attestation",
            Self::Tcg => "simulated (QEMU TCG): no memory encryption, simulated attestation",
        }
    }
}

/// Which accelerator is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcceleratorChoice {
    /// KVM where its trial succeeds, else emulation.
    #[default]
    Auto,
    /// That one, or an error.
    Only(Accelerator),
}

/// No accelerator has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is one of: auto, kvm, tcg")]
pub struct UnknownAccelerator;

impl FromStr for AcceleratorChoice {
    type Err = UnknownAccelerator;

    fn from_str(name: &str) -> Result<Self, UnknownAccelerator> {
        match name {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Only(Accelerator::Kvm)),
            "tcg" => Ok(Self::Only(Accelerator::Tcg)),
            _ => Err(UnknownAccelerator),
        }
    }
}

impl fmt::Display for AcceleratorChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Only(accelerator) => accelerator.name(),
        })
    }
}

impl AcceleratorChoice {
    /// The accelerator to use with this QEMU and payload; may run the trial.
    pub(crate) fn settle(self, qemu: &Path, payload: &Payload) -> Accelerator {
        match self {
            Self::Only(accelerator) => accelerator,
            Self::Auto if kvm_opens() && kvm_works(qemu, payload) => Accelerator::Kvm,
            Self::Auto => Accelerator::Tcg,
        }
    }
}

fn kvm_opens() -> bool {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// What an earlier trial found out, or a new one does.
fn kvm_works(qemu: &Path, payload: &Payload) -> bool {
    let verdict = verdict_file(qemu);
    let known = verdict.as_deref().and_then(|file| fs::read_to_string(file).ok());
    match known.as_deref() {
        Some(WORKS) => true,
        Some(FAILS) => false,
        Some(_) | None => {
            let works = trial::succeeds(qemu, payload);
            if let Some(file) = verdict {
                remember(&file, if works { WORKS } else { FAILS });
            }
            works
        }
    }
}

const WORKS: &str = "works\n";
const FAILS: &str = "fails\n";

/// Named after all that the verdict depends on; none where there is no place for it.
fn verdict_file(qemu: &Path) -> Option<PathBuf> {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    let metadata = fs::metadata(qemu).ok()?;
    let mut hash = Sha256::new();
    hash.update(&boot);
    hash.update(qemu.as_os_str().as_bytes());
    for number in [metadata.ino(), metadata.size(), metadata.mtime().cast_unsigned()] {
        hash.update(number.to_le_bytes());
    }
    Some(folders::cache().ok()?.join("kvm").join(hex_prefix(&hash.finalize())))
}

/// Keeps the verdict, and no older one. Where that fails, the next launch tries again.
fn remember(file: &Path, verdict: &str) {
    let Some(folder) = file.parent() else { return };
    for old in fs::read_dir(folder).into_iter().flatten().flatten() {
        let _ = fs::remove_file(old.path());
    }
    let _ = fs::create_dir_all(folder);
    if let Ok(mut new) = tempfile::NamedTempFile::new_in(folder)
        && new.write_all(verdict.as_bytes()).is_ok()
    {
        let _ = new.persist(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown() {
        for name in ["auto", "kvm", "tcg"] {
            assert_eq!(name.parse::<AcceleratorChoice>().unwrap().to_string(), name);
        }
        assert_eq!("KVM".parse::<AcceleratorChoice>(), Err(UnknownAccelerator));
    }

    #[test]
    fn a_verdict_is_kept_and_replaces_older_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("kvm/old"), folder.path().join("kvm/new"));
        remember(&old, WORKS);
        remember(&new, FAILS);
        assert_eq!(fs::read_to_string(&new).unwrap(), FAILS);
        assert!(!old.exists());
    }

    #[test]
    fn a_qemu_that_is_none_fails_its_trial() {
        let payload = Payload::File("/proc/version".into());
        assert!(!trial::succeeds("/bin/false".as_ref(), &payload));
    }
}
