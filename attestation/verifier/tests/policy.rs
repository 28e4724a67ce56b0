// SPDX-License-Identifier: MIT
//! Each check of the policy: one fact changed, and exactly that refusal; and what is no policy.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected is to fail"
)]

mod support;

use strongroom_evidence::{Extension, FirmwareVersion, GuestPolicy, PlatformInfo, Report, Vmpl};
use strongroom_verifier::Policy;
use support::{
    Machine, Verified as _, parse, policy, policy_table, policy_with, refused_key, table_of,
};
use toml::{Table, Value};

/// Every key of the policy but `version`, and the one that may be missing.
const KEYS: &[&str] = &[
    "snp.report_versions",
    "snp.product_lines",
    "snp.signing_keys",
    "snp.chip_ids",
    "snp.providers",
    "snp.measurements",
    "snp.host_data",
    "snp.id_key_digests",
    "snp.author_key_digests",
    "snp.family_ids",
    "snp.image_ids",
    "snp.min_guest_svn",
    "snp.vmpls",
    "snp.report_data",
    "snp.min_firmware",
    "snp.provisional_firmware",
    "snp.launch_mitigations",
    "snp.current_mitigations",
    "snp.max_revocation_list_age_s",
    "snp.max_chain_age_s",
    "snp.guest_policy.min_abi",
    "snp.guest_policy.debug",
    "snp.guest_policy.migration_agent",
    "snp.guest_policy.smt",
    "snp.guest_policy.single_socket",
    "snp.guest_policy.cxl",
    "snp.guest_policy.aes_256_xts",
    "snp.guest_policy.rapl_disabled",
    "snp.guest_policy.ciphertext_hiding",
    "snp.guest_policy.page_swap_disabled",
    "snp.platform_info.smt",
    "snp.platform_info.tsme",
    "snp.platform_info.ecc",
    "snp.platform_info.rapl_disabled",
    "snp.platform_info.ciphertext_hiding",
    "snp.platform_info.alias_check",
    "snp.platform_info.trusted_io",
    "snp.platform_info.unknown_bits",
    "snp.save_area.secure_tsc",
    "snp.save_area.restricted_injection",
    "snp.min_tcb",
];

type Change = fn(&mut Report);

/// One change of the report for each check that a report alone can fail.
const CHANGES: &[(&str, Change)] = &[
    ("snp.report_versions", |report| report.extension = Extension::V2),
    ("snp.measurements", |report| report.measurement[47] ^= 1),
    ("snp.host_data", |report| report.host_data[0] ^= 1),
    ("snp.id_key_digests", |report| report.id_key_digest[0] ^= 1),
    ("snp.author_key_digests", |report| report.author_key_digest[0] ^= 1),
    ("snp.family_ids", |report| report.family_id[0] ^= 1),
    ("snp.image_ids", |report| report.image_id[0] ^= 1),
    ("snp.min_guest_svn", |report| report.guest_svn = 6),
    ("snp.vmpls", |report| report.vmpl = Vmpl::Guest(2)),
    ("snp.report_data", |report| report.report_data[63] ^= 1),
    ("snp.min_firmware", |report| {
        let firmware = FirmwareVersion { major: 1, minor: 55, build: 28 };
        (report.current_version, report.committed_version) = (firmware, firmware);
    }),
    ("snp.provisional_firmware", |report| report.current_version.build = 30),
    ("snp.provisional_firmware", |report| report.current_tcb.0[7] = 220),
    ("snp.launch_mitigations", |report| set_mitigations(report, 2, 3)),
    ("snp.current_mitigations", |report| set_mitigations(report, 1, 5)),
    ("snp.guest_policy.min_abi", |report| set_policy(report, 0, 1)),
    ("snp.guest_policy.debug", |report| set_policy(report, GuestPolicy::DEBUG, 0)),
    ("snp.guest_policy.migration_agent", |report| set_policy(report, GuestPolicy::MIGRATE_MA, 0)),
    ("snp.guest_policy.smt", |report| set_policy(report, 0, GuestPolicy::SMT)),
    ("snp.guest_policy.single_socket", |report| set_policy(report, 0, GuestPolicy::SINGLE_SOCKET)),
    ("snp.guest_policy.cxl", |report| set_policy(report, GuestPolicy::CXL_ALLOW, 0)),
    ("snp.guest_policy.aes_256_xts", |report| set_policy(report, 0, GuestPolicy::MEM_AES_256_XTS)),
    ("snp.guest_policy.rapl_disabled", |report| set_policy(report, 0, GuestPolicy::RAPL_DIS)),
    ("snp.guest_policy.ciphertext_hiding", |report| {
        set_policy(report, 0, GuestPolicy::CIPHERTEXT_HIDING);
    }),
    ("snp.guest_policy.page_swap_disabled", |report| {
        set_policy(report, 0, GuestPolicy::PAGE_SWAP_DISABLE);
    }),
    ("snp.platform_info.smt", |report| report.platform_info.0 ^= PlatformInfo::SMT),
    ("snp.platform_info.tsme", |report| report.platform_info.0 ^= PlatformInfo::TSME),
    ("snp.platform_info.ecc", |report| report.platform_info.0 ^= PlatformInfo::ECC),
    ("snp.platform_info.rapl_disabled", |report| report.platform_info.0 ^= PlatformInfo::RAPL_DIS),
    ("snp.platform_info.ciphertext_hiding", |report| {
        report.platform_info.0 ^= PlatformInfo::CIPHERTEXT_HIDING;
    }),
    ("snp.platform_info.alias_check", |report| report.platform_info.0 ^= PlatformInfo::ALIAS_CHECK),
    ("snp.platform_info.trusted_io", |report| report.platform_info.0 ^= PlatformInfo::TIO),
    ("snp.platform_info.unknown_bits", |report| report.platform_info.0 |= 1 << 63),
];

