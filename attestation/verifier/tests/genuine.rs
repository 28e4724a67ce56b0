// SPDX-License-Identifier: MIT
//! What no policy drops: signature, chain, chip and versions. Each test makes one thing wrong.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected is to fail"
)]

mod support;

use strongroom_attestation_testing::authority::{
    Authority, Chip, Contents, Issuer, VALIDITY, extension,
};
use strongroom_evidence::{Cpu, Extension, Malformed, SigningKey, Vmpl};
use strongroom_verifier::{
    CachedChain, Endorsements, KeyKind, Link, Part, Policy, ProductLine, Refusal, Root,
    verify_report, verify_report_with_chain,
};
use support::{
    MILAN, Machine, NOW, TURIN, Verified as _, parse, policy, policy_table, policy_text,
    policy_with,
};

fn refusal(machine: &Machine) -> Refusal {
    machine.verify(&policy()).unwrap_err()
}

/// The machine's verdict with one certificate that is not its own.
fn refusal_with(machine: &Machine, link: Link, certificate: &[u8]) -> Refusal {
    let report_key = machine.report_key();
    let mut endorsements = machine.endorsements(&report_key);
    match link {
        Link::Root => endorsements.root = certificate,
        Link::Issuer => endorsements.issuer = certificate,
        _ => endorsements.report_key = certificate,
    }
    let report = machine.chip.sign(&machine.report);
    verify_report(&report, &endorsements, &policy(), NOW).unwrap_err()
}

#[test]
fn every_bit_of_the_signed_part_counts() {
    let machine = Machine::turin();
    let report_key = machine.report_key();
    let chain = CachedChain::check(&machine.endorsements(&report_key), NOW).unwrap();
    let policy = policy();
    let report = machine.chip.sign(&machine.report);
    verify_report_with_chain(&report, &chain, &policy, NOW).unwrap();
    for at in 0..report.len() {
        for bit in 0..8 {
            let mut flipped = report;
            flipped[at] ^= 1 << bit;
            let verdict = verify_report_with_chain(&flipped, &chain, &policy, NOW);
            let refused = matches!(
                verdict,
                Err(Refusal::ReportSignature
                    | Refusal::Report(_)
                    | Refusal::SigningKey { .. }
                    | Refusal::Unsigned)
            );
            assert!(refused, "byte {at:#x} bit {bit}: {verdict:?}");
        }
    }
}

#[test]
fn a_report_of_another_chip_has_another_signature() {
    let machine = Machine::milan();
    let report = Chip::generate().sign(&machine.report);
    assert_eq!(machine.verify_bytes(&report, &policy()), Err(Refusal::ReportSignature));
    let report = machine.report.encode();
    assert_eq!(machine.verify_bytes(&report, &policy()), Err(Refusal::ReportSignature));
    let short = machine.verify_bytes(&report[1..], &policy());
    assert_eq!(short, Err(Refusal::Report(Malformed::Length { found: report.len() - 1 })));
}

#[test]
fn the_report_names_the_kind_of_key_that_signed() {
    let mut machine = Machine::milan();
    machine.report.key_info.signing_key = SigningKey::Vlek;
    let expected = Refusal::SigningKey { expected: KeyKind::Vcek, found: KeyKind::Vlek };
    assert_eq!(refusal(&machine), expected);
    machine.report.key_info.signing_key = SigningKey::None;
    assert_eq!(refusal(&machine), Refusal::Unsigned);

    let mut machine = Machine::milan_vlek();
    machine.report.key_info.signing_key = SigningKey::Vcek;
    let expected = Refusal::SigningKey { expected: KeyKind::Vlek, found: KeyKind::Vcek };
    assert_eq!(refusal(&machine), expected);
}

#[test]
fn the_host_does_not_speak_for_the_guest() {
    let mut machine = Machine::milan();
    machine.report.vmpl = Vmpl::Host;
    assert_eq!(machine.verify(&policy_with("snp.vmpls", "skip")), Err(Refusal::HostRequested));
}

