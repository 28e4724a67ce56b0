// SPDX-License-Identifier: MIT
//! Reports of real processors, reports of our own, and bytes that are no reports.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected is to fail"
)]

use proptest::prelude::*;
use sev::firmware::host::{CertTableEntry, CertType};
use sev::parser::ByteParser as _;
use std::ops::Range;
use strongroom_attestation_testing::vectors;
use strongroom_evidence::{
    CertificateKind, CertificateTable, Cpu, Extension, FirmwareVersion, GuestPolicy, KeyInfo,
    Malformed, PlatformInfo, REPORT_LEN, Report, SIGNED_LEN, Signature, SigningKey, TcbBytes,
    TcbLayout, Vmpl,
};

fn sample(extension: Extension) -> Report {
    Report {
        extension,
        guest_svn: 0x0102_0304,
        policy: GuestPolicy::from_bits(0x3_0137).unwrap(),
        family_id: [1; 16],
        image_id: [2; 16],
        vmpl: Vmpl::Guest(3),
        current_tcb: TcbBytes([4, 0, 0, 0, 0, 0, 0x18, 0xdb]),
        platform_info: PlatformInfo(0x25),
        key_info: KeyInfo { author_key: true, mask_chip_key: false, signing_key: SigningKey::Vlek },
        report_data: [3; 64],
        measurement: [4; 48],
        host_data: [5; 32],
        id_key_digest: [6; 48],
        author_key_digest: [7; 48],
        report_id: [8; 32],
        report_id_ma: [9; 32],
        reported_tcb: TcbBytes([3, 0, 0, 0, 0, 0, 0x17, 0xd9]),
        chip_id: [10; 64],
        committed_tcb: TcbBytes([4, 0, 0, 0, 0, 0, 0x17, 0xda]),
        current_version: FirmwareVersion { major: 1, minor: 55, build: 29 },
        committed_version: FirmwareVersion { major: 1, minor: 54, build: 28 },
        launch_tcb: TcbBytes([4, 0, 0, 0, 0, 0, 0x16, 0xd8]),
        signature: Signature { r: [11; 48], s: [12; 48] },
    }
}

const MILAN: Cpu = Cpu { family: 0x19, model: 1, stepping: 2 };

fn samples() -> [Report; 3] {
    let v5 =
        Extension::V5 { cpu: MILAN, launch_mitigations: 0x0102, current_mitigations: u64::MAX };
    [sample(Extension::V2), sample(Extension::V3 { cpu: MILAN }), sample(v5)]
}

/// The offsets of table 23, written down a second time.
#[test]
fn golden_bytes_hold_in_both_directions() {
    let report = samples()[2];
    let bytes = report.encode();
    let fields: &[(usize, &[u8])] = &[
        (0x000, &[5, 0, 0, 0]),
        (0x004, &[4, 3, 2, 1]),
        (0x008, &[0x37, 1, 3, 0, 0, 0, 0, 0]),
        (0x010, &[1; 16]),
        (0x020, &[2; 16]),
        (0x030, &[3, 0, 0, 0]),
        (0x034, &[1, 0, 0, 0]),
        (0x038, &[4, 0, 0, 0, 0, 0, 0x18, 0xdb]),
        (0x040, &[0x25, 0, 0, 0, 0, 0, 0, 0]),
        (0x048, &[0b101, 0, 0, 0]),
        (0x04c, &[0; 4]),
        (0x050, &[3; 64]),
        (0x090, &[4; 48]),
        (0x0c0, &[5; 32]),
        (0x0e0, &[6; 48]),
        (0x110, &[7; 48]),
        (0x140, &[8; 32]),
        (0x160, &[9; 32]),
        (0x180, &[3, 0, 0, 0, 0, 0, 0x17, 0xd9]),
        (0x188, &[0x19, 1, 2]),
        (0x18b, &[0; 21]),
        (0x1a0, &[10; 64]),
        (0x1e0, &[4, 0, 0, 0, 0, 0, 0x17, 0xda]),
        (0x1e8, &[29, 55, 1, 0]),
        (0x1ec, &[28, 54, 1, 0]),
        (0x1f0, &[4, 0, 0, 0, 0, 0, 0x16, 0xd8]),
        (0x1f8, &[2, 1, 0, 0, 0, 0, 0, 0]),
        (0x200, &[0xff; 8]),
        (0x208, &[0; 152]),
        (0x2a0, &[11; 48]),
        (0x2d0, &[0; 24]),
        (0x2e8, &[12; 48]),
        (0x318, &[0; 24]),
        (0x330, &[0; 368]),
    ];
    let mut at = 0;
    for (offset, expected) in fields {
        assert_eq!(*offset, at, "the fields leave no gap");
        assert_eq!(&bytes[at..at + expected.len()], *expected, "at {offset:#x}");
        at += expected.len();
    }
    assert_eq!(at, REPORT_LEN);
    assert_eq!(Report::parse(&bytes), Ok(report));
}

