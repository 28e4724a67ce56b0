// SPDX-License-Identifier: MIT
//! Reports about a guest.

use crate::{Installation, Launch, ReportVersion};
use strongroom_evidence::{
    Cpu, Extension, FirmwareVersion, KeyInfo, PlatformInfo, REPORT_LEN, Report, Signature,
    SigningKey, Vmpl,
};

/// A Milan, as the certificates say.
const CPU: Cpu = Cpu { family: 0x19, model: 1, stepping: 1 };
const FIRMWARE: FirmwareVersion = FirmwareVersion { major: 1, minor: 55, build: 29 };
/// Mitigations that the firmware claims.
const MITIGATIONS: u64 = 1;

/// The signed report with that data, for a privilege level of 0 to 3.
pub(crate) fn signed(
    installation: &Installation,
    launch: &Launch,
    data: &[u8; 64],
    vmpl: u8,
) -> [u8; REPORT_LEN] {
    let tcb = Installation::TCB.encode();
    installation.sign(&Report {
        extension: match launch.report_version {
            ReportVersion::V2 => Extension::V2,
            ReportVersion::V3 => Extension::V3 { cpu: CPU },
            ReportVersion::V5 => Extension::V5 {
                cpu: CPU,
                launch_mitigations: MITIGATIONS,
                current_mitigations: MITIGATIONS,
            },
        },
        guest_svn: launch.guest_svn,
        policy: launch.policy,
        family_id: [0; 16],
        image_id: [0; 16],
        vmpl: Vmpl::Guest(vmpl),
        current_tcb: tcb,
        platform_info: PlatformInfo(
            PlatformInfo::SMT | PlatformInfo::ECC | PlatformInfo::ALIAS_CHECK,
        ),
        key_info: KeyInfo {
            author_key: false,
            mask_chip_key: false,
            signing_key: SigningKey::Vcek,
        },
        report_data: *data,
        measurement: launch.measurement,
        host_data: launch.host_data,
        id_key_digest: [0; 48],
        author_key_digest: [0; 48],
        report_id: launch.report_id,
        report_id_ma: [0xff; 32],
        reported_tcb: tcb,
        chip_id: installation.chip_id,
        committed_tcb: tcb,
        current_version: FIRMWARE,
        committed_version: FIRMWARE,
        launch_tcb: tcb,
        signature: Signature::ZERO,
    })
}
