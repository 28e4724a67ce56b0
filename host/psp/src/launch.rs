// SPDX-License-Identifier: MIT
//! What the security processor knows of a guest from its launch.

use crate::{InstallationError, PAGE_LEN, Page, put};
use ring::rand::{SecureRandom as _, SystemRandom};
use strongroom_evidence::GuestPolicy;
use strongroom_snp_layout::PRIVATE_BIT;

/// Keys of channels that a guest has, one a privilege level.
pub const VMPCKS: usize = 4;

/// Which version of the report is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportVersion {
    /// Version 2, which does not name the processor.
    V2,
    /// Version 3, which every verifier of today knows.
    #[default]
    V3,
    /// Version 5, with mitigation vectors.
    V5,
}

/// A guest, as launched.
#[derive(Clone)]
pub struct Launch {
    /// The launch digest.
    pub measurement: [u8; 48],
    /// What the host chose.
    pub host_data: [u8; 32],
    /// What the guest's owner lets the host do.
    pub policy: GuestPolicy,
    /// The guest's security version.
    pub guest_svn: u32,
    /// Which version its reports have.
    pub report_version: ReportVersion,
    pub(crate) report_id: [u8; 32],
    pub(crate) vmpcks: [[u8; 32]; VMPCKS],
}

impl std::fmt::Debug for Launch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Launch").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Launch {
    /// A guest with that launch digest and fresh keys, under the policy that allows what every
    /// processor has: hyperthreads, and nothing else.
    ///
    /// # Errors
    /// [`InstallationError::NoRandomness`].
    pub fn new(measurement: [u8; 48]) -> Result<Self, InstallationError> {
        let mut random = [0; 32 + 32 * VMPCKS];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| InstallationError::NoRandomness)?;
        let ([report_id, keys @ ..], []) = random.as_chunks() else {
            return Err(InstallationError::NoRandomness);
        };
        let mut vmpcks = [[0; 32]; VMPCKS];
        vmpcks.iter_mut().zip(keys).for_each(|(to, from)| *to = *from);
        let policy = GuestPolicy::from_bits(GuestPolicy::SMT | GuestPolicy::MUST_BE_ONE);
        Ok(Self {
            measurement,
            host_data: [0; 32],
            policy: policy.map_err(|_| InstallationError::NoRandomness)?,
            guest_svn: 0,
            report_version: ReportVersion::default(),
            report_id: *report_id,
            vmpcks,
        })
    }

    /// The page that the security processor fills with the guest's keys (56860, section
    /// 8.17.2.6).
    #[must_use]
    pub fn secrets_page(&self) -> Page {
        let mut page = [0; PAGE_LEN];
        put(&mut page, 0, &3_u32.to_le_bytes());
        for (key, offset) in self.vmpcks.iter().zip((0x20..).step_by(32)) {
            put(&mut page, offset, key);
        }
        page
    }
}

/// The page of CPUID values, as far as the simulation has it: the leaf of memory encryption. All
/// other values are the emulated processor's own.
#[must_use]
pub fn cpuid_page() -> Page {
    const LEAF: u32 = 0x8000_001f;
    /// SEV, SEV-ES, SEV-SNP.
    const FEATURES: u32 = 1 << 1 | 1 << 3 | 1 << 4;
    let mut page = [0; PAGE_LEN];
    put(&mut page, 0, &1_u32.to_le_bytes());
    put(&mut page, 16, &LEAF.to_le_bytes());
    put(&mut page, 40, &FEATURES.to_le_bytes());
    put(&mut page, 44, &(PRIVATE_BIT | 1 << 6).to_le_bytes());
    page
}
