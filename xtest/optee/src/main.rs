// SPDX-License-Identifier: MIT
//! Test cases in the manner of upstream's xtest: numbered, with sub-cases, in OP-TEE's normal
//! world, against TAs that Debian's optee-test ships, OP-TEE's own, and a packed program.
//!
//! What it prints is read by the same parser as xtest's output.
#![forbid(unsafe_code)]
#![expect(clippy::arithmetic_side_effects, reason = "an overflow fails the case")]

mod cases;
mod child;
mod liar;
mod start;
mod suite;
mod ta;

use std::process::ExitCode;

use suite::{Case, Chosen, run};

const USAGE: &str = "\
usage: strongroom-xtest [-l] [[-x] CASE]...
  CASE      a part of a case's name or title: only cases with one of them run
  -x CASE   leave these out
  -l        list the cases and end

strongroom_9xxx are parts of cases that the harness runs over several boots: they run only when
they are named.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(kind) = words.first().and_then(|word| word.strip_prefix("--child=")) {
        return child::live(kind);
    }
    if let Some(rounds) = words.first().and_then(|word| word.strip_prefix("--start=")) {
        return start::measure(rounds);
    }
    let mut chosen = Chosen::default();
    let mut list = false;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-l" => list = true,
            "-x" => match words.next() {
                Some(word) => chosen.excluded.push(word),
                None => return usage(),
            },
            option if option.starts_with('-') => return usage(),
            _ => chosen.included.push(word),
        }
    }
    let all = cases::all();
    if list {
        for case in &all {
            println!("{} {}", case.name(), case.title);
        }
        return ExitCode::SUCCESS;
    }
    let (run_now, left): (Vec<Case>, Vec<Case>) =
        all.into_iter().partition(|case| chosen.has(case));
    if run(&run_now, left.len()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
