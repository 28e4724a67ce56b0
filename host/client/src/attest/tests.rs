// SPDX-License-Identifier: MIT
//! Files of evidence: real ones where they are here, and an authority of our own.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected is to fail"
)]

use super::*;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use strongroom_attestation_testing::application::{self, Application};
use strongroom_attestation_testing::machine::{Machine, NOW, policy_text};
use strongroom_attestation_testing::vectors;
use strongroom_evidence::{Extension, Report, TcbBytes};
use strongroom_verifier::{ProductLine, Root};

/// A machine's evidence as files in a folder.
struct Files {
    folder: tempfile::TempDir,
    machine: Machine,
}

impl Files {
    fn of(machine: Machine) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), machine };
        files.write("policy.toml", policy_text().as_bytes());
        files.write("report", &files.machine.chip.sign(&files.machine.report));
        files.write("vcek", &files.machine.report_key());
        files.write("ask", files.machine.issuer());
        files.write("ark", &files.machine.authority.root_certificate);
        files.write("crl", files.machine.revocation_list.as_ref().unwrap());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn cache(&self) -> ChainCache {
        ChainCache::new(self.path("cache"))
    }

    fn question(&self) -> Question {
        Question {
            policy: self.path("policy.toml"),
            nonce: Some([3; 64]),
            insecure_accept_simulated: false,
            evidence: EvidenceFiles {
                evidence: self.path("report"),
                certificates: None,
                endorsements: EndorsementFiles {
                    report_key: Some(ReportKeyFile::Vcek(self.path("vcek"))),
                    issuer: Some(self.path("ask")),
                    root: Some(self.path("ark")),
                    revocation_list: Some(self.path("crl")),
                    ..EndorsementFiles::default()
                },
            },
        }
    }

    /// The machine's certificates under the names of AMD's service.
    fn mirror(&self) -> PathBuf {
        let chain = format!(
            "{}{}",
            pem(self.machine.issuer()),
            pem(&self.machine.authority.root_certificate)
        );
        let key = ReportKeyName::of(&self.machine.report, None).unwrap();
        self.write(&format!("mirror/{}", key.chain_path()), chain.as_bytes());
        self.write(&format!("mirror/{}", key.certificate_path()), &self.machine.report_key());
        let list = self.machine.revocation_list.as_ref().unwrap();
        self.write(&format!("mirror/{}", key.revocation_list_path()), list);
        self.path("mirror")
    }
}

fn pem(der: &[u8]) -> String {
    strongroom_attestation_testing::authority::pem("CERTIFICATE", der).unwrap()
}

