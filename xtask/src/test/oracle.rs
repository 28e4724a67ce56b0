// SPDX-License-Identifier: MIT
//! Checks the checks: every case on native Linux, twice, without the payload.

use std::time::Instant;

use anyhow::{Result, bail};

use super::{
    Options,
    case::{Case, Expected},
    cases::{in_parallel, natively},
    chosen_cases, chosen_programs,
    compare::difference,
    programs,
    tally::{Outcome, Tally},
};
use crate::{
    root::Root,
    setup::{self, Wants},
    workspace::Workspace,
};

/// Runs every chosen case and program natively; true when all of them can serve as an oracle.
pub(crate) fn check_oracle(
    workspace: &Workspace,
    options: &Options,
    verbose: bool,
) -> Result<bool> {
    setup::setup(workspace, Wants::ORACLE, options.no_install)?;
    let tally = Tally::default();
    let programs = chosen_programs(workspace, options)?;
    if !programs.is_empty() {
        programs::run_all(workspace, None, programs, 0, &tally)?;
    }
    in_parallel(chosen_cases(workspace, options)?, |case| {
        let started = Instant::now();
        let outcome = if case.client.is_some() {
            Outcome::Skipped("has a client on the host".to_owned())
        } else {
            match check(workspace, &case, verbose) {
                Ok(()) => Outcome::Passed,
                Err(error) => Outcome::Failed(format!("{error:#}")),
            }
        };
        tally.add(&case.name, &outcome, Some(started.elapsed()));
    });
    Ok(tally.finish())
}

fn check(workspace: &Workspace, case: &Case, verbose: bool) -> Result<()> {
    let root = Root::of_set(workspace, case.root)?;
    let first = case.normalized(&natively(case, &root)?.stdout)?;
    if verbose {
        println!("{}:\n{}", case.name, String::from_utf8_lossy(&first));
    }
    if first.is_empty() && case.expected == Expected::Native {
        bail!("no output: a case that prints nothing proves little");
    }
    if case.expected == Expected::Literal
        && let Some(stdout) = &case.stdout
        && let Some(difference) = difference(&case.normalized(stdout.as_bytes())?, &first)
    {
        bail!("native Linux disagrees with the case: {difference}");
    }
    let second = case.normalized(&natively(case, &root)?.stdout)?;
    match difference(&first, &second) {
        None => Ok(()),
        Some(difference) => bail!("not the same twice: {difference}"),
    }
}