#[test]
fn the_processor_is_of_the_chains_line() {
    let mut machine = Machine::milan();
    let set = |machine: &mut Machine, family, model| {
        let cpu = Cpu { family, model, stepping: 0 };
        machine.report.extension = Extension::V3 { cpu };
    };
    for (family, model, named) in
        [(0x19, 0x11, "Genoa"), (0x1a, 2, "Turin"), (0x17, 1, "family 0x17 model 0x1")]
    {
        set(&mut machine, family, model);
        let found = named.to_owned();
        assert_eq!(refusal(&machine), Refusal::Processor { expected: ProductLine::Milan, found });
    }
}

#[test]
fn the_chip_is_the_certificates() {
    let mut machine = Machine::milan();
    machine.report.chip_id[63] ^= 1;
    assert!(matches!(refusal(&machine), Refusal::Chip { .. }));

    // A Turin has eight bytes, and then zeros.
    let mut machine = Machine::turin();
    machine.report.chip_id[8] = 1;
    assert!(matches!(refusal(&machine), Refusal::Chip { .. }));

    let mut machine = Machine::milan();
    machine.facts.chip_id = Some(vec![10; 8]);
    assert_eq!(refusal(&machine), Refusal::ChipExtension { name: "hardware identifier" });
    machine.facts.chip_id = None;
    assert_eq!(refusal(&machine), Refusal::ChipExtension { name: "hardware identifier" });
}

#[test]
fn every_part_of_the_reported_tcb_is_the_certificates() {
    let milan = [(0, Part::BootLoader), (1, Part::Tee), (6, Part::Snp), (7, Part::Microcode)];
    for (at, part) in milan {
        let mut machine = Machine::milan();
        let expected = machine.report.reported_tcb.0[at];
        machine.report.reported_tcb.0[at] = 250;
        assert_eq!(refusal(&machine), Refusal::ReportedTcb { part, expected, found: 250 });
    }
    let turin = [
        (0, Part::Fmc),
        (1, Part::BootLoader),
        (2, Part::Tee),
        (3, Part::Snp),
        (7, Part::Microcode),
    ];
    for (at, part) in turin {
        let mut machine = Machine::turin();
        let expected = machine.report.reported_tcb.0[at];
        machine.report.reported_tcb.0[at] = 250;
        assert_eq!(refusal(&machine), Refusal::ReportedTcb { part, expected, found: 250 });
    }
}

#[test]
fn reserved_bytes_of_each_tcb_are_zero() {
    let malformed = Malformed::Reserved { field: "TCB version" };
    for field in ["current", "committed", "launch", "reported"] {
        let mut machine = Machine::milan();
        let tcb = match field {
            "current" => &mut machine.report.current_tcb,
            "committed" => &mut machine.report.committed_tcb,
            "launch" => &mut machine.report.launch_tcb,
            _ => &mut machine.report.reported_tcb,
        };
        tcb.0[4] = 1;
        assert_eq!(refusal(&machine), Refusal::ReportTcb { field, malformed });
    }
}

#[test]
fn the_certificate_is_for_the_chains_product() {
    let mut machine = Machine::milan();
    for product in ["Genoa", "Turin", "Milano", ""] {
        machine.facts.product = product.to_owned();
        let found = product.to_owned();
        assert_eq!(refusal(&machine), Refusal::Product { expected: ProductLine::Milan, found });
    }
}

#[test]
fn each_of_amds_extensions_is_mandatory() {
    let machine = Machine::turin();
    let contents = machine.authority.chip_contents(&machine.facts).unwrap();
    for missing in 0..contents.extensions.len() {
        let mut contents = contents.clone();
        contents.extensions.remove(missing);
        let key = machine.chip.public_key().unwrap();
        let report_key = machine.authority.ask.certify(&contents, key).unwrap();
        let refusal = CachedChain::check(&machine.endorsements(&report_key), NOW).unwrap_err();
        assert!(matches!(refusal, Refusal::ChipExtension { .. }), "{refusal}");
    }
}

