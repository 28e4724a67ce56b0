// SPDX-License-Identifier: MIT
//! Counts what passed, and says what did not.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::progress::seconds;

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As expected.
    Passed,
    /// Not as expected, and how to see it again.
    Failed(String),
    /// Not run, and why.
    Skipped(String),
}

/// Counts over a whole run; shared by the threads that run cases.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<Counts>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    passed: usize,
    skipped: usize,
    failed: Vec<String>,
}

impl Tally {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one check and counts it; an error is what it found.
    pub(crate) fn check(&self, name: &str, check: impl FnOnce() -> anyhow::Result<()>) {
        let started = Instant::now();
        let outcome = match check() {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        self.add(name, &outcome, Some(started.elapsed()));
    }

    /// Counts one check and prints its line.
    pub(crate) fn add(&self, name: &str, outcome: &Outcome, took: Option<Duration>) {
        let mut counts = self.counts();
        let took = took.map(|took| format!(" ({})", seconds(took))).unwrap_or_default();
        match outcome {
            Outcome::Passed => {
                counts.passed += 1;
                println!("ok   {name}{took}");
            }
            Outcome::Skipped(why) => {
                counts.skipped += 1;
                println!("skip {name}: {why}");
            }
            Outcome::Failed(how) => {
                counts.failed.push(name.to_owned());
                println!("FAIL {name}{took}");
                for line in how.lines() {
                    println!("     {line}");
                }
            }
        }
    }

    /// Prints the last lines; true when nothing failed.
    pub(crate) fn finish(&self) -> bool {
        let counts = self.counts().clone();
        if !counts.failed.is_empty() {
            println!("failed: {}", counts.failed.join(", "));
        }
        println!("{}", counts.line());
        counts.failed.is_empty()
    }
}

impl Counts {
    fn line(&self) -> String {
        let skipped = match self.skipped {
            0 => String::new(),
            skipped => format!(", {skipped} skipped"),
        };
        format!("{} passed, {} failed{skipped}", self.passed, self.failed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_everything() {
        let tally = Tally::default();
        tally.add("a", &Outcome::Passed, None);
        assert!(tally.finish());
        tally.add("b", &Outcome::Failed("why".to_owned()), Some(Duration::from_secs(1)));
        tally.add("c", &Outcome::Skipped("later".to_owned()), None);
        assert_eq!(tally.counts().line(), "1 passed, 1 failed, 1 skipped");
        assert!(!tally.finish());
    }
}
