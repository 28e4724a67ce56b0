// SPDX-License-Identifier: MIT
//! Reports and certificates of real processors, with the crate `sev` as a second opinion; and
//! bytes that nobody made.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected is to fail"
)]

mod support;

use proptest::prelude::*;
use sev::certs::snp::{Certificate, Verifiable};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use strongroom_attestation_testing::vectors::{self, Vector};
use strongroom_evidence::{REPORT_LEN, SIGNED_LEN};
use strongroom_verifier::{
    AmdCertificates, CachedChain, Endorsements, KeyKind, Link, Policy, ProductLine, Refusal, Root,
    SnpClaims, verify_report, verify_report_with_chain,
};
use support::{parse, policy_table};
use toml::Value;

/// The ninth of October 2025: all recorded certificates were valid then.
const THEN: u64 = 1_760_000_000;

/// A policy that drops all that can be dropped, but asks for AMD's root.
fn lenient() -> Policy {
    let mut table = policy_table();
    table.remove("insecure_accept_simulated_roots");
    let snp = table["snp"].as_table_mut().unwrap();
    for (name, value) in snp.iter_mut() {
        match value {
            Value::Table(inner) if name != "min_tcb" => {
                inner.iter_mut().for_each(|(_, value)| *value = "skip".into());
            }
            value => *value = "skip".into(),
        }
    }
    parse(&table).unwrap()
}

fn chain(vek: &[u8]) -> Result<CachedChain, Refusal> {
    let amd = AmdCertificates::for_report_key(vek)?;
    CachedChain::check(&endorsements(&amd, vek), THEN)
}

fn endorsements<'a>(amd: &'a AmdCertificates, report_key: &'a [u8]) -> Endorsements<'a> {
    Endorsements { root: &amd.root, issuer: &amd.issuer, report_key, revocation_list: None }
}

fn judge(vector: &Vector, report: &[u8], vek: &[u8]) -> Result<SnpClaims, Refusal> {
    let amd = AmdCertificates::for_report_key(&vector.vek)?;
    verify_report(report, &endorsements(&amd, vek), &lenient(), THEN)
}

/// What the crate `sev` thinks of a report. Its parser may panic on what is no report.
fn second_opinion(vek: &[u8], report: &[u8]) -> bool {
    let vek = Certificate::from_der(vek).unwrap();
    let report: [u8; REPORT_LEN] = report.try_into().unwrap();
    let verdict = std::panic::catch_unwind(|| {
        AttestationReport::from_bytes(&report).is_ok_and(|report| (&vek, &report).verify().is_ok())
    });
    verdict.unwrap_or(false)
}

#[test]
fn each_set_has_its_documented_result() {
    let (mut accepted, mut chains) = (0, 0);
    for vector in vectors::load().unwrap() {
        assert_eq!(chain(&vector.vek).unwrap().root(), &Root::Amd, "{}", vector.name);
        chains += 1;
        let Some(report) = &vector.report else { continue };
        let verdict = judge(&vector, report, &vector.vek);
        if vector.expected.as_ref().is_some_and(|expected| expected.result == "reject") {
            verdict.unwrap_err();
            continue;
        }
        let claims = verdict.unwrap();
        accepted += 1;
        assert_eq!(claims.insecure.simulated_root, None);
        let Some(expected) = vector.expected else { continue };
        assert_eq!(claims.product_line.to_string(), expected.product, "{}", vector.name);
        assert_eq!(claims.signing_key.to_string(), expected.key, "{}", vector.name);
        assert_eq!(claims.report_version, expected.version, "{}", vector.name);
        assert_eq!(claims.vmpl, expected.vmpl, "{}", vector.name);
        assert_eq!(claims.measurement.to_string(), expected.measurement, "{}", vector.name);
        assert_eq!(claims.report_data.to_string(), expected.report_data, "{}", vector.name);
    }
    println!("vectors: {accepted} reports accepted, {chains} chains verified");
}

#[test]
fn certificates_of_other_chips_are_refused() {
    for vector in vectors::load().unwrap() {
        let Some(report) = &vector.report else { continue };
        for (name, vek) in &vector.wrong_veks {
            let refused = judge(&vector, report, vek).unwrap_err();
            let signature = Refusal::Signature { link: Link::ReportKey };
            assert!(
                refused == signature || matches!(refused, Refusal::Name { .. }),
                "{name}: {refused}"
            );
        }
    }
}

