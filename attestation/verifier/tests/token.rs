// SPDX-License-Identifier: MIT
//! Tokens of trusted applications: what is believed, and what is not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that meets the unexpected is to fail"
)]

mod support;

use strongroom_attestation_testing::application::{Application, device_signature, policy_text};
use strongroom_token::{MemoryHash, Statement};
use strongroom_verifier::{Claims, Enrolment, OpteeClaims, Policy, Refusal, verify_token};
use support::refused_key;
use toml::{Table, Value};

/// All keys of `[optee]`.
const KEYS: [&str; 6] = [
    "ta_uuids",
    "min_ta_version",
    "package_digests",
    "memory_hashes",
    "identity_key_ids",
    "report_data",
];

fn policy() -> Policy {
    Policy::from_toml(&policy_text()).unwrap().with_report_data([3; 64])
}

fn table_with(key: &str, value: Option<Value>) -> Table {
    let mut table: Table = policy_text().parse().unwrap();
    let optee = table["optee"].as_table_mut().unwrap();
    let before = match value {
        Some(value) => optee.insert(key.to_owned(), value),
        None => optee.remove(key),
    };
    assert!(before.is_some(), "{key} is new");
    table
}

fn policy_with(key: &str, value: impl Into<Value>) -> Policy {
    let table = table_with(key, Some(value.into()));
    Policy::from_toml(&toml::to_string(&table).unwrap()).unwrap().with_report_data([3; 64])
}

fn enrolment() -> Enrolment {
    Enrolment::from_toml(&Application::new().enrolment_text("device")).unwrap()
}

fn verify(application: &Application, policy: &Policy) -> Result<OpteeClaims, Refusal> {
    verify_token(&application.token(), &enrolment(), policy)
}

#[test]
fn an_application_that_satisfies_the_policy_is_believed() {
    let claims = verify(&Application::new(), &policy()).unwrap();
    assert!(!claims.insecure.any());
    assert_eq!(claims.skipped, Vec::<String>::new());
    assert_eq!(claims.memory_hash.unwrap().0, [5; 32]);
    let json = serde_json::to_value(Claims::from(claims)).unwrap();
    assert_eq!(json["tee"], "op-tee");
    assert_eq!(json["ta_uuid"], "01234567-89ab-8def-bedc-ba9876543210");
    assert_eq!(json["kernel_isolated"], false, "program and kernel are one domain");
    let identity_of: Vec<String> = serde_json::from_value(json["identity_of"].clone()).unwrap();
    assert_eq!(identity_of, ["device", "ta_uuid", "ta_signer"], "and not of a version");
}

#[test]
fn each_check_refuses_the_one_thing_it_is_about() {
    type Change = fn(&mut Application);
    let changes: [(&str, Change); 5] = [
        ("min_ta_version", |ta| ta.statement.ta_version = 2),
        ("package_digests", |ta| ta.statement.package_digest = [1; 32]),
        ("memory_hashes", |ta| ta.memory = Some([1; 32])),
        ("memory_hashes", |ta| ta.memory = None),
        ("report_data", |ta| ta.statement.nonce[63] ^= 1),
    ];
    for (key, change) in changes {
        let mut application = Application::new();
        change(&mut application);
        assert_eq!(refused_key(verify(&application, &policy())), format!("optee.{key}"));
        let claims = verify(&application, &policy_with(key, "skip")).unwrap();
        assert_eq!(claims.skipped, [format!("optee.{key}")], "that check alone is dropped");
    }
    let other = policy_with("ta_uuids", vec!["01234567-89ab-8def-bedc-ba9876543211"]);
    assert_eq!(refused_key(verify(&Application::new(), &other)), "optee.ta_uuids");
    let other = policy_with("identity_key_ids", vec!["00".repeat(32)]);
    assert_eq!(refused_key(verify(&Application::new(), &other)), "optee.identity_key_ids");
}

#[test]
fn a_newer_version_is_as_good() {
    let mut newer = Application::new();
    newer.statement.ta_version = 4;
    verify(&newer, &policy()).unwrap();
}

#[test]
fn every_bit_of_a_token_counts() {
    let token = Application::new().token();
    let (policy, enrolment) = (policy(), enrolment());
    verify_token(&token, &enrolment, &policy).unwrap();
    for bit in 0..token.len() * 8 {
        let mut changed = token.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_token(&changed, &enrolment, &policy).is_err(), "bit {bit}");
    }
}

#[test]
fn a_key_that_was_not_enrolled_says_nothing() {
    let other = Application::with_key([8; 32]);
    let outcome = verify_token(&other.token(), &enrolment(), &policy());
    assert!(matches!(outcome, Err(Refusal::IdentityKey { .. })), "{outcome:?}");
    // Of the enrolled key's name, and signed by another.
    let mut forged = Application::with_key([8; 32]);
    forged.statement = Application::new().statement;
    let outcome = verify_token(&forged.token(), &enrolment(), &policy());
    assert_eq!(outcome, Err(Refusal::TokenSignature));
}

#[test]
fn the_key_of_one_application_does_not_speak_for_another() {
    let mut other = Application::new();
    other.statement.ta_uuid[15] ^= 1;
    let any = policy_with("ta_uuids", "skip");
    let outcome = verify_token(&other.token(), &enrolment(), &any);
    assert!(matches!(outcome, Err(Refusal::TrustedApplication { .. })), "{outcome:?}");
}