#[test]
fn every_version_round_trips() {
    for report in samples() {
        assert_eq!(Report::parse(&report.encode()), Ok(report));
        for vmpl in [Vmpl::Guest(0), Vmpl::Guest(1), Vmpl::Guest(2), Vmpl::Host] {
            let report = Report { vmpl, ..report };
            assert_eq!(Report::parse(&report.encode()), Ok(report));
        }
    }
}

#[test]
fn signature_is_little_endian_in_the_report() {
    let mut report = samples()[0];
    report.signature.r[47] = 0xaa;
    assert_eq!(report.encode()[SIGNED_LEN], 0xaa);
    let signature = Report::parse(&report.encode()).unwrap().signature;
    assert_eq!(Signature::from_fixed(&signature.to_fixed()), signature);
    assert_eq!(signature.to_fixed()[47], 0xaa);
}

/// Flips each bit that has to be zero and sees it refused, and no other.
#[test]
fn reserved_bytes_are_held_to_zero_version_by_version() {
    let always = [0x4c..0x50, 0x18b..0x1a0, 0x1eb..0x1ec, 0x1ef..0x1f0, 0x208..0x2a0];
    let unsigned = [0x2d0..0x2e8, 0x318..0x330, 0x330..REPORT_LEN];
    let (cpu, mitigations): (Range<usize>, Range<usize>) = (0x188..0x18b, 0x1f8..0x208);
    let later = [vec![cpu, mitigations.clone()], vec![mitigations], Vec::new()];
    // Words with rules of their own.
    let ruled = [0x000..0x004, 0x008..0x010, 0x030..0x038, 0x048..0x04c];
    for (report, later) in samples().iter().zip(later) {
        let bytes = report.encode();
        for at in (0..REPORT_LEN).filter(|at| !ruled.iter().any(|range| range.contains(at))) {
            let mut ranges = always.iter().chain(&unsigned).chain(&later);
            let reserved = ranges.any(|range| range.contains(&at));
            for bit in 0..8 {
                let mut flipped = bytes;
                flipped[at] ^= 1 << bit;
                let refused = matches!(Report::parse(&flipped), Err(Malformed::Reserved { .. }));
                assert_eq!(refused, reserved, "byte {at:#x} bit {bit}");
            }
        }
    }
}

#[test]
fn wrong_versions_algorithms_levels_and_lengths_are_named() {
    let bytes = samples()[1].encode();
    let with = |at: usize, value: u8| {
        let mut bytes = bytes;
        bytes[at] = value;
        Report::parse(&bytes).unwrap_err()
    };
    for found in [0, 1, 4, 6, 255] {
        assert_eq!(with(0, found), Malformed::Version { found: u32::from(found) });
    }
    assert_eq!(with(0x34, 2), Malformed::SignatureAlgorithm { found: 2 });
    assert_eq!(with(0x30, 4), Malformed::Vmpl { found: 4 });
    assert_eq!(with(0x33, 1), Malformed::Vmpl { found: 0x0100_0003 });
    assert_eq!(with(0x48, 2 << 2), Malformed::SigningKey { found: 2 });
    assert_eq!(with(0x49, 1), Malformed::Reserved { field: "key information" });
    assert_eq!(with(0x0a, 1), Malformed::Reserved { field: "guest policy" });
    assert_eq!(Report::parse(&bytes[1..]), Err(Malformed::Length { found: REPORT_LEN - 1 }));
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Report::parse(&longer), Err(Malformed::Length { found: REPORT_LEN + 1 }));
}