#[test]
fn a_simulated_root_is_accepted_in_so_many_words_only() {
    let machine = Machine::milan();
    let mut table = policy_table();
    table.remove("insecure_accept_simulated_roots");
    let strict = || parse(&table).unwrap().with_report_data([3; 64]);
    let Err(Refusal::SimulatedRoot { key_sha256 }) = machine.verify(&strict()) else {
        panic!("accepted a root of ours")
    };
    let words = strict().insecure_accept_any_simulated_root();
    let claims = machine.verify(&words).unwrap();
    assert_eq!(claims.insecure.simulated_root.as_ref(), Some(&key_sha256));

    let listed = policy_with("insecure_accept_simulated_roots", vec![key_sha256.clone()]);
    machine.verify(&listed).unwrap();
    let other = policy_with("insecure_accept_simulated_roots", vec!["00".repeat(32)]);
    assert_eq!(machine.verify(&other), Err(Refusal::SimulatedRoot { key_sha256 }));
    assert!(policy_text().contains("insecure_accept_simulated_roots"));
}

#[test]
fn chains_are_not_mixed() {
    let machine = Machine::milan();
    // Another authority of the same names: only the signatures give it away.
    let imposter = Authority::generate("Milan").unwrap();
    let signature = |link| Refusal::Signature { link };
    let refused = refusal_with(&machine, Link::Root, &imposter.root_certificate);
    assert_eq!(refused, signature(Link::Issuer));
    let refused = refusal_with(&machine, Link::Issuer, &imposter.ask_certificate);
    assert_eq!(refused, signature(Link::Issuer));
    let foreign = imposter.certify_chip(&machine.facts, &machine.chip).unwrap();
    let refused = refusal_with(&machine, Link::ReportKey, &foreign);
    assert_eq!(refused, signature(Link::ReportKey));

    let named = |refused: Refusal, expected: Link| match refused {
        Refusal::Name { link, field: "issuer", .. } => assert_eq!(link, expected),
        other => panic!("{other}"),
    };
    named(refusal_with(&machine, Link::Root, &TURIN.root_certificate), Link::Issuer);
    named(refusal_with(&machine, Link::Issuer, &TURIN.ask_certificate), Link::Issuer);
    named(refusal_with(&machine, Link::Issuer, &MILAN.asvk_certificate), Link::ReportKey);
    named(refusal_with(&machine, Link::Root, &MILAN.ask_certificate), Link::Root);
}

/// A chain with one certificate made from other contents.
fn chain_with(link: Link, change: impl FnOnce(&mut Contents)) -> Result<CachedChain, Refusal> {
    let machine = Machine::milan();
    let authority = machine.authority;
    let (mut contents, issuer, key) = match link {
        Link::Root => (
            Authority::root_contents("Milan").unwrap(),
            &authority.root,
            authority.root.public_key().unwrap(),
        ),
        Link::Issuer => (
            Authority::issuer_contents("Milan", "SEV", 1).unwrap(),
            &authority.root,
            authority.ask.public_key().unwrap(),
        ),
        _ => (
            authority.chip_contents(&machine.facts).unwrap(),
            &authority.ask,
            machine.chip.public_key().unwrap(),
        ),
    };
    change(&mut contents);
    let certificate = issuer.certify(&contents, key).unwrap();
    let report_key = machine.report_key();
    let mut endorsements = machine.endorsements(&report_key);
    match link {
        Link::Root => endorsements.root = &certificate,
        Link::Issuer => endorsements.issuer = &certificate,
        _ => endorsements.report_key = &certificate,
    }
    CachedChain::check(&endorsements, NOW)
}

const LINKS: [Link; 3] = [Link::Root, Link::Issuer, Link::ReportKey];

