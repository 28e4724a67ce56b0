// SPDX-License-Identifier: MIT
//! What a processor will say of a package, computed from the package alone.

use super::{Package, PackageError, Target};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use strongroom_snp_igvm::{Identity, LaunchImage, Profile};
use strongroom_verifier::Hex;

/// Names of launchers whose measurements can be computed.
pub const LAUNCHERS: [&str; 1] = ["qemu-igvm"];

/// A launch digest with what it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measurement {
    /// `snp`, or `snp-sim` for an image that protects nothing.
    pub target: String,
    /// What a report says in `MEASUREMENT`.
    pub launch_digest: Hex<48>,
    /// `SEV_FEATURES` of the save areas, for the policy's `sev_features`.
    pub sev_features: u64,
    /// The launcher: QEMU from 10.1 on, with an IGVM file.
    pub launcher: &'static str,
    /// Processors.
    pub vcpus: u32,
    /// Their model, where it is pinned.
    pub vcpu_model: Option<String>,
    /// SHA-256 of the kernel image.
    pub kernel: Hex<32>,
    /// SHA-256 of the boot record.
    pub boot_record: Hex<32>,
}

impl Measurement {
    /// The measurement of a kernel image with a boot record; none where the target has no way to
    /// be measured here.
    pub(super) fn of(
        target: Target,
        kernel: &[u8],
        record: &[u8],
        profile: &Profile,
    ) -> Result<Option<Self>, PackageError> {
        match target {
            Target::Optee => return Ok(None),
            Target::Snp | Target::SnpSim => {}
        }
        let image = LaunchImage::build(kernel, record, profile)?;
        Ok(Some(Self {
            target: target.to_string(),
            launch_digest: Hex(image.digest()),
            sev_features: profile.features().0,
            launcher: LAUNCHERS[0],
            vcpus: profile.vcpus(),
            vcpu_model: profile.model().map(str::to_owned),
            kernel: Hex(Sha256::digest(kernel).into()),
            boot_record: Hex(Sha256::digest(record).into()),
        }))
    }
}

impl Package {
    /// The measurement for a target under a launcher's profile, from the kernel image in the
    /// package.
    ///
    /// # Errors
    /// [`PackageError`] where the package has no image for the target, or one that cannot be
    /// measured.
    pub fn measure(&self, target: Target, profile: &Profile) -> Result<Measurement, PackageError> {
        let kernel = self.kernel(target)?;
        let measured = Measurement::of(target, &kernel, self.record_bytes(), profile)?;
        measured.ok_or(PackageError::NotMeasurable(target))
    }

    /// The IGVM file to launch, under a guest policy, with an identity block if there is one.
    ///
    /// # Errors
    /// As [`Package::measure`].
    pub fn igvm(
        &self,
        target: Target,
        profile: &Profile,
        policy: u64,
        identity: Option<&Identity>,
    ) -> Result<Vec<u8>, PackageError> {
        match target {
            Target::Optee => return Err(PackageError::NotMeasurable(target)),
            Target::Snp | Target::SnpSim => {}
        }
        let image = LaunchImage::build(&self.kernel(target)?, self.record_bytes(), profile)?;
        Ok(image.to_igvm(policy, identity)?)
    }
}