fn set_policy(report: &mut Report, set: u64, clear: u64) {
    report.policy = GuestPolicy::from_bits((report.policy.bits() | set) & !clear).unwrap();
}

fn set_mitigations(report: &mut Report, launch: u64, current: u64) {
    let cpu = report.cpu().unwrap();
    let (launch_mitigations, current_mitigations) = (launch, current);
    report.extension = Extension::V5 { cpu, launch_mitigations, current_mitigations };
}

#[test]
fn machines_that_satisfy_the_policy_are_believed() {
    for machine in [Machine::milan(), Machine::turin()] {
        let claims = machine.verify(&policy()).unwrap();
        assert_eq!(claims.skipped, Vec::<String>::new());
        assert!(claims.insecure.simulated_root.is_some());
        assert!(!claims.insecure.debug && !claims.insecure.provisional_firmware);
    }
}

#[test]
fn each_check_refuses_the_one_thing_it_is_about() {
    for (key, change) in CHANGES {
        let mut machine = Machine::milan();
        change(&mut machine.report);
        assert_eq!(refused_key(machine.verify(&policy())), *key);

        let claims = machine.verify(&policy_with(key, "skip"));
        // A report of version 2 has no mitigation vector, an unknown measurement no features.
        let next = match *key {
            "snp.report_versions" => Some("snp.launch_mitigations"),
            "snp.measurements" => Some("snp.save_area.secure_tsc"),
            _ => None,
        };
        if let Some(next) = next {
            assert_eq!(refused_key(claims), next);
            continue;
        }
        assert_eq!(claims.unwrap().skipped, [*key], "skipping {key} drops that check alone");
    }
}

#[test]
fn every_key_has_a_test_of_its_refusal() {
    let elsewhere = [
        "snp.product_lines",
        "snp.signing_keys",
        "snp.chip_ids",
        "snp.providers",
        "snp.max_revocation_list_age_s",
        "snp.max_chain_age_s",
        "snp.save_area.secure_tsc",
        "snp.save_area.restricted_injection",
        "snp.min_tcb",
    ];
    for key in KEYS {
        let here = CHANGES.iter().any(|(changed, _)| changed == key);
        assert_ne!(here, elsewhere.contains(key), "{key}");
    }
}

