// SPDX-License-Identifier: MIT
//! Runs a program of the kind `fuzzer`: random system calls until all are made.
//!
//! In the payload every call is tried; natively only those that cannot harm the machine, and only
//! when there is no payload to try.

use std::{path::Path, time::Duration};

use anyhow::Result;

use super::{
    cases::last_lines,
    native::{Network, Run},
    program::Program,
    tally::{Outcome, Tally},
};
use crate::{
    build::Built,
    process::{self, Finished},
    root::Root,
};

/// A finding can be had again with the same seed.
const SEED: u64 = 1;

/// Natively there is nothing to find: does the program itself get to its end?
const CALLS_NATIVELY: u64 = 2000;

/// Set by whoever can do without the machine afterwards.
const CONSENT: &str = "SYSFUZZ_THROW_AWAY_MACHINE=1";

/// What the run may take: for its start, and for a thousand calls.
const LIMIT_START: Duration = Duration::from_secs(60);
const LIMIT_THOUSAND: Duration = Duration::from_secs(3);

/// Makes `calls` calls in the payload, or a few natively.
pub(super) fn run(
    program: &Program,
    root: &Root,
    payload: Option<(&Built, &Path)>,
    calls: u64,
    tally: &Tally,
) -> Result<()> {
    let path = program.path_inside().to_string_lossy().into_owned();
    let Some((built, image)) = payload else {
        let command = [path, SEED.to_string(), CALLS_NATIVELY.to_string()];
        let finished = Run {
            root: &root.folder,
            command: &command,
            env: &std::collections::BTreeMap::new(),
            stdin: b"",
            limit: limit(CALLS_NATIVELY),
            network: Network::Own,
        }
        .finish()?;
        let outcome = outcome(&program.name, &finished, CALLS_NATIVELY, "");
        tally.add(&format!("{} (native)", program.name), &outcome, Some(finished.took));
        return Ok(());
    };
    let mut launcher = built.run(image);
    launcher.args(["-q", "--env", CONSENT, "--", &path, "--all"]);
    launcher.args([SEED.to_string(), calls.to_string()]);
    let shown = built.shown(&launcher);
    let finished = process::capture(&mut launcher, b"", limit(calls))?;
    let outcome = outcome(&program.name, &finished, calls, &format!("again: {shown}\n"));
    tally.add(&format!("{}/{calls}-calls", program.name), &outcome, Some(finished.took));
    Ok(())
}

fn limit(calls: u64) -> Duration {
    let thousands = u32::try_from(calls / 1000).unwrap_or(u32::MAX);
    LIMIT_START.saturating_add(LIMIT_THOUSAND.saturating_mul(thousands))
}

/// Passed when the last line says that it survived.
fn outcome(name: &str, finished: &Finished, calls: u64, again: &str) -> Outcome {
    let wanted = format!("{name}: {calls} calls, seed {SEED}, survived");
    let output = String::from_utf8_lossy(&finished.stdout);
    if finished.status == 0 && output.lines().last() == Some(wanted.as_str()) {
        return Outcome::Passed;
    }
    let how = if finished.timed_out { ", when its time was up" } else { "" };
    Outcome::Failed(format!(
        "status {}{how}\n{}{}{again}",
        finished.status,
        last_lines("last output", &finished.stdout),
        last_lines("standard error", &finished.stderr)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(status: i32, stdout: &str) -> Finished {
        Finished {
            status,
            stdout: stdout.as_bytes().to_vec(),
            stderr: Vec::new(),
            timed_out: false,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn only_the_last_line_says_that_it_survived() {
        let line = "sysfuzz: 10 calls, seed 1, survived\n";
        let passed = |status, text: &str| {
            outcome("sysfuzz", &finished(status, text), 10, "") == Outcome::Passed
        };
        assert!(passed(0, &format!("sysfuzz: 25 %\n{line}")));
        assert!(!passed(0, &format!("{line}more\n")));
        assert!(!passed(1, line));
        assert!(!passed(0, "sysfuzz: 9 calls, seed 1, survived\n"));
    }
}
