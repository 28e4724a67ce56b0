// SPDX-License-Identifier: MIT
//! How long it takes to verify a report: with a chain that was checked before, and without.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

#[path = "../tests/support/mod.rs"]
mod support;

use strongroom_verifier::{CachedChain, Evidence, verify, verify_with_chain};
use support::{Machine, NOW, policy};

fn benchmark(criterion: &mut Criterion) {
    let machine = Machine::milan();
    let policy = policy();
    let report_key = machine.report_key();
    let endorsements = machine.endorsements(&report_key);
    let chain = match CachedChain::check(&endorsements, NOW) {
        Ok(chain) => chain,
        Err(refusal) => panic!("{refusal}"),
    };
    let report = machine.chip.sign(&machine.report);
    let evidence = Evidence::SnpReport(&report);
    criterion.bench_function("verify_with_chain", |bencher| {
        bencher.iter(|| verify_with_chain(black_box(&evidence), &chain, &policy, NOW).is_ok());
    });
    criterion.bench_function("verify", |bencher| {
        bencher.iter(|| verify(black_box(&evidence), &endorsements, &policy, NOW).is_ok());
    });
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