#[test]
fn origin_has_to_be_on_the_lists() {
    let lines = policy_with("snp.product_lines", vec!["Turin"]);
    assert_eq!(refused_key(Machine::milan().verify(&lines)), "snp.product_lines");
    Machine::turin().verify(&lines).unwrap();

    let keys = policy_with("snp.signing_keys", vec!["VLEK"]);
    assert_eq!(refused_key(Machine::milan().verify(&keys)), "snp.signing_keys");

    let chips = policy_with("snp.chip_ids", vec!["0b".repeat(64)]);
    assert_eq!(refused_key(Machine::milan().verify(&chips)), "snp.chip_ids");

    let mut other = Machine::milan_vlek();
    other.facts.provider = Some("CN=other.example".to_owned());
    let any_chip = policy_with("snp.chip_ids", "skip");
    assert_eq!(refused_key(other.verify(&any_chip)), "snp.providers");
}

#[test]
fn a_loaded_key_proves_no_chip() {
    let mut machine = Machine::milan_vlek();
    assert_eq!(refused_key(machine.verify(&policy())), "snp.chip_ids");
    // Not even when the report names one that is on the list.
    machine.report.chip_id = [10; 64];
    assert_eq!(refused_key(machine.verify(&policy())), "snp.chip_ids");

    let claims = machine.verify(&policy_with("snp.chip_ids", "skip")).unwrap();
    assert_eq!(claims.chip_id, None);
    assert_eq!(claims.provider.as_deref(), Some("CN=provider.example"));
}

#[test]
fn each_part_of_each_tcb_has_its_minimum() {
    for (line, parts) in [
        ("Milan", &["boot_loader", "tee", "snp", "microcode"][..]),
        ("Turin", &["fmc", "boot_loader", "tee", "snp", "microcode"]),
    ] {
        for version in ["current", "committed", "launch", "reported"] {
            for part in parts {
                let machine = if line == "Milan" { Machine::milan() } else { Machine::turin() };
                let key = format!("snp.min_tcb.{line}.{version}.{part}");
                assert_eq!(refused_key(machine.verify(&policy_with(&key, 250))), key);
                let claims = machine.verify(&policy_with(&key, "skip")).unwrap();
                assert_eq!(claims.skipped, [key]);
            }
            let table = format!("snp.min_tcb.{line}.{version}");
            let machine = if line == "Milan" { Machine::milan() } else { Machine::turin() };
            assert_eq!(machine.verify(&policy_with(&table, "skip")).unwrap().skipped, [table]);
        }
    }
    assert_eq!(
        Machine::milan().verify(&policy_with("snp.min_tcb", "skip")).unwrap().skipped,
        ["snp.min_tcb"]
    );
}

#[test]
fn report_data_is_what_the_caller_gave() {
    let machine = Machine::milan();
    let none_given = parse(&policy_table()).unwrap();
    assert_eq!(refused_key(machine.verify(&none_given)), "snp.report_data");
    let other = parse(&policy_table()).unwrap().with_report_data([4; 64]);
    assert_eq!(refused_key(machine.verify(&other)), "snp.report_data");
    machine.verify(&policy_with("snp.report_data", "03".repeat(64))).unwrap();
    let fixed = policy_with("snp.report_data", "04".repeat(64));
    assert_eq!(refused_key(machine.verify(&fixed)), "snp.report_data");
}

