// SPDX-License-Identifier: MIT
//! Feeds each parser with its good inputs, and with changes of them.
//!
//! `STRONGROOM_FUZZ_SECONDS=600` goes on for that long a parser; a failure prints the seed.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

use std::panic::catch_unwind;
use std::time::{Duration, Instant};
use strongroom_parsers::{Mutator, PARSERS, Parser, corpus};

/// Changes of each input set that every run tries.
const ROUNDS: u64 = 1000;

/// Good inputs that a parser has to accept, so that changes of them get past its first check.
#[test]
fn each_parser_has_inputs_that_it_takes() {
    for Parser { name, feed } in PARSERS {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "{name}");
        inputs.iter().for_each(|input| feed(input));
    }
    let report = corpus("report");
    assert!(strongroom_evidence::Report::parse(report.first().unwrap()).is_ok());
    let policy = String::from_utf8(corpus("policy").remove(0)).unwrap();
    assert!(strongroom_verifier::Policy::from_toml(&policy).is_ok());
    assert!(strongroom_token::Token::parse(&corpus("token").remove(0)).is_ok());
    let enrolment = String::from_utf8(corpus("enrolment").remove(0)).unwrap();
    assert!(strongroom_verifier::Enrolment::from_toml(&enrolment).is_ok());
    let table = corpus("certificate_table").remove(0);
    assert!(strongroom_evidence::CertificateTable::parse(&table).is_ok());
    let image = corpus("igvm").remove(0);
    assert!(strongroom_snp_igvm::LaunchImage::from_igvm(&image).is_ok());
    assert!(strongroom_wire::boot::Record::decode(&corpus("boot").remove(0)).is_ok());
}

#[test]
fn no_change_of_an_input_makes_a_parser_panic() {
    let seconds = std::env::var("STRONGROOM_FUZZ_SECONDS").ok();
    let limit = seconds.map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    for parser in PARSERS {
        let rounds = try_parser(parser, limit);
        println!("{}: {rounds} inputs", parser.name);
    }
}

fn try_parser(Parser { name, feed }: Parser, limit: Option<Duration>) -> u64 {
    let inputs = corpus(name);
    let started = Instant::now();
    let mut seed: u64 = 0;
    while limit.map_or(seed < ROUNDS, |limit| started.elapsed() < limit) {
        let input = Mutator::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).mutate(&inputs);
        if catch_unwind(|| feed(&input)).is_err() {
            panic!("{name} panics: seed {seed}, {} bytes", input.len());
        }
        seed = seed.wrapping_add(1);
    }
    seed
}
