// SPDX-License-Identifier: MIT
//! What evidence programs may ask for.
//!
//! A program chooses all the data of its report. What tells its evidence from the kernel's is the
//! privilege level in it: programs get [`PROGRAM_LEVELS`], whatever they are inside, and no others.
//! The same holds for keys, so that a program can never have one that the kernel seals with.

use crate::kernel::Kernel;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use strongroom_abi::sev_guest::SEV_RET_INVALID_PARAM;
use strongroom_session::{KERNEL_VMPL, challenge_nonce};
use strongroom_south::{
    AttestingEnvironment, DERIVED_KEY_LEN, KeyRequest, REPORT_DATA_LEN, Report, ReportRequest,
    SecurityError, SecurityProcessor,
};

/// The privilege levels (VMPL) in evidence and keys of programs: what Linux's programs ask for when
/// nobody tells them otherwise. Key brokers ask for 0, `snpguest` for 1.
pub(crate) const PROGRAM_LEVELS: RangeInclusive<u32> = 0..=1;
const _: () = assert!(*PROGRAM_LEVELS.end() < KERNEL_VMPL as u32, "no program is the kernel");
/// The highest level that there is.
pub(crate) const LEVEL_MAX: u32 = 3;
/// Most bytes of certificates that a program sees, as on Linux (`SEV_FW_BLOB_MAX_SIZE`).
pub(crate) const CERTIFICATES_MAX: usize = 16 << 10;

/// The security processor, as programs reach it.
#[derive(Clone, Copy)]
pub(crate) struct ForPrograms(&'static dyn SecurityProcessor);

impl ForPrograms {
    /// Where the machine has one.
    pub(crate) fn of(kernel: &'static Kernel) -> Option<Self> {
        kernel.machine.security_processor().map(Self)
    }

    /// A report for a program. Other levels are refused as the security processor refuses those
    /// above the one that asks.
    pub(crate) fn report(self, request: &ReportRequest) -> Result<Report, SecurityError> {
        check(request.vmpl)?;
        let mut report = self.0.report(request)?;
        report.certificates = within_limit(report.certificates);
        Ok(report)
    }

    /// A key for a program.
    pub(crate) fn derive_key(
        self,
        request: &KeyRequest,
    ) -> Result<[u8; DERIVED_KEY_LEN], SecurityError> {
        check(request.vmpl)?;
        self.0.derive_key(request)
    }
}

/// Whoever vouches for programs that ask through `tsm/report`.
#[derive(Clone, Copy)]
pub(crate) enum Attester {
    /// A security processor: reports, with privilege levels.
    Processor(ForPrograms),
    /// The trusted application that the kernel is a part of: tokens. Program and kernel are one domain
    /// there, but what a program gets is an answer to a challenge, and never a session's evidence.
    Application(&'static dyn AttestingEnvironment),
}

impl Attester {
    /// Where the machine has one.
    pub(crate) fn of(kernel: &'static Kernel) -> Option<Self> {
        let application = || kernel.machine.attesting_environment().map(Self::Application);
        ForPrograms::of(kernel).map(Self::Processor).or_else(application)
    }

    /// Its name, by which programs know the format: on Linux that of the driver.
    pub(crate) const fn provider(self) -> &'static str {
        match self {
            Self::Processor(_) => "sev_guest\n",
            Self::Application(_) => "strongroom_optee\n",
        }
    }

    /// Whether its evidence has privilege levels, and certificates beside it.
    pub(crate) const fn has_levels(self) -> bool {
        matches!(self, Self::Processor(_))
    }

    /// Evidence over a program's data.
    pub(crate) fn evidence(
        self,
        data: &[u8; REPORT_DATA_LEN],
        level: u32,
    ) -> Result<Report, SecurityError> {
        match self {
            Self::Processor(processor) => processor.report(&ReportRequest {
                data: *data,
                vmpl: level,
                key_selection: 0,
                certificates: true,
            }),
            Self::Application(application) => {
                let bytes = application.token(&challenge_nonce(data))?;
                Ok(Report { bytes, certificates: Vec::new() })
            }
        }
    }
}

fn check(level: u32) -> Result<(), SecurityError> {
    if PROGRAM_LEVELS.contains(&level) {
        Ok(())
    } else {
        Err(SecurityError::Refused(SEV_RET_INVALID_PARAM))
    }
}

/// The host made the table: too long is as good as none.
fn within_limit(certificates: Vec<u8>) -> Vec<u8> {
    if certificates.len() <= CERTIFICATES_MAX { certificates } else { Vec::new() }
}
