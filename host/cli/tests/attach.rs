// SPDX-License-Identifier: MIT
//! `strongroom keygen` and `strongroom attach` as a script sees them: exit status and output.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected is to fail"
)]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_attestation_testing::machine::{Machine, policy_text};
use strongroom_session::enclave::{Evidence, Waiting};
use strongroom_session::message::NoEvidence;
use strongroom_session::{FRAME_MAX, Frames, SecretKey};

fn strongroom(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache"));
    let output = command.args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_key_is_for_its_owner_alone_and_its_public_half_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let (status, output, errors) = strongroom(folder.path(), &["keygen", "-o", "owner.key"]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let path = folder.path().join("owner.key");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let key: SecretKey = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    assert_eq!(output, format!("{}\n", key.public()));

    let again = strongroom(folder.path(), &["keygen", "-o", "owner.key"]);
    assert_eq!(again.0, Some(2));
    assert!(again.2.contains("cannot make owner.key"), "{}", again.2);
    let kept: SecretKey = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    assert_eq!(kept.public(), key.public(), "a key is not overwritten");

    let (_, output, _) = strongroom(folder.path(), &["keygen", "-o", "other.key", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert!(json["public_key"].as_str().unwrap().starts_with("x25519:"));
}

/// Answers one client as an enclave with this evidence would, and then says nothing more.
fn enclave(folder: &Path, present: impl FnOnce(&[u8; 64]) -> Option<Vec<u8>> + Send + 'static) {
    let listener = UnixListener::bind(folder.join("attach")).unwrap();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut frames = Frames::default();
        let mut next = |stream: &mut std::os::unix::net::UnixStream| loop {
            if let Some(frame) = frames.next(FRAME_MAX).unwrap() {
                break frame;
            }
            let mut piece = [0; 1000];
            let count = stream.read(&mut piece).unwrap();
            frames.push(&piece[..count]).unwrap();
        };
        let waiting = Waiting::new([41; 32], [42; 32]).unwrap();
        let (replied, reply) = waiting.receive(&next(&mut stream)).unwrap();
        stream.write_all(&reply).unwrap();
        let proving = replied.receive(&next(&mut stream)).unwrap();
        let report = present(proving.report_data());
        let evidence = match &report {
            Some(report) => Evidence::SnpReport { report, certificates: b"" },
            None => Evidence::None(NoEvidence::NoSecurityProcessor),
        };
        let (_, frame) = proving.present(evidence).unwrap();
        stream.write_all(&frame).unwrap();
        // Until the client has gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("policy.toml"), policy_text()).unwrap();
        std::fs::write(folder.path("value"), b"a secret").unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn attach(&self, further: &[&str]) -> (Option<i32>, String, String) {
        let fixed = ["attach", "unix:attach", "--policy", "policy.toml", "--secret", "key=@value"];
        strongroom(self.0.path(), &[&fixed, further].concat())
    }
}

#[test]
fn an_enclave_without_evidence_is_refused_with_status_1_and_words() {
    let folder = Folder::new();
    enclave(folder.0.path(), |_| None);
    let (status, output, errors) = folder.attach(&[]);
    assert_eq!((status, output.as_str()), (Some(1), ""));
    assert!(errors.contains("refused: the enclave has no evidence"), "{errors}");
    assert!(errors.contains("SEV-SNP host"), "{errors}");
}

#[test]
fn a_refusal_names_the_check_what_it_expected_and_what_it_found() {
    let folder = Folder::new();
    enclave(folder.0.path(), |data| {
        let machine = Machine::milan();
        let mut report = machine.report;
        report.report_data = *data;
        report.vmpl = strongroom_evidence::Vmpl::Guest(0);
        Some(machine.chip.sign(&report).to_vec())
    });
    let (status, output, _) = folder.attach(&["--json"]);
    assert_eq!(status, Some(1));
    let json: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(json["verdict"], "refused");
    assert_eq!(json["reason"]["check"], "session.vmpl");
    assert_eq!(json["reason"]["expected"], "3");
    assert_eq!(json["reason"]["found"], "0");
}

#[test]
fn what_cannot_be_decided_is_2() {
    let folder = Folder::new();
    let (status, _, errors) = folder.attach(&[]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("cannot connect to unix:attach"), "{errors}");
    let (status, _, errors) = folder.attach(&["--owner-key", "value"]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("value is no owner key; strongroom keygen makes one"), "{errors}");
    assert!(!errors.contains("a secret"));
    let (status, _, errors) = folder.attach(&["--secret", "other=@nothing"]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("cannot open nothing"), "{errors}");
    let usage = strongroom(folder.0.path(), &["attach", "nowhere", "--policy", "policy.toml"]);
    assert_eq!(usage.0, Some(2));
    assert!(usage.2.contains("unix:PATH and tcp:HOST:PORT"), "{}", usage.2);
}

#[test]
fn a_program_without_a_session_needs_no_place_for_one_and_the_other_way_round() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("rootfs")).unwrap();
    std::fs::write(folder.path("payload"), b"none").unwrap();
    let session = "[workload]\nprogram = '/a'\n[session]\ninsecure-any-client = true\n";
    std::fs::write(folder.path("session.toml"), session).unwrap();
    std::fs::write(folder.path("plain.toml"), "workload.program = '/a'").unwrap();
    let run = |manifest: &str, further: &[&str]| {
        let fixed = ["run", "--payload", "payload", "--root", "rootfs", "--manifest", manifest];
        strongroom(folder.0.path(), &[&fixed, further].concat())
    };
    let (status, _, errors) = run("session.toml", &[]);
    assert_eq!(status, Some(125));
    assert!(errors.contains("hint: give --attach"), "{errors}");
    let (status, _, errors) = run("plain.toml", &["--attach", "unix:here"]);
    assert_eq!(status, Some(125));
    assert!(errors.contains("no session that anybody could attach to"), "{errors}");
    assert!(!folder.path("here").exists(), "the socket is gone with the launcher");
    let (status, _, errors) = run("session.toml", &["--secret", "a=b"]);
    assert_eq!(status, Some(125));
    assert!(errors.contains("--attest"), "{errors}");
}