#[test]
fn each_certificate_has_its_time() {
    for link in LINKS {
        chain_with(link, |_| {}).unwrap();
        let (from, to) = VALIDITY;
        let refused = chain_with(link, |contents| contents.validity = (from, NOW - 1));
        assert_eq!(refused.unwrap_err(), Refusal::Expired { link, not_after: NOW - 1, now: NOW });
        let refused = chain_with(link, |contents| contents.validity = (NOW + 1, to));
        let expected = Refusal::NotYetValid { link, not_before: NOW + 1, now: NOW };
        assert_eq!(refused.unwrap_err(), expected);
        chain_with(link, |contents| contents.validity = (NOW, NOW)).unwrap();
    }
}

#[test]
fn a_cached_chain_expires_like_any_other() {
    let machine = Machine::milan();
    let report_key = machine.report_key();
    let chain = CachedChain::check(&machine.endorsements(&report_key), NOW).unwrap();
    let report = machine.chip.sign(&machine.report);
    let at = |now, policy: &Policy| verify_report_with_chain(&report, &chain, policy, now);
    let refused_key = |verdict| match verdict {
        Err(Refusal::Policy { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    at(NOW, &policy()).unwrap();
    assert_eq!(refused_key(at(NOW + 3601, &policy())), "snp.max_chain_age_s");
    // Its list was good for a minute.
    assert_eq!(refused_key(at(NOW + 61, &policy())), "snp.max_revocation_list_age_s");
    // A clock that goes backwards makes nothing younger.
    assert_eq!(refused_key(at(NOW - 1, &policy())), "snp.max_chain_age_s");
    let (_, end) = VALIDITY;
    assert!(matches!(at(end + 1, &policy()), Err(Refusal::Expired { link: Link::Root, .. })));
}

#[test]
fn purposes_and_names_are_kept() {
    for link in [Link::Root, Link::Issuer] {
        for missing in 0..2 {
            let refused = chain_with(link, |contents| {
                contents.extensions.remove(missing);
            });
            assert!(
                matches!(refused.unwrap_err(), Refusal::Purpose { link: found, .. } if found == link)
            );
        }
    }
    for link in LINKS {
        let unknown = extension("1.2.3.4", true, &[5, 0]).unwrap();
        let refused = chain_with(link, |contents| contents.extensions.push(unknown));
        let expected = Refusal::CriticalExtension { link, oid: "1.2.3.4".to_owned() };
        assert_eq!(refused.unwrap_err(), expected);
    }
    let refused = chain_with(Link::ReportKey, |contents| contents.subject = "SEV-XXXX".to_owned());
    assert!(matches!(
        refused.unwrap_err(),
        Refusal::Name { link: Link::ReportKey, field: "subject", .. }
    ));
    // A key that says it is the provider's, under the issuer of chips' own.
    let refused = chain_with(Link::ReportKey, |contents| contents.subject = "SEV-VLEK".to_owned());
    assert!(matches!(
        refused.unwrap_err(),
        Refusal::Name { link: Link::Issuer, field: "subject", .. }
    ));
}

#[test]
fn the_report_key_is_of_p384() {
    let machine = Machine::milan();
    let contents = machine.authority.chip_contents(&machine.facts).unwrap();
    let key = machine.authority.ask.public_key().unwrap();
    let report_key = machine.authority.ask.certify(&contents, key).unwrap();
    let refused = CachedChain::check(&machine.endorsements(&report_key), NOW).unwrap_err();
    let expected = Refusal::Purpose { link: Link::ReportKey, expected: "a key of P-384" };
    assert_eq!(refused, expected);
}

#[test]
fn names_of_no_line_are_refused() {
    let root = Issuer::generate().unwrap();
    let mut contents = Authority::root_contents("Rome").unwrap();
    let rome = root.certify(&contents, root.public_key().unwrap()).unwrap();
    contents = Authority::issuer_contents("Rome", "SEV", 1).unwrap();
    let issuer = root.certify(&contents, root.public_key().unwrap()).unwrap();
    let machine = Machine::milan();
    let mut contents = machine.authority.chip_contents(&machine.facts).unwrap();
    contents.issuer = "SEV-Rome".to_owned();
    let report_key = root.certify(&contents, machine.chip.public_key().unwrap()).unwrap();
    let endorsements = Endorsements {
        root: &rome,
        issuer: &issuer,
        report_key: &report_key,
        revocation_list: None,
    };
    let refused = CachedChain::check(&endorsements, NOW).unwrap_err();
    assert!(matches!(refused, Refusal::Name { link: Link::Root, field: "subject", .. }));
}

fn refusal_with_list(list: Option<Vec<u8>>) -> Refusal {
    let mut machine = Machine::milan();
    machine.revocation_list = list;
    refusal(&machine)
}

#[test]
fn revoked_issuers_are_refused_whatever_the_policy() {
    let mut machine = Machine::milan();
    let list = |serials: &[u64]| MILAN.root.revoke("ARK-Milan", serials, (NOW - 60, NOW + 60));
    machine.revocation_list = Some(list(&[7, 1]).unwrap());
    let expected = Refusal::Revoked { link: Link::Issuer, serial: "01".to_owned() };
    assert_eq!(refusal(&machine), expected);
    let skip = policy_with("snp.max_revocation_list_age_s", "skip");
    assert_eq!(machine.verify(&skip), Err(expected));
    // The other issuer's serial number.
    machine.revocation_list = Some(list(&[2]).unwrap());
    machine.verify(&policy()).unwrap();
}

#[test]
fn a_revocation_list_is_recent_and_the_roots() {
    let key = |refused| match refused {
        Refusal::Policy { key, found, .. } => (key, found),
        other => panic!("{other}"),
    };
    let name = "snp.max_revocation_list_age_s".to_owned();
    assert_eq!(key(refusal_with_list(None)), (name.clone(), "nothing".to_owned()));
    let list = |times| MILAN.root.revoke("ARK-Milan", &[], times).ok();
    let old = list((NOW - 86_401, NOW + 60));
    assert_eq!(key(refusal_with_list(old)), (name.clone(), "86401".to_owned()));
    let ended = list((NOW - 60, NOW - 1));
    assert_eq!(key(refusal_with_list(ended)), (name.clone(), format!("valid to {}", NOW - 1)));
    let early = list((NOW + 1, NOW + 60));
    assert_eq!(key(refusal_with_list(early)), (name, format!("made at {}", NOW + 1)));

    let forged = MILAN.ask.revoke("ARK-Milan", &[], (NOW - 60, NOW + 60)).ok();
    let link = Link::RevocationList;
    assert_eq!(refusal_with_list(forged), Refusal::Signature { link });
    let foreign = TURIN.root.revoke("ARK-Turin", &[], (NOW - 60, NOW + 60)).ok();
    assert!(matches!(refusal_with_list(foreign), Refusal::Name { link: Link::RevocationList, .. }));
    let garbage = Some(vec![0x30, 0]);
    assert!(matches!(
        refusal_with_list(garbage),
        Refusal::Unreadable { link: Link::RevocationList, .. }
    ));
}

#[test]
fn every_byte_of_a_certificate_counts() {
    let machine = Machine::milan();
    let report_key = machine.report_key();
    for at in 0..report_key.len() {
        let mut changed = report_key.clone();
        changed[at] ^= 1;
        assert!(CachedChain::check(&machine.endorsements(&changed), NOW).is_err(), "byte {at}");
    }
    let longer = [report_key.as_slice(), &[0]].concat();
    assert!(CachedChain::check(&machine.endorsements(&longer), NOW).is_err());
    let chain = CachedChain::check(&machine.endorsements(&report_key), NOW).unwrap();
    assert_eq!(chain.product_line(), ProductLine::Milan);
    assert!(matches!(chain.root(), Root::Simulated { .. }));
}
