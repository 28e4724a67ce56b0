// SPDX-License-Identifier: MIT
//! Guests that ask as they should, and guests that do not; the verifier and the crate `sev` as
//! judges of what they get.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets the unexpected is to fail"
)]

use super::*;
use crate::ReportVersion;
use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use std::sync::LazyLock;
use strongroom_evidence::{CertificateKind, CertificateTable, REPORT_LEN};
use strongroom_verifier::{Endorsements, Policy, Refusal, verify_report};

/// Within the validity of the made-up certificates.
const NOW: u64 = 1_800_000_000;

/// One chip for all tests: its keys take a while.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    Installation::open(&folder.path().join("psp")).unwrap();
    folder
});

fn installation() -> Installation {
    Installation::open(&FOLDER.path().join("psp")).unwrap()
}

fn processor() -> Processor {
    Processor::new(installation(), Launch::new([0x4d; 48]).unwrap())
}

impl Processor {
    /// Asks as a guest does.
    fn ask(
        &mut self,
        vmpck: u8,
        sequence: u64,
        kind: u8,
        payload: Vec<u8>,
    ) -> Result<Message, Status> {
        let key = self.key(vmpck).unwrap();
        let page = message::seal(&key, &Message { sequence, kind, vmpck, payload }).unwrap();
        let answer = self.request(&page)?;
        Ok(message::open(&answer, &|_| Some((key, sequence + 1))).unwrap())
    }

    fn ask_report(&mut self, vmpck: u8, vmpl: u32, selection: u32) -> Message {
        let sequence = self.sequences[usize::from(vmpck)] + 1;
        self.ask(vmpck, sequence, REPORT_REQUEST, report_request(vmpl, selection)).unwrap()
    }

    fn ask_key(&mut self, request: Vec<u8>) -> Message {
        let sequence = self.sequences[0] + 1;
        self.ask(0, sequence, KEY_REQUEST, request).unwrap()
    }
}

fn report_request(vmpl: u32, selection: u32) -> Vec<u8> {
    let mut request = vec![0xda; 64];
    request.extend(vmpl.to_le_bytes());
    request.extend(selection.to_le_bytes());
    request.resize(96, 0);
    request
}

fn key_request(root: u32, fields: u64, vmpl: u32, svn: u32, tcb: u64) -> Vec<u8> {
    let mut request = u64::from(root).to_le_bytes().to_vec();
    request.extend(fields.to_le_bytes());
    request.extend(vmpl.to_le_bytes());
    request.extend(svn.to_le_bytes());
    request.extend(tcb.to_le_bytes());
    request
}

fn status(message: &Message) -> u32 {
    word(&message.payload, 0)
}