fn undecided(verdict: Verdict) -> String {
    match verdict {
        Verdict::Undecided { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

fn refused(verdict: Verdict) -> String {
    match verdict {
        Verdict::Refused { reason } => reason.check,
        other => panic!("{other:?}"),
    }
}

#[test]
fn good_evidence_is_accepted_and_each_wrong_part_refused() {
    let files = Files::of(Machine::milan());
    let question = files.question();
    let verdict = question.decide_at(NOW);
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");

    let other_nonce = Question { nonce: Some([4; 64]), ..files.question() };
    assert_eq!(refused(other_nonce.decide_at(NOW)), "snp.report_data");

    assert_eq!(refused(question.decide_at(NOW + 3600)), "snp.max_revocation_list_age_s");
    assert_eq!(refused(question.decide_at(0)), "root.validity");

    let other = Machine::milan();
    files.write("vcek", &other.report_key());
    assert_eq!(refused(files.question().decide_at(NOW)), "report.signature");
}

#[test]
fn certificates_may_be_pem() {
    let files = Files::of(Machine::milan());
    for name in ["vcek", "ask", "ark"] {
        let der = fs::read(files.path(name)).unwrap();
        files.write(name, pem(&der).as_bytes());
    }
    assert_eq!(files.question().decide_at(NOW).exit_code(), 0);
}

#[test]
fn a_root_that_is_not_amds_is_refused_unless_it_is_said() {
    let files = Files::of(Machine::milan());
    let strict = policy_text().replace("insecure_accept_simulated_roots = \"any\"\n", "");
    files.write("policy.toml", strict.as_bytes());
    assert_eq!(refused(files.question().decide_at(NOW)), "root.key");
    let told = Question { insecure_accept_simulated: true, ..files.question() };
    match told.decide_at(NOW) {
        Verdict::Accepted { claims } => assert!(claims.insecure().simulated_root.is_some()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_hosts_table_is_as_good_as_files() {
    let files = Files::of(Machine::milan());
    let entries = [
        (0x63da_758d_e664_4564_adc5_f4b9_3be8_accd_u128, "vcek"),
        (0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782, "ask"),
        (0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae, "ark"),
        (0x92f8_1bc3_5811_4d3d_97ff_d19f_88dc_67ea, "crl"),
    ];
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for (guid, name) in entries {
        let bytes = fs::read(files.path(name)).unwrap();
        head.extend(guid.to_be_bytes());
        head.extend((5 * 24 + u32::try_from(tail.len()).unwrap()).to_le_bytes());
        head.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        tail.extend(bytes);
    }
    head.extend([0; 24]);
    files.write("table", &[head, tail].concat());
    let mut question = files.question();
    question.evidence = EvidenceFiles {
        evidence: files.path("report"),
        certificates: Some(files.path("table")),
        endorsements: EndorsementFiles::default(),
    };
    assert_eq!(question.decide_at(NOW).exit_code(), 0);
    files.write("table", b"no table");
    assert!(undecided(question.decide_at(NOW)).contains("is no certificate table: no end"));
}

#[test]
fn broken_questions_are_undecided() {
    let files = Files::of(Machine::milan());
    let message = |change: &dyn Fn(&mut Question)| {
        let mut question = files.question();
        change(&mut question);
        undecided(question.decide_at(NOW))
    };
    assert!(message(&|question| question.nonce = None).contains("no nonce was given"));
    let missing = message(&|question| question.policy = files.path("missing"));
    assert!(missing.contains("cannot open"), "{missing}");
    files.write("skips.toml", policy_text().replace("\"given\"", "\"skip\"").as_bytes());
    let ignored = message(&|question| question.policy = files.path("skips.toml"));
    assert!(ignored.contains("does not compare it"), "{ignored}");
    files.write("bad.toml", policy_text().replace("vmpls = [0, 3]", "vmpls = []").as_bytes());
    let bad = message(&|question| question.policy = files.path("bad.toml"));
    assert!(bad.contains("bad.toml:18:9: snp.vmpls: an empty list accepts nothing"), "{bad}");
    let garbage =
        message(&|question| question.evidence.endorsements.root = Some(files.path("policy.toml")));
    assert!(garbage.contains("neither DER nor PEM"), "{garbage}");
    let short = message(&|question| question.evidence.evidence = files.path("ask"));
    assert!(short.contains("a report has 1184 bytes"), "{short}");
    files.write("long", &[0; 2049]);
    let long = message(&|question| question.evidence.evidence = files.path("long"));
    assert!(long.contains("over 2048 bytes"), "{long}");
    let kind = message(&|question| {
        question.evidence.endorsements.report_key = Some(ReportKeyFile::Vlek(files.path("vcek")));
    });
    assert!(kind.contains("given as the certificate of a VLEK"), "{kind}");
    let none = message(&|question| question.evidence.endorsements.report_key = None);
    assert!(none.contains("no certificate of the key"), "{none}");
}

#[test]
fn a_folder_of_configfs_tsm_is_evidence() {
    let files = Files::of(Machine::milan());
    files.write("tsm/outblob", &fs::read(files.path("report")).unwrap());
    files.write("tsm/auxblob", b"");
    let mut question = files.question();
    question.evidence.evidence = files.path("tsm");
    assert_eq!(question.decide_at(NOW).exit_code(), 0);
    files.write("tsm/auxblob", b"no table");
    assert!(undecided(question.decide_at(NOW)).contains("auxblob is no certificate table"));
    fs::remove_file(files.path("tsm/outblob")).unwrap();
    assert!(undecided(question.decide_at(NOW)).contains("outblob"));
}

/// A made-up trusted application's evidence as files.
fn token_files() -> (Files, Question) {
    let files = Files::of(Machine::milan());
    let mut application = Application::new();
    application.statement.nonce = strongroom_token::challenge_nonce(&[3; 64]);
    files.write("policy.toml", application::policy_text().as_bytes());
    files.write("token", &application.token());
    files.write("enrolment.toml", application.enrolment_text("device").as_bytes());
    let mut question = files.question();
    question.evidence = EvidenceFiles {
        evidence: files.path("token"),
        certificates: None,
        endorsements: EndorsementFiles {
            enrolment: Some(files.path("enrolment.toml")),
            ..EndorsementFiles::default()
        },
    };
    (files, question)
}

#[test]
fn a_token_is_judged_under_its_enrolment() {
    let (files, question) = token_files();
    match question.decide_at(NOW) {
        Verdict::Accepted { claims } => assert_eq!(claims.optee().unwrap().ta_version, 3),
        other => panic!("{other:?}"),
    }
    let simulated = Application::new().enrolment_text("simulated");
    files.write("enrolment.toml", simulated.as_bytes());
    assert_eq!(refused(question.decide_at(NOW)), "enrolment.platform");
    let told = Question { insecure_accept_simulated: true, ..question.clone() };
    assert_eq!(told.decide_at(NOW).exit_code(), 0);

    let other = Application::with_key([8; 32]).enrolment_text("device");
    files.write("enrolment.toml", other.as_bytes());
    assert_eq!(refused(question.decide_at(NOW)), "token.identity_key");
    files.write("enrolment.toml", b"version = 1");
    let message = undecided(question.decide_at(NOW));
    assert!(message.contains("is no enrolment: missing field `platform`"), "{message}");
    let mut without = question.clone();
    without.evidence.endorsements.enrolment = None;
    assert!(undecided(without.decide_at(NOW)).contains("no enrolment was given"));
    files.write("token", b"\xd2 and nothing of a token");
    files.write("enrolment.toml", simulated.as_bytes());
    assert!(undecided(question.decide_at(NOW)).contains("no tagged COSE_Sign1"));
}

#[test]
fn nonces_fill_report_data_from_its_start() {
    let nonce = parse_nonce("0102").unwrap();
    assert_eq!(nonce.get(..3), Some(&[1, 2, 0][..]));
    assert_eq!(parse_nonce(&"03".repeat(64)), Ok([3; 64]));
    for bad in ["", "0", "012", "0g", &"00".repeat(65)] {
        assert!(parse_nonce(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_fetched_chain_serves_a_verification_without_more_files() {
    let files = Files::of(Machine::milan());
    let source = Source::Folder(files.mirror());
    let fetched = fetch_chain(&files.path("report"), None, &source, &files.cache(), NOW).unwrap();
    assert!(fetched.revocation_list && matches!(fetched.root, Root::Simulated { .. }));
    // A second time replaces the first.
    fetch_chain(&files.path("report"), None, &source, &files.cache(), NOW).unwrap();

    let mut question = files.question();
    question.evidence = EvidenceFiles {
        evidence: files.path("report"),
        certificates: None,
        endorsements: EndorsementFiles {
            cache: Some(files.cache()),
            ..EndorsementFiles::default()
        },
    };
    assert_eq!(question.decide_at(NOW).exit_code(), 0);
}

#[test]
fn a_source_that_makes_no_chain_stores_nothing() {
    let files = Files::of(Machine::milan());
    let mirror = files.mirror();
    let source = Source::Folder(mirror.clone());
    let key = ReportKeyName::of(&files.machine.report, None).unwrap();
    let fetch = || fetch_chain(&files.path("report"), None, &source, &files.cache(), NOW);

    fs::write(mirror.join(key.certificate_path()), files.machine.issuer()).unwrap();
    assert!(matches!(fetch(), Err(AttestError::BadChain { .. })));
    fs::write(mirror.join(key.chain_path()), pem(files.machine.issuer())).unwrap();
    assert!(matches!(fetch(), Err(AttestError::Unreadable { .. })));
    fs::remove_file(mirror.join(key.chain_path())).unwrap();
    assert!(matches!(fetch(), Err(AttestError::NotThere(_))));
    assert!(!files.cache().folder_of(&key).exists());
}

#[test]
fn a_service_is_asked_by_http() {
    let files = Files::of(Machine::milan());
    let mirror = files.mirror();
    let key = ReportKeyName::of(&files.machine.report, None).unwrap();
    fs::remove_file(mirror.join(key.revocation_list_path())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(&listener, &mirror));
    let source: Source = format!("http://{address}/").parse().unwrap();
    let fetched = fetch_chain(&files.path("report"), None, &source, &files.cache(), NOW).unwrap();
    assert!(!fetched.revocation_list, "a list that is not there is no error");
}

/// Answers each request with the file of that name.
fn serve(listener: &TcpListener, folder: &Path) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        let request = String::from_utf8(request).unwrap();
        let path = request.split(' ').nth(1).unwrap().trim_start_matches('/');
        let (status, body) = match fs::read(folder.join(path)) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
    }
}

#[test]
fn names_are_those_of_amds_service() {
    let key = |machine: &Machine| ReportKeyName::of(&machine.report, None).unwrap();
    let milan = key(&Machine::milan());
    let chip = "0a".repeat(64);
    assert_eq!(
        milan.certificate_path(),
        format!("vcek/v1/Milan/{chip}?blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=219")
    );
    assert_eq!(milan.chain_path(), "vcek/v1/Milan/cert_chain");
    assert_eq!(
        key(&Machine::turin()).certificate_path(),
        "vcek/v1/Turin/7777777777777777?fmcSPL=01&blSPL=04&teeSPL=01&snpSPL=24&ucodeSPL=219"
    );
}

#[test]
fn reports_without_a_fetchable_key_are_told_apart() {
    let of = |report: &Report, line| ReportKeyName::of(report, line);
    let mut report = Machine::milan().report;
    assert!(matches!(of(&report, Some(ProductLine::Genoa)), Err(AttestError::OtherProductLine)));
    report.extension = Extension::V2;
    assert!(matches!(of(&report, None), Err(AttestError::NoProductLine)));
    of(&report, Some(ProductLine::Milan)).unwrap();
    report.reported_tcb = TcbBytes([1; 8]);
    assert!(of(&report, Some(ProductLine::Milan)).is_err());
    let vlek = Machine::milan_vlek().report;
    assert!(matches!(of(&vlek, None), Err(AttestError::NotFetchable("VLEK"))));
}

/// The certificates of real chips have the names that their reports lead to: chip and versions
/// in AMD's own extensions are those in the path.
#[test]
fn recorded_reports_are_verified_from_a_mirror_of_the_service() {
    for vector in vectors::load().unwrap() {
        let Some(expected) = vector.expected.filter(|one| one.key == "VCEK") else { continue };
        let (Some(bytes), Ok(line)) = (vector.report, expected.product.parse()) else { continue };
        let files = Files::of(Machine::milan());
        files.write("report", &bytes);
        let key = ReportKeyName::of(&Report::parse(&bytes).unwrap(), Some(line)).unwrap();
        let amd = strongroom_verifier::AmdCertificates::for_report_key(&vector.vek).unwrap();
        let chain = format!("{}{}", pem(&amd.issuer), pem(&amd.root));
        files.write(&format!("mirror/{}", key.chain_path()), chain.as_bytes());
        files.write(&format!("mirror/{}", key.certificate_path()), &vector.vek);
        let source = Source::Folder(files.path("mirror"));
        // The newest certificate recorded is of August 2025; all are valid for seven years.
        let now = 1_760_000_000;
        let fetched =
            fetch_chain(&files.path("report"), Some(line), &source, &files.cache(), now).unwrap();
        assert_eq!(fetched.root, Root::Amd, "{}", vector.name);
    }
}
