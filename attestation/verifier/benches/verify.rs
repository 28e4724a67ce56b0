// SPDX-License-Identifier: MIT
//! How long it takes to verify a report: with a chain that was checked before, and without.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

#[path = "../tests/support/mod.rs"]
mod support;

use strongroom_verifier::{CachedChain, Refusal, verify_report, verify_report_with_chain};
use support::{Machine, NOW, Verified as _, policy};

fn benchmark(criterion: &mut Criterion) {
    let machine = Machine::milan();
    let policy = policy();
    let report_key = machine.report_key();
    let endorsements = machine.endorsements(&report_key);
    let chain = accepted(CachedChain::check(&endorsements, NOW));
    let report = machine.chip.sign(&machine.report);
    // A refusal would be quick, and its time would say nothing: each round has to accept.
    criterion.bench_function("verify_report_with_chain", |bencher| {
        bencher
            .iter(|| accepted(verify_report_with_chain(black_box(&report), &chain, &policy, NOW)));
    });
    criterion.bench_function("verify_report", |bencher| {
        bencher.iter(|| accepted(verify_report(black_box(&report), &endorsements, &policy, NOW)));
    });
    criterion.bench_function("check_chain", |bencher| {
        bencher.iter(|| accepted(CachedChain::check(black_box(&endorsements), NOW)));
    });
}

fn accepted<T>(outcome: Result<T, Refusal>) -> T {
    match outcome {
        Ok(value) => value,
        Err(refusal) => panic!("{refusal}"),
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