#[test]
fn features_of_the_save_area_are_those_of_the_measurement() {
    let digest = "04".repeat(48);
    let described = |features: i64| {
        let entry: [(String, Value); 2] =
            [("digest".into(), digest.clone().into()), ("sev_features".into(), features.into())];
        policy_with("snp.measurements", vec![Table::from_iter(entry)])
    };
    let machine = Machine::milan();
    assert_eq!(machine.verify(&described(0x209)).unwrap().sev_features, Some(0x209));
    let refused = refused_key(machine.verify(&described(0x9)));
    assert_eq!(refused, "snp.save_area.secure_tsc");
    let refused = refused_key(machine.verify(&described(0x201)));
    assert_eq!(refused, "snp.save_area.restricted_injection");

    // A bare digest says nothing of them, and that is not good enough.
    let bare = policy_with("snp.measurements", vec![digest.clone()]);
    assert_eq!(refused_key(machine.verify(&bare)), "snp.save_area.secure_tsc");

    // Nor do the features of another measurement count.
    let mut table = policy_table();
    let (snp, _) = table_of(&mut table, "snp.measurements");
    let other: Table =
        format!("digest = '{}'\nsev_features = 0x209", "05".repeat(48)).parse().unwrap();
    snp.insert("measurements".into(), Value::Array(vec![other.into(), digest.into()]));
    let policy = parse(&table).unwrap().with_report_data([3; 64]);
    assert_eq!(refused_key(machine.verify(&policy)), "snp.save_area.secure_tsc");
}

#[test]
fn errors_name_line_and_key() {
    let text = |vmpls: &str| POLICY_TEXT.replace("vmpls = [0]", vmpls);
    let error = Policy::from_toml(&text("vmpls = [4000]")).unwrap_err();
    assert_eq!((error.line, error.column, error.key.as_str()), (7, 9, "snp.vmpls"));
    assert!(error.message.contains("4000"), "{error}");
    let error = Policy::from_toml(&text("vmpsl = [0]")).unwrap_err();
    assert_eq!((error.line, error.column), (7, 1), "{error}");
    assert!(error.message.contains("unknown field `vmpsl`, expected one of"), "{error}");
    let error = Policy::from_toml("version = 7").unwrap_err();
    assert_eq!(error.to_string(), "1:1: version: expected 1, the version that is known");
    let error = Policy::from_toml("version = 1\n[snp\n").unwrap_err();
    assert_eq!(error.line, 2, "{error}");
}

/// The beginning of a policy: enough for errors in it.
const POLICY_TEXT: &str = "\
# A comment.
version = 1

[snp]
report_versions = [3]

vmpls = [0]
";

#[test]
fn what_is_insecure_is_claimed_in_the_open() {
    let mut machine = Machine::milan();
    set_policy(&mut machine.report, GuestPolicy::DEBUG | GuestPolicy::MIGRATE_MA, 0);
    machine.report.current_version.build = 30;
    machine.revocation_list = None;
    let mut table = policy_table();
    for key in [
        "snp.guest_policy.debug",
        "snp.guest_policy.migration_agent",
        "snp.provisional_firmware",
        "snp.max_revocation_list_age_s",
    ] {
        let (inner, last) = table_of(&mut table, key);
        inner.insert(last.to_owned(), "skip".into());
    }
    let policy = parse(&table).unwrap().with_report_data([3; 64]);
    let claims = machine.verify(&policy).unwrap();
    let json = serde_json::to_value(&claims).unwrap();
    for name in ["debug", "migration_agent", "provisional_firmware", "revocation_unchecked"] {
        assert_eq!(json["insecure"][name], true, "{name}");
    }
    assert_eq!(json["insecure"]["simulated_root"].as_str().unwrap().len(), 64);
    assert_eq!(json["skipped"].as_array().unwrap().len(), 4);
    assert_eq!(json["measurement"], "04".repeat(48));
    assert_eq!(json["signing_key"], "VCEK");
    assert_eq!(json["committed_firmware"], "1.55.29");
    assert!(claims.insecure.any());
}

#[test]
fn every_missing_key_is_named() {
    for key in KEYS {
        let mut table = policy_table();
        let (inner, last) = table_of(&mut table, key);
        assert!(inner.remove(last).is_some(), "{key}");
        let message = parse(&table).unwrap_err().to_string();
        assert!(message.contains(&format!("missing field `{last}`")), "{key}: {message}");
    }
    for table_name in ["snp", "snp.guest_policy", "snp.platform_info", "snp.min_tcb.Turin"] {
        let mut table = policy_table();
        let (inner, last) = table_of(&mut table, table_name);
        inner.remove(last);
        let message = parse(&table).unwrap_err().to_string();
        assert!(message.contains(&format!("missing field `{last}`")), "{message}");
    }
}

