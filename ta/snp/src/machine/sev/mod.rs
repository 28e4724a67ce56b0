// SPDX-License-Identifier: MIT
//! The SNP guest: its processor's instructions, its host, its security processor.
//!
//! The same code runs on hardware and in the simulation, where an emulated processor raises an
//! exception at the instructions that it lacks and `machine::simulation` stands in. Which of the
//! two it is, is told by `SEV_STATUS` and by the way in, never by trying.
//!
//! - [`instruction`]: `VMGEXIT` and `PVALIDATE`.
//! - [`ghcb`]: exits through the page that the host reads and writes.
//! - [`memory`]: pages become the guest's, or shared.
//! - [`injection`]: the host's interrupts under Restricted Injection.
//! - [`security`]: reports and derived keys.

pub(crate) mod ghcb;
pub(crate) mod injection;
pub(crate) mod instruction;
pub(crate) mod memory;
pub(crate) mod security;
mod shared;

use super::halt::{Code, halt};
use super::memory::{direct, table};
use super::{Arrival, Image};
use crate::sev::cpuid::CpuidPage;
use crate::sev::msr_protocol::{Answer, Request, VERSION};
use crate::sev::{PAGE_LEN, Page};
use core::arch::x86_64::{__cpuid_count, CpuidResult};
use core::sync::atomic::{AtomicU8, Ordering};
use spin::Once;
use strongroom_snp_layout::LaunchPage;

/// What the payload runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Platform {
    /// A machine without SNP, started by a loader that knows nothing of it.
    Bare = 0,
    /// A machine without SNP that was launched from a measured image.
    Simulated = 1,
    /// An SNP guest.
    Protected = 2,
}

static PLATFORM: AtomicU8 = AtomicU8::new(Platform::Bare as u8);
static CPUID: Once<CpuidPage> = Once::new();

impl Platform {
    /// What the payload arrived on.
    pub(crate) const fn of(arrival: Arrival) -> Self {
        match (arrival.sev_status & Image::SNP_ACTIVE != 0, arrival.launched) {
            (true, _) => Self::Protected,
            (false, true) => Self::Simulated,
            (false, false) => Self::Bare,
        }
    }
}

/// Whether this is an SNP guest, be it a simulated one.
pub(crate) fn is_guest() -> bool {
    PLATFORM.load(Ordering::Relaxed) != Platform::Bare as u8
}

/// Whether accesses to devices end at the host, and have to be told to it.
#[inline]
pub(crate) fn is_protected() -> bool {
    PLATFORM.load(Ordering::Relaxed) == Platform::Protected as u8
}

/// Takes the page of CPUID values into use: on SNP the instruction would ask the host. Before
/// anything looks at a feature.
pub(crate) fn read_cpuid(platform: Platform, launch: &LaunchPage) -> Option<()> {
    let page = CpuidPage::parse(copied(launch.cpuid)?).ok()?;
    // The launch page is measured, and all page tables so far were made with its bit.
    if page.private_bit() != Some(launch.private_bit) {
        return None;
    }
    if platform == Platform::Protected {
        table::set_private_bit(launch.private_bit)?;
        CPUID.call_once(|| page);
    }
    Some(())
}

/// The values of a CPUID leaf.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let Some(page) = CPUID.get() else { return __cpuid_count(leaf, subleaf) };
    let values = page.leaf(leaf, subleaf);
    CpuidResult { eax: values.eax, ebx: values.ebx, ecx: values.ecx, edx: values.edx }
}

/// Agrees on the protocol with the host. Exceptions are handled from before on.
pub(crate) fn start(platform: Platform) {
    PLATFORM.store(platform as u8, Ordering::Relaxed);
    if platform == Platform::Bare {
        return;
    }
    match Request::SevInfo.answer(instruction::exit(Request::SevInfo.encode())) {
        // Where the host says that the private bit is, does not count.
        Ok(Answer::SevInfo { from, to, .. }) if from <= VERSION && VERSION <= to => {}
        Ok(Answer::SevInfo { .. } | Answer::Done) | Err(_) => halt(Code::BadLaunch),
    }
}

/// Tells the host that the guest ends, and why. Returns where there is nobody to tell.
pub(crate) fn terminate(code: u8) {
    if is_guest() {
        instruction::exit(Request::Terminate(code).encode());
    }
}

/// A copy of a page of the launch image.
fn copied(address: u64) -> Option<Page> {
    if !(LAUNCHED.start <= address && address <= LAUNCHED.end.wrapping_sub(PAGE_LEN as u64)) {
        return None;
    }
    let mut page = [0; PAGE_LEN];
    // SAFETY: the boot tables and the direct map both reach what was launched in front of the
    // payload, and no Rust object is there.
    unsafe {
        core::ptr::copy_nonoverlapping(direct::pointer(address), page.as_mut_ptr(), PAGE_LEN);
    }
    Some(page)
}

/// What the launcher placed in front of the payload.
const LAUNCHED: core::ops::Range<u64> =
    strongroom_snp_layout::LAUNCH_PAGE..strongroom_snp_layout::PAYLOAD;
