// SPDX-License-Identifier: MIT
//! `strongroom verify` and `strongroom fetch-chain` as a script sees them: exit status and output.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected is to fail"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_attestation_testing::machine::{Machine, policy_text};

struct Folder(tempfile::TempDir);

impl Folder {
    /// A machine's evidence, valid now.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let machine = Machine::milan();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let list = machine.authority.root.revoke("ARK-Milan", &[], (now - 60, now + 3600));
        let strict = policy_text().replace("insecure_accept_simulated_roots = \"any\"\n", "");
        for (name, bytes) in [
            ("policy.toml", strict.as_bytes()),
            ("report", &machine.chip.sign(&machine.report)),
            ("vcek", &machine.report_key()),
            ("ask", machine.issuer()),
            ("ark", &machine.authority.root_certificate),
            ("crl", &list.unwrap()),
        ] {
            fs::write(folder.path(name), bytes).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `strongroom verify` with these files and further arguments.
    fn verify(&self, further: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.current_dir(self.0.path()).env("XDG_CACHE_HOME", self.path("cache"));
        command.args(["verify", "--policy", "policy.toml", "--report", "report"]);
        command.args(["--vcek", "vcek", "--ask", "ask", "--ark", "ark", "--crl", "crl"]);
        let output = command.args(further).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

const SIMULATED: &str = "--insecure-accept-simulated";

#[test]
fn accepted_is_0_refused_is_1_undecided_is_2() {
    let folder = Folder::new();
    let nonce = "03".repeat(64);
    let (code, output, error) = folder.verify(&["--nonce", &nonce, SIMULATED]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{output}");
    assert!(output.starts_with("INSECURE: the root is not AMD's"), "{output}");
    assert!(output.contains("\naccepted (simulated)\n"), "{output}");
    assert!(!output.contains('\x1b'), "no colours where there is no terminal: {output}");

    let (code, output, error) = folder.verify(&["--nonce", &nonce]);
    assert_eq!((code, output.as_str()), (Some(1), ""));
    assert!(error.starts_with("strongroom: refused: root certificate: key "), "{error}");

    let other = "04".repeat(64);
    let (code, _, error) = folder.verify(&["--nonce", &other, SIMULATED]);
    assert_eq!(code, Some(1));
    let sentence = format!("policy: snp.report_data: expected {other}, found {nonce}");
    assert!(error.contains(&sentence), "{error}");

    let (code, _, error) = folder.verify(&[SIMULATED]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("no nonce was given") && error.contains("hint: give --nonce"),
        "{error}"
    );

    fs::write(folder.path("policy.toml"), "version = 1\nsurprise = 2\n").unwrap();
    let (code, _, error) = folder.verify(&["--nonce", &nonce]);
    assert_eq!(code, Some(2));
    assert!(error.contains("policy.toml:2:1: surprise: unknown field `surprise`"), "{error}");
}

#[test]
fn json_says_the_same() {
    let folder = Folder::new();
    let nonce = "03".repeat(64);
    let json = |further: &[&str]| {
        let (code, output, error) = folder.verify(&[further, &["--json"]].concat());
        assert_eq!(error, "");
        let value: serde_json::Value = serde_json::from_str(&output).unwrap();
        (code, value)
    };
    let (code, accepted) = json(&["--nonce", &nonce, SIMULATED]);
    assert_eq!((code, &accepted["verdict"]), (Some(0), &"accepted".into()));
    assert_eq!(accepted["claims"]["measurement"], "04".repeat(48));
    assert!(accepted["claims"]["insecure"]["simulated_root"].is_string());

    let (code, refused) = json(&["--nonce", &"04".repeat(64), SIMULATED]);
    assert_eq!((code, &refused["verdict"]), (Some(1), &"refused".into()));
    assert_eq!(refused["reason"]["check"], "snp.report_data");
    assert_eq!(refused["reason"]["expected"], "04".repeat(64));
    assert_eq!(refused["reason"]["found"], nonce);

    let (code, undecided) = json(&[]);
    assert_eq!((code, &undecided["verdict"]), (Some(2), &"undecided".into()));
}

#[test]
fn wrong_usage_is_2_here() {
    let strongroom = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.args(arguments).output().unwrap().status.code()
    };
    assert_eq!(strongroom(&["verify"]), Some(2));
    assert_eq!(strongroom(&["verify", "--nonce", "xyz"]), Some(2));
    assert_eq!(strongroom(&["verify", "--help"]), Some(0));
    assert_eq!(strongroom(&["fetch-chain", "--report", "/nonexistent", "--from", "/"]), Some(2));
}
