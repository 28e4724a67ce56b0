// SPDX-License-Identifier: MIT
//! A chip of a made-up authority, its certificates in files, and keys of owners.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
pub(crate) use strongroom_attestation_testing::machine::NOW;
use strongroom_attestation_testing::machine::{Machine, policy_text};
use strongroom_client::attest::{EndorsementFiles, ReportKeyFile};
use strongroom_evidence::Vmpl;
use strongroom_session::SecretKey;
use strongroom_south::{
    DERIVED_KEY_LEN, KeyRequest, Report, ReportRequest, SecurityError, SecurityProcessor,
};

/// The chip of all tests.
pub(crate) static MACHINE: LazyLock<Machine> = LazyLock::new(Machine::milan);

pub(crate) fn owner() -> SecretKey {
    SecretKey::from_bytes([31; 32])
}

pub(crate) fn stranger() -> SecretKey {
    SecretKey::from_bytes([32; 32])
}

/// A report of the chip, signed.
pub(crate) fn report(data: &[u8; 64], level: Vmpl) -> Vec<u8> {
    let mut report = MACHINE.report;
    report.report_data = *data;
    report.vmpl = level;
    MACHINE.chip.sign(&report).to_vec()
}

/// Signs what it is asked to, and hands over this table of certificates.
pub(crate) struct Signing(pub(crate) Vec<u8>);

impl SecurityProcessor for Signing {
    fn report(&self, request: &ReportRequest) -> Result<Report, SecurityError> {
        let level = u8::try_from(request.vmpl).map_err(|_| SecurityError::Refused(0x16))?;
        let bytes = report(&request.data, Vmpl::Guest(level));
        Ok(Report { bytes, certificates: self.0.clone() })
    }

    fn derive_key(&self, _: &KeyRequest) -> Result<[u8; DERIVED_KEY_LEN], SecurityError> {
        Err(SecurityError::Refused(0x16))
    }
}

/// The table of certificates as a host gives it (AMD 56421, `SNP_GUEST_REQUEST` with certificates).
pub(crate) fn certificate_table() -> Vec<u8> {
    let entries: [(u128, &[u8]); 4] = [
        (0x63da_758d_e664_4564_adc5_f4b9_3be8_accd, &MACHINE.report_key()),
        (0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782, MACHINE.issuer()),
        (0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae, &MACHINE.authority.root_certificate),
        (0x92f8_1bc3_5811_4d3d_97ff_d19f_88dc_67ea, MACHINE.revocation_list.as_ref().unwrap()),
    ];
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for (guid, bytes) in entries {
        head.extend(guid.to_be_bytes());
        head.extend(u32::try_from(5 * 24 + tail.len()).unwrap().to_le_bytes());
        head.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        tail.extend(bytes);
    }
    head.extend([0; 24]);
    [head, tail].concat()
}

/// The owner's files.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in [
            ("policy.toml", policy_text().as_bytes()),
            ("vcek", &MACHINE.report_key()),
            ("ask", MACHINE.issuer()),
            ("ark", &MACHINE.authority.root_certificate),
            ("crl", MACHINE.revocation_list.as_ref().unwrap()),
        ] {
            fs::write(files.path(name), bytes).unwrap();
        }
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn change_policy(&self, from: &str, to: &str) {
        let policy = fs::read_to_string(self.path("policy.toml")).unwrap();
        assert!(policy.contains(from), "{from}");
        fs::write(self.path("policy.toml"), policy.replace(from, to)).unwrap();
    }

    pub(crate) fn endorsements(&self) -> EndorsementFiles {
        EndorsementFiles {
            report_key: Some(ReportKeyFile::Vcek(self.path("vcek"))),
            issuer: Some(self.path("ask")),
            root: Some(self.path("ark")),
            revocation_list: Some(self.path("crl")),
            ..EndorsementFiles::default()
        }
    }
}
