// SPDX-License-Identifier: MIT
//! The step `optee`: the harness itself in real QEMU, then test suites in its normal world, then
//! programs in our library OS in the secure one.

mod evidence;
mod harness;
mod launched;
mod power;

use std::time::Instant;

use super::tally::{Outcome, Tally};
use crate::{
    optee::{Configuration, Made, Suite, enclave, enclave::QUICK},
    workspace::Workspace,
};

/// Runs everything and counts it. A missing image is a failure, a missing `big` a loud line.
pub(super) fn run_all(workspace: &Workspace, full: bool, tally: &Tally) {
    let mut made = None;
    tally.check("optee image", || {
        made = Some(Made::best(workspace)?);
        Ok(())
    });
    let Some(made) = made else { return };
    harness::run_all(workspace, &made, tally);
    tally.check("optee/power-cuts-during-writes", || power::cuts(workspace, &made));
    suites(workspace, &made, full, tally);
    launched::run_all(workspace, &made, tally);
    evidence::run_all(workspace, &made, tally);
    programs(workspace, &made, full, "", tally);
    if full && let Ok(stock) = Made::of(workspace, Configuration::Stock, false) {
        programs(workspace, &stock, full, "-stock", tally);
    }
    tally.check("optee/programs-that-never-end", || enclave::spinners(workspace, &made));
    let names = if full { &[] } else { QUICK };
    tally.check("optee/programs", || enclave::check_programs(workspace, &made, names));
}

/// Only `strongroom run --tee optee-qemu`, and evidence of what it runs.
pub(super) fn run_launched(workspace: &Workspace, tally: &Tally) {
    match Made::best(workspace) {
        Ok(made) => {
            launched::run_all(workspace, &made, tally);
            evidence::run_all(workspace, &made, tally);
        }
        Err(error) => tally.check("optee image", || Err(error)),
    }
}

/// Programs in the library OS as a trusted application.
fn programs(workspace: &Workspace, made: &Made, full: bool, on: &str, tally: &Tally) {
    let ran = match enclave::run_all(workspace, made, full) {
        Ok(ran) => ran,
        Err(error) => {
            tally.add(&format!("optee enclave{on}"), &Outcome::Failed(format!("{error:#}")), None);
            return;
        }
    };
    for one in ran {
        let outcome = one.problem.map_or(Outcome::Passed, Outcome::Failed);
        tally.add(&format!("optee-enclave{on}/{}", one.name), &outcome, Some(one.took));
    }
}

fn suites(workspace: &Workspace, made: &Made, full: bool, tally: &Tally) {
    let upstream = if full { Suite::Regression } else { Suite::Quick };
    let own = Suite::Strongroom(Vec::new());
    let mut images = vec![made.clone()];
    if full && let Ok(stock) = Made::of(workspace, Configuration::Stock, false) {
        images.push(stock);
    }
    for (made, suite) in images.iter().flat_map(|made| [(made, &own), (made, &upstream)]) {
        let started = Instant::now();
        let (name, outcome) = match suite.run(workspace, made) {
            Ok(run) => {
                print!("{}", run.table());
                let outcome = if run.problems.is_empty() {
                    Outcome::Passed
                } else {
                    Outcome::Failed(run.problems.join("\n"))
                };
                (run.name, outcome)
            }
            Err(error) => ("optee suite".to_owned(), Outcome::Failed(format!("{error:#}"))),
        };
        tally.add(&name, &outcome, Some(started.elapsed()));
    }
}