#[test]
fn a_chain_verifies_under_its_own_line_and_kind_only() {
    for vector in vectors::load().unwrap() {
        let own = chain(&vector.vek).unwrap();
        let mut good = 0;
        for line in ProductLine::ALL {
            for kind in [KeyKind::Vcek, KeyKind::Vlek] {
                let amd = AmdCertificates::of(line, kind).unwrap();
                let verdict = CachedChain::check(&endorsements(&amd, &vector.vek), THEN);
                match verdict {
                    Ok(_) => {
                        good += 1;
                        assert_eq!(line, own.product_line(), "{}", vector.name);
                    }
                    Err(refusal) => {
                        assert!(matches!(refusal, Refusal::Name { .. }), "{refusal}");
                    }
                }
            }
        }
        assert_eq!(good, 1, "{}", vector.name);
    }
}

#[test]
fn built_in_certificates_are_the_published_ones() {
    for line in ProductLine::ALL {
        for (kind, issuer) in [(KeyKind::Vcek, "ask"), (KeyKind::Vlek, "asvk")] {
            let amd = AmdCertificates::of(line, kind).unwrap();
            let lower = line.to_string().to_lowercase();
            for (name, ours) in [("ark", &amd.root), (issuer, &amd.issuer)] {
                match vectors::authority_certificate(&format!("{lower}-{name}")) {
                    Some(theirs) => assert_eq!(*ours, theirs, "{lower} {name}"),
                    None => println!("skipped: no recorded {lower}-{name} here"),
                }
            }
        }
    }
}

/// One bit of every byte; `genuine.rs` flips all of them on a report of our own.
#[test]
fn changed_reports_are_refused() {
    let policy = lenient();
    for vector in vectors::load().unwrap() {
        let Some(report) = &vector.report else { continue };
        let chain = chain(&vector.vek).unwrap();
        for at in 0..report.len() {
            let mut changed = report.clone();
            changed[at] ^= 1 << (at % 8);
            let verdict = verify_report_with_chain(&changed, &chain, &policy, THEN);
            assert!(verdict.is_err(), "{} byte {at:#x}", vector.name);
        }
    }
}

/// The second opinion accepts what we accept. It also accepts what it does not look at: the
/// reserved bytes of TCB versions, which it leaves out, and the bytes that nobody signs.
#[test]
fn the_crate_sev_agrees_but_for_what_it_leaves_out() {
    let unseen = |at: usize| {
        let tcb = [0x38, 0x180, 0x1e0, 0x1f0].iter().any(|tcb| (tcb + 2..tcb + 7).contains(&at));
        tcb || at >= SIGNED_LEN
    };
    for vector in vectors::load().unwrap() {
        let Some(report) = &vector.report else { continue };
        let ours = judge(&vector, report, &vector.vek).is_ok();
        assert_eq!(second_opinion(&vector.vek, report), ours, "{}", vector.name);
        for at in (0x50..report.len()).step_by(41) {
            let mut changed = report.clone();
            changed[at] ^= 0x10;
            let agrees = !second_opinion(&vector.vek, &changed);
            assert!(agrees || unseen(at), "{} byte {at:#x}", vector.name);
        }
    }
}

#[test]
fn validity_is_judged_at_the_time_given() {
    for vector in vectors::load().unwrap() {
        let amd = AmdCertificates::for_report_key(&vector.vek).unwrap();
        let at = |now| CachedChain::check(&endorsements(&amd, &vector.vek), now).unwrap_err();
        assert!(matches!(at(0), Refusal::NotYetValid { .. }));
        assert!(matches!(at(u64::MAX), Refusal::Expired { .. }));
        let link = Link::ReportKey;
        assert!(matches!(at(1_000_000_000), Refusal::NotYetValid { .. }));
        assert!(matches!(at(2_000_000_000), Refusal::Expired { link: found, .. } if found == link));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        text in "[a-z0-9_.=\"\\[\\]{} \n]{0,200}",
    ) {
        let amd = AmdCertificates::of(ProductLine::Milan, KeyKind::Vcek).unwrap();
        prop_assert!(AmdCertificates::for_report_key(&bytes).is_err());
        prop_assert!(CachedChain::check(&endorsements(&amd, &bytes), THEN).is_err());
        prop_assert!(Policy::from_toml(&text).is_err());
    }

    #[test]
    fn changed_certificates_and_lists_never_panic(
        changes in prop::collection::vec((0usize..1700, any::<u8>()), 1..8),
    ) {
        let amd = AmdCertificates::of(ProductLine::Turin, KeyKind::Vcek).unwrap();
        let mut changed = amd.issuer.clone();
        for (at, value) in changes {
            if let Some(byte) = changed.get_mut(at) {
                *byte = value;
            }
        }
        let everywhere = Endorsements {
            root: &amd.root,
            issuer: &amd.root,
            report_key: &changed,
            revocation_list: Some(&changed),
        };
        prop_assert!(CachedChain::check(&everywhere, THEN).is_err());
        let _outcome = AmdCertificates::for_report_key(&changed);
    }
}