#[test]
fn reports_of_real_processors_parse_and_encode_to_the_same_bytes() {
    let vectors = vectors::load().unwrap();
    for vector in vectors {
        let Some(bytes) = vector.report else { continue };
        let report = Report::parse(&bytes).unwrap();
        assert_eq!(report.encode().as_slice(), bytes, "{}", vector.name);
        let Some(expected) = vector.expected else { continue };
        assert_eq!(report.extension.version(), expected.version, "{}", vector.name);
        assert_eq!(report.vmpl, Vmpl::Guest(expected.vmpl), "{}", vector.name);
        let vlek = report.key_info.signing_key == SigningKey::Vlek;
        assert_eq!(vlek, expected.key == "VLEK", "{}", vector.name);
        let pairs: [(&[u8], &String); 3] = [
            (&report.measurement, &expected.measurement),
            (&report.report_data, &expected.report_data),
            (&report.reported_tcb.0, &expected.reported_tcb),
        ];
        for (found, expected) in pairs {
            let digits: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digits, *expected, "{}", vector.name);
        }
    }
}

/// The crate `sev` reads the same numbers out of the same bytes.
#[test]
fn the_crate_sev_reads_the_same() {
    let real = vectors::load().unwrap().into_iter().filter_map(|vector| vector.report);
    for bytes in real.chain(samples().map(|sample| sample.encode().to_vec())) {
        let ours = Report::parse(&bytes).unwrap();
        let array: [u8; REPORT_LEN] = bytes.try_into().unwrap();
        let theirs = sev::firmware::guest::AttestationReport::from_bytes(&array).unwrap();
        let chip = theirs.chip_id.as_slice();
        assert_eq!(ours.extension.version(), theirs.version);
        assert_eq!(ours.guest_svn, theirs.guest_svn);
        assert_eq!(ours.policy.has(GuestPolicy::DEBUG), theirs.policy.debug_allowed());
        assert_eq!(ours.policy.has(GuestPolicy::SMT), theirs.policy.smt_allowed());
        assert_eq!(ours.policy.abi_min().1, u8::try_from(theirs.policy.abi_minor()).unwrap());
        assert_eq!(ours.platform_info.has(PlatformInfo::ECC), theirs.plat_info.ecc_enabled());
        assert_eq!(ours.measurement, theirs.measurement.as_slice());
        assert_eq!(ours.report_data, theirs.report_data.as_slice());
        assert_eq!(ours.host_data, theirs.host_data.as_slice());
        assert_eq!(ours.chip_id, chip);
        assert_eq!(ours.cpu().map(|cpu| cpu.family), theirs.cpuid_fam_id);
        assert_eq!(ours.committed_version.minor, theirs.committed.minor);
        let tcb = ours.launch_tcb.decode(TcbLayout::MilanGenoa).unwrap();
        assert_eq!(
            (tcb.boot_loader, tcb.snp),
            (theirs.launch_tcb.bootloader, theirs.launch_tcb.snp)
        );
        assert_eq!(tcb.microcode, theirs.launch_tcb.microcode);
    }
}

#[test]
fn certificate_tables_of_sev_are_read_alike() {
    let kinds = [
        (CertificateKind::Ark, CertType::ARK),
        (CertificateKind::Ask, CertType::ASK),
        (CertificateKind::Vcek, CertType::VCEK),
        (CertificateKind::Vlek, CertType::VLEK),
        (CertificateKind::Crl, CertType::CRL),
    ];
    let entries = kinds.iter().enumerate().map(|(index, (_, theirs))| {
        CertTableEntry::new(theirs.clone(), vec![u8::try_from(index).unwrap(); 100 + index])
    });
    let table = CertTableEntry::cert_table_to_vec_bytes(&entries.collect::<Vec<_>>()).unwrap();
    let table = CertificateTable::parse(&table).unwrap();
    for (index, (ours, _)) in kinds.iter().enumerate() {
        let expected = vec![u8::try_from(index).unwrap(); 100 + index];
        assert_eq!(table.certificate(*ours), Some(expected.as_slice()), "{ours:?}");
    }
}

proptest! {
    #[test]
    fn random_tables_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(table) = CertificateTable::parse(&bytes) {
            prop_assert!(table.certificate(CertificateKind::Ark).is_none_or(|one| one.len() < 300));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1300)) {
        let _outcome = Report::parse(&bytes);
    }

    #[test]
    fn what_parses_encodes_to_the_same_bytes(
        which in 0usize..3,
        changes in prop::collection::vec((0..REPORT_LEN, any::<u8>()), 0..6),
    ) {
        let mut bytes = samples()[which].encode();
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(report) = Report::parse(&bytes) {
            prop_assert_eq!(report.encode(), bytes);
        }
    }
}