const POLICY: &str = r#"
version = 1
[snp]
report_versions = [2, 3, 5]
product_lines = ["Milan"]
signing_keys = ["VCEK"]
chip_ids = "skip"
providers = "skip"
measurements = [{ digest = "MEASUREMENT", sev_features = 1 }]
host_data = "skip"
id_key_digests = "skip"
author_key_digests = "skip"
family_ids = "skip"
image_ids = "skip"
min_guest_svn = 0
vmpls = [2]
report_data = "given"
min_firmware = "1.55.29"
provisional_firmware = false
launch_mitigations = "skip"
current_mitigations = "skip"
max_revocation_list_age_s = "skip"
max_chain_age_s = 60
[snp.guest_policy]
min_abi = "0.0"
debug = false
migration_agent = false
smt = "skip"
single_socket = "skip"
cxl = "skip"
aes_256_xts = "skip"
rapl_disabled = "skip"
ciphertext_hiding = "skip"
page_swap_disabled = "skip"
[snp.platform_info]
smt = "skip"
tsme = "skip"
ecc = "skip"
rapl_disabled = "skip"
ciphertext_hiding = "skip"
alias_check = true
trusted_io = "skip"
unknown_bits = false
[snp.save_area]
secure_tsc = "skip"
restricted_injection = "skip"
[snp.min_tcb.Milan]
current = { boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
committed = { boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
launch = { boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
reported = { boot_loader = 4, tee = 1, snp = 24, microcode = 219 }
"#;

fn policy(measurement: u8) -> Policy {
    let text = POLICY.replace("MEASUREMENT", &format!("{measurement:02x}").repeat(48));
    Policy::from_toml(&text).unwrap().with_report_data([0xda; 64])
}

fn judge(report: &[u8], policy: &Policy) -> Result<(), Refusal> {
    let installation = installation();
    let [report_key, issuer, root] = installation.certificates();
    let endorsements = Endorsements { root, issuer, report_key, revocation_list: None };
    verify_report(report, &endorsements, policy, NOW).map(|_| ())
}

#[test]
fn reports_of_each_version_are_genuine_for_two_judges() {
    let installation = installation();
    let [vcek, ask, ark] =
        installation.certificates().each_ref().map(|der| Certificate::from_der(der).unwrap());
    let chain = Chain { ca: ca::Chain { ark, ask }, vek: vcek };
    chain.verify().expect("the crate sev accepts the chain");
    for report_version in [ReportVersion::V2, ReportVersion::V3, ReportVersion::V5] {
        let mut processor = processor();
        processor.launch.report_version = report_version;
        let answer = processor.ask_report(0, 2, 0);
        assert_eq!((answer.kind, status(&answer)), (REPORT_REQUEST + 1, 0));
        assert_eq!(word(&answer.payload, 4), 1184);
        let report: [u8; REPORT_LEN] = answer.payload[32..].try_into().unwrap();
        let theirs = AttestationReport::from_bytes(&report).unwrap();
        (&chain, &theirs).verify().expect("the crate sev accepts the report");
        assert_eq!(theirs.vmpl, 2);
        assert_eq!(theirs.measurement.as_ref(), [0x4d; 48]);
        assert_eq!(theirs.report_data.as_ref(), [0xda; 64]);

        let accepting = || policy(0x4d).insecure_accept_any_simulated_root();
        assert_eq!(judge(&report, &accepting()), Ok(()), "{report_version:?}");
        let refusal = judge(&report, &policy(0x4d)).unwrap_err();
        assert!(matches!(refusal, Refusal::SimulatedRoot { .. }), "{refusal}");
        let other = policy(0x4e).insecure_accept_any_simulated_root();
        judge(&report, &other).expect_err("another measurement");
        let mut changed = report;
        changed[0x90] ^= 1;
        judge(&changed, &accepting()).expect_err("another measurement in the report");
    }
}

#[test]
fn certificates_come_as_a_table() {
    let mut processor = processor();
    let bytes = processor.certificates();
    let table = CertificateTable::parse(&bytes).unwrap();
    let installation = installation();
    let [vcek, ask, ark] = installation.certificates();
    assert_eq!(table.certificate(CertificateKind::Vcek), Some(vcek.as_slice()));
    assert_eq!(table.certificate(CertificateKind::Ask), Some(ask.as_slice()));
    assert_eq!(table.certificate(CertificateKind::Ark), Some(ark.as_slice()));
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.matches("Simulated by Strongroom").count() >= 5, "every name says what it is");
}

#[test]
fn no_key_speaks_for_a_level_above_its_own() {
    let mut processor = processor();
    for vmpck in 0..4 {
        for vmpl in 0..4 {
            let answer = processor.ask_report(vmpck, vmpl, 0);
            let expected = if vmpl < u32::from(vmpck) { INVALID_PARAMETERS } else { 0 };
            assert_eq!(status(&answer), expected, "key {vmpck}, level {vmpl}");
        }
    }
    assert_eq!(status(&processor.ask_report(0, 4, 0)), INVALID_PARAMETERS);
    assert_eq!(status(&processor.ask_report(0, u32::MAX, 0)), INVALID_PARAMETERS);
    assert_eq!(status(&processor.ask_report(0, 0, 1)), 0);
    assert_eq!(status(&processor.ask_report(0, 0, 2)), INVALID_KEY_SELECTION, "no VLEK is loaded");
    assert_eq!(status(&processor.ask_report(0, 0, 4)), INVALID_PARAMETERS);
}

#[test]
fn keys_depend_on_what_is_mixed_in_and_on_the_chip() {
    let mut processor = processor();
    let mut key = |request| {
        let answer = processor.ask_key(request);
        assert_eq!((answer.kind, status(&answer), answer.payload.len()), (4, 0, 64));
        answer.payload[32..].to_vec()
    };
    let plain = key(key_request(0, 0, 0, 0, 0));
    assert_eq!(plain, key(key_request(0, 0, 0, 0, 0)), "the same again");
    let measured = key(key_request(0, 8, 0, 0, 0));
    let committed = u64::from_le_bytes(Installation::TCB.encode().0);
    let mut all = vec![
        plain.clone(),
        measured.clone(),
        key(key_request(0, 0, 1, 0, 0)),
        key(key_request(0, 1, 0, 0, 0)),
        key(key_request(0, 0x20, 0, 0, 0)),
        key(key_request(0, 0x20, 0, 0, committed)),
    ];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);

    // Another program on the chip shares what does not depend on the measurement, and only that.
    let mut other = Processor::new(installation(), Launch::new([0x4e; 48]).unwrap());
    let mut others = |request| other.ask_key(request).payload[32..].to_vec();
    assert_eq!(others(key_request(0, 0, 0, 0, 0)), plain);
    assert_ne!(others(key_request(0, 8, 0, 0, 0)), measured);

    let elsewhere = tempfile::tempdir().unwrap();
    let chip = Installation::open(&elsewhere.path().join("psp")).unwrap();
    let mut other = Processor::new(chip, Launch::new([0x4d; 48]).unwrap());
    assert_ne!(other.ask_key(key_request(0, 0, 0, 0, 0)).payload[32..], plain);
}

#[test]
fn keys_of_the_future_and_unknown_fields_are_refused() {
    let mut processor = processor();
    let mut refused = |request| status(&processor.ask_key(request));
    let committed = u64::from_le_bytes(Installation::TCB.encode().0);
    assert_eq!(refused(key_request(0, 0, 0, 1, 0)), INVALID_PARAMETERS, "a later version");
    assert_eq!(refused(key_request(0, 0, 0, 0, committed + 1)), INVALID_PARAMETERS);
    assert_eq!(refused(key_request(0, 0, 0, 0, 1 << 16)), INVALID_PARAMETERS);
    assert_eq!(refused(key_request(0, 1 << 6, 0, 0, 0)), INVALID_PARAMETERS);
    assert_eq!(refused(key_request(0, 0, 4, 0, 0)), INVALID_PARAMETERS);
    assert_eq!(refused(key_request(8, 0, 0, 0, 0)), INVALID_PARAMETERS);
    assert_eq!(refused(key_request(1, 0, 0, 0, 0)), INVALID_KEY_SELECTION, "no migration agent");
    assert_eq!(refused(key_request(4, 0, 0, 0, 0)), INVALID_KEY_SELECTION, "no VLEK");
    assert_eq!(refused(key_request(2, 0, 0, 0, 0)), 0, "the VCEK in so many words");
}

#[test]
fn numbers_go_up_by_two_and_never_back() {
    let mut processor = processor();
    let mut ask = |sequence| processor.ask(0, sequence, REPORT_REQUEST, report_request(0, 0));
    for wrong in [0, 2, u64::MAX - 1] {
        assert_eq!(ask(wrong), Err(Status::InvalidParameter), "{wrong}");
    }
    assert_eq!(ask(1).unwrap().sequence, 2);
    assert_eq!(ask(1), Err(Status::InvalidParameter), "again");
    assert_eq!(ask(2), Err(Status::InvalidParameter), "the answer's");
    assert_eq!(ask(3).unwrap().sequence, 4);
    // Each key has its own.
    assert!(processor.ask(1, 1, REPORT_REQUEST, report_request(1, 0)).is_ok());
}

#[test]
fn what_is_no_request_is_not_answered() {
    let mut processor = processor();
    let mut ask = |kind, payload| processor.ask(0, 1, kind, payload);
    assert_eq!(ask(REPORT_REQUEST, vec![0; 95]), Err(Status::InvalidParameter));
    assert_eq!(ask(REPORT_REQUEST, vec![0; 97]), Err(Status::InvalidParameter));
    assert_eq!(ask(KEY_REQUEST, vec![0; 33]), Err(Status::InvalidParameter));
    assert_eq!(ask(6, report_request(0, 0)), Err(Status::InvalidParameter));
    assert_eq!(ask(0, Vec::new()), Err(Status::InvalidParameter));
    let mut reserved = report_request(0, 0);
    reserved[95] = 1;
    assert_eq!(status(&ask(REPORT_REQUEST, reserved).unwrap()), INVALID_PARAMETERS);
}

#[test]
fn changed_messages_are_refused_and_cost_no_number() {
    let mut processor = processor();
    let key = processor.key(0).unwrap();
    let payload = report_request(0, 0);
    let message = Message { sequence: 1, kind: REPORT_REQUEST, vmpck: 0, payload };
    let page = message::seal(&key, &message).unwrap();
    for (at, expected) in [
        (0, Status::BadMeasurement),
        (0x20, Status::InvalidParameter),
        (0x30, Status::InvalidParameter),
        (0x34, Status::BadMeasurement),
        (0x35, Status::InvalidParameter),
        (0x36, Status::BadMeasurement),
        (0x3c, Status::BadMeasurement),
        (0x60, Status::BadMeasurement),
    ] {
        let mut changed = page;
        changed[at] ^= 1;
        assert_eq!(processor.request(&changed).map(|_| ()), Err(expected), "byte {at:#x}");
    }
    let mut other_key = page;
    other_key[0x3c] = 4;
    assert_eq!(processor.request(&other_key).map(|_| ()), Err(Status::InvalidParameter));
    let mut long = page;
    long[0x37] = 0xff;
    assert_eq!(processor.request(&long).map(|_| ()), Err(Status::InvalidParameter));
    assert!(processor.request(&page).is_ok());
}

#[test]
fn without_a_chip_there_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let launch = Launch::new([0; 48]).unwrap();
    let mut processor =
        Processor::on_demand(launch, move || Ok((Installation::open(&file.join("psp"))?, [0; 48])));
    assert_eq!(processor.request(&[0; 4096]).map(|_| ()), Err(Status::InvalidPlatformState));
    assert!(processor.certificates().is_empty());
}