#[test]
fn every_key_can_be_skipped_or_is_mandatory_all_the_same() {
    for key in KEYS {
        if ["snp.min_tcb", "snp.product_lines", "snp.measurements"].contains(key) {
            continue;
        }
        let claims = Machine::milan().verify(&policy_with(key, "skip")).unwrap();
        let not_about_chips = *key == "snp.providers";
        assert!(not_about_chips || claims.skipped == [*key], "{key}");
    }
}

#[test]
fn unknown_keys_are_refused() {
    for table_name in [
        "",
        "snp.",
        "snp.guest_policy.",
        "snp.platform_info.",
        "snp.min_tcb.",
        "snp.min_tcb.Milan.",
        "snp.min_tcb.Milan.current.",
    ] {
        let mut table = policy_table();
        let key = format!("{table_name}surprise");
        let (inner, last) = table_of(&mut table, &key);
        inner.insert(last.to_owned(), Value::Boolean(true));
        let message = parse(&table).unwrap_err().to_string();
        assert!(message.contains("unknown field `surprise`"), "{message}");
    }
}

#[test]
fn what_is_no_policy_is_refused() {
    assert!(Policy::from_toml("").is_err());
    assert!(Policy::from_toml("version = 1").is_err());
    assert!(Policy::from_toml("version = 1\n[snp]").is_err());
    assert!(Policy::from_toml("surprise").is_err());
    let refused: &[(&str, Value, &str)] = &[
        ("version", Value::Integer(2), "version"),
        ("snp.measurements", Value::Array(Vec::new()), "empty list"),
        ("snp.measurements", vec!["00"].into(), "96 hexadecimal digits"),
        ("snp.measurements", "skipped".into(), "measurements"),
        ("snp.chip_ids", vec!["0011"].into(), "128 or 16"),
        ("snp.product_lines", vec!["Rome"].into(), "Rome"),
        ("snp.vmpls", vec![-1].into(), "-1"),
        ("snp.min_firmware", "1.55".into(), "3 numbers"),
        ("snp.guest_policy.min_abi", "1.555".into(), "2 numbers"),
        ("snp.guest_policy.debug", true.into(), "cannot be demanded"),
        ("snp.provisional_firmware", true.into(), "cannot be demanded"),
        ("snp.report_data", "nonce".into(), "128 hexadecimal digits"),
        ("snp.min_tcb.Milan.current.snp", 256.into(), "256"),
        ("insecure_accept_simulated_roots", "skip".into(), "any"),
    ];
    for (key, value, named) in refused {
        let mut table = policy_table();
        let (inner, last) = table_of(&mut table, key);
        inner.insert(last.to_owned(), value.clone());
        let message = parse(&table).unwrap_err().to_string();
        assert!(message.contains(named), "{key}: {message}");
    }
}

#[test]
fn parts_of_a_tcb_are_those_of_the_line() {
    let mut table = policy_table();
    let (inner, last) = table_of(&mut table, "snp.min_tcb.Turin.launch.fmc");
    inner.remove(last);
    let message = parse(&table).unwrap_err().to_string();
    assert!(message.contains("snp.min_tcb.Turin.launch: missing field `fmc`"), "{message}");

    let mut table = policy_table();
    let (inner, last) = table_of(&mut table, "snp.min_tcb.Milan.launch.fmc");
    inner.insert(last.to_owned(), 1.into());
    let message = parse(&table).unwrap_err().to_string();
    assert!(message.contains("snp.min_tcb.Milan.launch: unknown field `fmc`"), "{message}");
}

#[test]
fn the_policy_in_the_documentation_is_one_and_has_all_keys() {
    let document = include_str!("../../../docs/attestation.md");
    let (_, rest) = document.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    Policy::from_toml(text).unwrap();
    let mut table: Table = text.parse().unwrap();
    for key in KEYS {
        let (inner, last) = table_of(&mut table, key);
        assert!(inner.contains_key(last), "{key}");
        assert!(document.contains(&format!("| `{last}`")), "no row for {key}");
    }
}
