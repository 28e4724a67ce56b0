// SPDX-License-Identifier: MIT
//! The launch digest, folded page by page (AMD 56860, section 8.17, command `SNP_LAUNCH_UPDATE`,
//! structure `PAGE_INFO`).

use sha2::{Digest as _, Sha384};

/// SHA-384.
pub type Digest = [u8; 48];

/// Bytes of `PAGE_INFO`.
const PAGE_INFO_LEN: u16 = 0x70;
/// The address that all save areas are measured at.
pub(crate) const SAVE_AREA_ADDRESS: u64 = 0xffff_ffff_f000;

/// Page types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Type {
    Normal = 1,
    SaveArea = 2,
    Unmeasured = 4,
    Secrets = 5,
    Cpuid = 6,
}

/// A digest over the pages so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold(Digest);

impl Fold {
    pub(crate) const fn new() -> Self {
        Self([0; 48])
    }

    /// Adds a page whose contents count.
    pub(crate) fn contents(&mut self, kind: Type, address: u64, contents: &[u8]) {
        self.page(kind, address, &Sha384::digest(contents).into());
    }

    /// Adds a page of which only type and place count.
    pub(crate) fn place(&mut self, kind: Type, address: u64) {
        self.page(kind, address, &[0; 48]);
    }

    fn page(&mut self, kind: Type, address: u64, contents: &Digest) {
        let mut info = Sha384::new();
        info.update(self.0);
        info.update(contents);
        info.update(PAGE_INFO_LEN.to_le_bytes());
        // Not part of an initial migration image; no access for privilege levels 3, 2 and 1.
        info.update([kind as u8, 0, 0, 0, 0, 0]);
        info.update(address.to_le_bytes());
        self.0 = info.finalize().into();
    }

    pub(crate) const fn finish(self) -> Digest {
        self.0
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use super::*;
    use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
    use sev::measurement::vcpu_types::CpuType;
    use sev::measurement::vmsa::{GuestFeatures, VMMType, VMSA};
    use std::io::Write as _;

    const FIRMWARE_LEN: usize = 3 * 4096;
    const RESET: u32 = 0x80_b004;
    const SECRETS: u32 = 0x80_d000;
    const CPUID: u32 = 0x80_e000;

    /// A firmware volume in the shape that `sev` reads: data, SEV metadata with a secrets and a
    /// CPUID page, and the table at its end that points at them.
    fn firmware() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..FIRMWARE_LEN).map(|at| (at % 251) as u8).collect();
        let mut metadata = b"ASEV".to_vec();
        for word in [16 + 2 * 12, 1, 2, SECRETS, 4096, 2, CPUID, 4096, 3_u32] {
            metadata.extend(word.to_le_bytes());
        }
        let metadata_at = FIRMWARE_LEN - 512;
        bytes.splice(metadata_at..metadata_at + metadata.len(), metadata);
        let entry = |value: u32, guid: u128| {
            let mut entry = value.to_le_bytes().to_vec();
            entry.extend(22_u16.to_le_bytes());
            entry.extend(mixed_endian(guid));
            entry
        };
        let mut table = entry(RESET, 0x00f7_71de_1a7e_4fcb_890e_68c7_7e2f_b44e);
        table.extend(entry(512, 0xdc88_6566_984a_4798_a75e_5585_a7bf_67cc));
        table.extend(62_u16.to_le_bytes());
        table.extend(mixed_endian(0x96b5_82de_1fb2_45f7_baea_a366_c55a_082d));
        let end = FIRMWARE_LEN - 32;
        bytes.splice(end - table.len()..end, table);
        bytes
    }

    /// A GUID with its first three parts little-endian.
    fn mixed_endian(guid: u128) -> [u8; 16] {
        let mut bytes = guid.to_be_bytes();
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }

    /// All page types but `Unmeasured`, against the crate `sev`: data, secrets, CPUID, save areas.
    #[test]
    fn the_fold_is_that_of_sev() {
        let firmware = firmware();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&firmware).unwrap();
        let theirs = snp_calc_launch_digest(SnpMeasurementArgs {
            vcpus: 2,
            vcpu_type: CpuType::EpycMilan,
            ovmf_file: file.path().to_owned(),
            guest_features: GuestFeatures(1),
            kernel_file: None,
            initrd_file: None,
            append: None,
            ovmf_hash_str: None,
            vmm_type: Some(VMMType::QEMU),
        });
        let mut ours = Fold::new();
        let start = (1_u64 << 32) - FIRMWARE_LEN as u64;
        for (index, page) in firmware.chunks(4096).enumerate() {
            ours.contents(Type::Normal, start + 4096 * index as u64, page);
        }
        ours.place(Type::Secrets, SECRETS.into());
        ours.place(Type::Cpuid, CPUID.into());
        let milan = CpuType::EpycMilan;
        let areas = VMSA::new(RESET.into(), milan, VMMType::QEMU, Some(2), GuestFeatures(1));
        for area in areas.pages(2).unwrap() {
            ours.contents(Type::SaveArea, SAVE_AREA_ADDRESS, &area);
        }
        assert_eq!(theirs.unwrap().get_hex_ld(), hex::encode(ours.finish()));
    }
}
