// SPDX-License-Identifier: MIT
//! A processor's first state (AMD64 Architecture Programmer's Manual, volume 2, document 24593,
//! appendix B, state save area for SEV-ES and SEV-SNP).
//!
//! What is not ours to choose is as KVM makes it, for it builds the area that is measured from the
//! processor that QEMU sets up: EFER.SVME, PAT, the debug registers, MXCSR, the x87 control word
//! and XCR0 after reset.

use crate::Profile;
use igvm::snp_defs::{SevFeatures, SevSelector, SevVmsa};
use strongroom_snp_layout::{LAUNCH_PAGE, PAGE_TABLES, PRIVATE_BIT};
use zerocopy::FromZeros as _;

/// PE, MP, ET, NE, WP, PG.
const CR0: u64 = 0x8001_0033;
/// PAE, MCE.
const CR4: u64 = 0x60;
/// LME, LMA, NXE, SVME.
const EFER: u64 = 0x1d00;
const RFLAGS: u64 = 2;
const DR6: u64 = 0xffff_0ff0;
const DR7: u64 = 0x400;
const PAT: u64 = 0x0007_0406_0007_0406;
const XCR0: u64 = 1;
const MXCSR: u32 = 0x1f80;
const X87_CONTROL: u16 = 0x37f;

/// Attributes as the area packs them: 8 bits of type, S, DPL and P, then AVL, L, D and G.
const CODE_64: u16 = 0x0a9b;
const DATA: u16 = 0x0c93;
const TASK_BUSY: u16 = 0x008b;
const LOCAL_TABLE: u16 = 0x0082;

/// The state in which a processor enters at `entry`: 64-bit mode on the image's page tables, RBX
/// the address of the launch page, R12 the bit that makes a page private, RDX the model's
/// signature as after a reset. There are no descriptor tables and no stack yet.
pub(crate) fn entering(entry: u64, profile: &Profile) -> Box<SevVmsa> {
    let segment = |selector, attrib, limit| SevSelector { selector, attrib, limit, base: 0 };
    let data = segment(0x18, DATA, u32::MAX);
    let table = segment(0, 0, 0xffff);
    let private = 1 << PRIVATE_BIT;
    let mut area = SevVmsa::new_zeroed();
    area.cs = segment(0x10, CODE_64, u32::MAX);
    (area.ds, area.es, area.ss, area.fs, area.gs) = (data, data, data, data, data);
    (area.gdtr, area.idtr) = (table, table);
    area.tr = segment(0, TASK_BUSY, 0xffff);
    area.ldtr = segment(0, LOCAL_TABLE, 0xffff);
    (area.cr0, area.cr3, area.cr4) = (CR0, PAGE_TABLES | private, CR4);
    area.efer = EFER;
    area.rflags = RFLAGS;
    (area.dr6, area.dr7) = (DR6, DR7);
    area.pat = PAT;
    area.xcr0 = XCR0;
    area.mxcsr = MXCSR;
    area.x87_fcw = X87_CONTROL;
    area.rip = entry;
    area.rbx = LAUNCH_PAGE;
    area.rdx = u64::from(profile.signature());
    area.r12 = private;
    area.sev_features = SevFeatures::from(profile.features().0);
    Box::new(area)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GuestFeatures;
    use sev::measurement::vcpu_types::CpuType;
    use sev::measurement::vmsa::{GuestFeatures as TheirFeatures, VMMType, VMSA};
    use zerocopy::{FromBytes as _, IntoBytes as _};

    /// The area after a reset as the crate `sev` has it, which KVM's measurements agree with.
    fn after_reset() -> SevVmsa {
        let areas = VMSA::new(0, CpuType::EpycMilan, VMMType::QEMU, None, TheirFeatures(0x209));
        SevVmsa::read_from_bytes(areas.pages(1).unwrap().first().unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_ours_to_choose_is_as_after_a_reset() {
        let profile = Profile::plain().with_model("EPYC-Milan").unwrap();
        let profile = profile.with_features(GuestFeatures(0x208));
        let mut ours = *entering(0x20_0000, &profile);
        let reset = after_reset();
        assert_eq!(ours.efer & 0x1000, reset.efer);
        assert_eq!(ours.cr4 & reset.cr4, reset.cr4);
        assert_eq!(ours.cr0 & reset.cr0, reset.cr0);
        assert_eq!(ours.tr, reset.tr);
        assert_eq!((ours.ldtr, ours.gdtr, ours.idtr), (reset.ldtr, reset.gdtr, reset.idtr));
        // All that is left is ours.
        (ours.es, ours.cs, ours.ss) = (reset.es, reset.cs, reset.ss);
        (ours.ds, ours.fs, ours.gs) = (reset.ds, reset.fs, reset.gs);
        (ours.cr0, ours.cr3, ours.cr4, ours.efer) = (reset.cr0, reset.cr3, reset.cr4, reset.efer);
        (ours.rip, ours.rbx, ours.r12) = (reset.rip, reset.rbx, reset.r12);
        assert_eq!(ours.as_bytes(), reset.as_bytes());
    }
}