/// Whoever signs applications with this UUID has its identity key, but not the device's.
#[test]
fn an_application_cannot_make_up_the_hash_of_its_memory() {
    let application = Application::new();
    let with = |hash, signature| {
        let memory = Some(MemoryHash { hash, signature });
        let statement = Statement { memory, ..application.statement.clone() };
        verify_token(&application.sign(&statement), &enrolment(), &policy())
    };
    let nonce = application.statement.memory_nonce();
    with([5; 32], device_signature(&nonce, &[5; 32])).unwrap();
    // Signed by nobody; for another hash; over another nonce, which anybody may choose.
    assert_eq!(with([5; 32], vec![7; 256]), Err(Refusal::MemorySignature));
    let signature = device_signature(&nonce, &[1; 32]);
    assert_eq!(with([5; 32], signature), Err(Refusal::MemorySignature));
    let signature = device_signature(&[0; 32], &[5; 32]);
    assert_eq!(with([5; 32], signature), Err(Refusal::MemorySignature));
    // The boundary between nonce and hash moved: the PTA does not sign their lengths.
    let moved = device_signature(&nonce[..31], &[5; 32]);
    assert_eq!(with([5; 32], moved), Err(Refusal::MemorySignature));
}

/// The PTA signs any caller's nonce over digests of files and of its own memory, too.
#[test]
fn a_digest_from_another_command_of_the_pta_is_refused() {
    let application = Application::new();
    let digest_of_the_file = [0x44; 32];
    let nonce = application.statement.memory_nonce();
    let memory = Some(MemoryHash {
        hash: digest_of_the_file,
        signature: device_signature(&nonce, &digest_of_the_file),
    });
    let statement = Statement { memory, ..application.statement.clone() };
    let outcome = verify_token(&application.sign(&statement), &enrolment(), &policy());
    assert_eq!(refused_key(outcome), "optee.memory_hashes");
}

#[test]
fn memory_that_no_enrolled_device_vouches_for_is_not_claimed() {
    let application = Application::new();
    let text = application.enrolment_text("device");
    let (without, _) = text.split_once("\n[attestation_key]").unwrap();
    let without = Enrolment::from_toml(without).unwrap();
    let outcome = verify_token(&application.token(), &without, &policy());
    assert_eq!(refused_key(outcome), "optee.memory_hashes");
    let skip = policy_with("memory_hashes", "skip");
    let claims = verify_token(&application.token(), &without, &skip).unwrap();
    assert_eq!(claims.memory_hash, None);
}

#[test]
fn a_simulated_device_is_accepted_in_so_many_words_only() {
    let application = Application::new();
    let simulated = Enrolment::from_toml(&application.enrolment_text("simulated")).unwrap();
    let Err(Refusal::SimulatedDevice { key_sha256 }) =
        verify_token(&application.token(), &simulated, &policy())
    else {
        panic!("accepted");
    };
    let any = policy().insecure_accept_any_simulated_root();
    let claims = verify_token(&application.token(), &simulated, &any).unwrap();
    assert_eq!(claims.insecure.simulated_root.as_ref(), Some(&key_sha256));
    let listed = |key: &str| {
        let text = format!("insecure_accept_simulated_roots = [\"{key}\"]\n{}", policy_text());
        Policy::from_toml(&text).unwrap().with_report_data([3; 64])
    };
    verify_token(&application.token(), &simulated, &listed(&key_sha256)).unwrap();
    let other = verify_token(&application.token(), &simulated, &listed(&"00".repeat(32)));
    assert_eq!(other, Err(Refusal::SimulatedDevice { key_sha256 }));
}

#[test]
fn a_policy_accepts_only_kinds_of_evidence_that_it_has_a_table_for() {
    let snp = strongroom_attestation_testing::machine::policy_text();
    let policy = Policy::from_toml(&snp).unwrap().with_report_data([3; 64]);
    assert_eq!(refused_key(verify(&Application::new(), &policy)), "optee");
    let both = format!("{snp}\n{}", policy_text().replace("version = 1\n", ""));
    let both = Policy::from_toml(&both).unwrap().with_report_data([3; 64]);
    verify(&Application::new(), &both).unwrap();
}

#[test]
fn every_key_is_mandatory() {
    for key in KEYS {
        let text = toml::to_string(&table_with(key, None)).unwrap();
        let message = Policy::from_toml(&text).unwrap_err().to_string();
        assert!(message.contains(&format!("missing field `{key}`")), "{message}");
    }
    let text = format!("{}surprise = 1\n", policy_text());
    let message = Policy::from_toml(&text).unwrap_err().to_string();
    assert!(message.contains("unknown field `surprise`"), "{message}");
    for (key, value, named) in [
        ("ta_uuids", Value::from(vec!["1"]), "ta_uuids"),
        ("memory_hashes", Value::Array(Vec::new()), "empty list"),
        ("package_digests", vec!["00"].into(), "64 hexadecimal digits"),
        ("min_ta_version", Value::from(-1), "-1"),
    ] {
        let text = toml::to_string(&table_with(key, Some(value))).unwrap();
        let message = Policy::from_toml(&text).unwrap_err().to_string();
        assert!(message.contains(named), "{key}: {message}");
    }
}

#[test]
fn the_policy_in_the_documentation_is_one_and_has_all_keys() {
    let document = include_str!("../../../docs/attestation.md");
    let (_, rest) = document.split_once("```toml\nversion = 1\n\n[optee]\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    Policy::from_toml(&format!("version = 1\n[optee]\n{text}")).unwrap();
    let table: Table = text.parse().unwrap();
    for key in KEYS {
        assert!(table.contains_key(key), "{key}");
        assert!(document.contains(&format!("| `{key}`")), "no row for {key}");
    }
}
