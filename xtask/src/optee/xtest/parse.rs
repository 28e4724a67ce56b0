// SPDX-License-Identifier: MIT
//! Reads what xtest prints.
//!
//! ```text
//! * regression_1006 Test Basic OS features      a case begins
//! o regression_1001.1 Core self tests           a sub-case begins
//!   regression_1001.1 OK                        it ends
//! ./host/xtest/regression_1000.c:631: ...       a check has failed
//!   regression_1006 FAILED                      a case ends
//! 57 subtests of which 1 failed                 checks, over all cases
//! 3 test cases of which 1 failed
//! 109 test cases were skipped                   those that were not chosen
//! TEE test application done!
//! ```

use std::time::Duration;

/// Lines of a case that are kept, for the case that it fails.
const LINES_KEPT: usize = 200;

/// Everything that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) cases: Vec<Case>,
    /// The suite's own count of checks.
    pub(crate) checks: Option<Count>,
    /// The suite's own count of cases.
    pub(crate) counted: Option<Count>,
    /// True when the suite said that it was through.
    pub(crate) done: bool,
    pub(crate) took: Duration,
    /// The last lines outside of cases: usage texts, and why nothing ran.
    pub(crate) tail: Vec<String>,
}

/// All and failed ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) all: u64,
    pub(crate) failed: u64,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// `regression_1006`.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) end: End,
    pub(crate) sub_cases: Count,
    /// What it left out, in its own words.
    pub(crate) left_out: Vec<String>,
    /// What it printed, cut at some length.
    pub(crate) lines: Vec<String>,
    pub(crate) took: Duration,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    Failed,
    /// The output ends in the middle of it.
    Missing,
}

/// Reads line by line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parser {
    report: Report,
    running: Option<(Case, Duration)>,
}

impl Parser {
    /// The case that runs now.
    pub(crate) fn running(&self) -> Option<&str> {
        self.running.as_ref().map(|(case, _)| case.name.as_str())
    }

    /// Takes a line that came at that time.
    pub(crate) fn line(&mut self, line: &str, at: Duration) {
        if let Some((name, title)) = beginning(line, "* ") {
            self.close(at);
            let case = Case {
                name: name.to_owned(),
                title: title.to_owned(),
                end: End::Missing,
                sub_cases: Count::default(),
                left_out: Vec::new(),
                lines: Vec::new(),
                took: Duration::ZERO,
            };
            self.running = Some((case, at));
            return;
        }
        let Some((case, _)) = &mut self.running else {
            self.outside(line);
            return;
        };
        match ending(line) {
            Some((name, end)) if name == case.name => {
                case.end = end;
                self.close(at);
            }
            Some((name, end)) if is_part_of(name, &case.name) => {
                case.sub_cases.all += 1;
                case.sub_cases.failed += u64::from(end == End::Failed);
                case.keep(line);
            }
            Some(_) | None => case.keep(line),
        }
    }

    /// Ends the report.
    pub(crate) fn finish(mut self, at: Duration) -> Report {
        self.close(at);
        self.report.took = at;
        self.report
    }

    fn close(&mut self, at: Duration) {
        if let Some((mut case, since)) = self.running.take() {
            case.took = at.saturating_sub(since);
            self.report.cases.push(case);
        }
    }

    fn outside(&mut self, line: &str) {
        if let Some(count) = counted(line, " subtests of which ") {
            self.report.checks = Some(count);
        } else if let Some(count) = counted(line, " test cases of which ") {
            self.report.counted = Some(count);
        } else if line == "TEE test application done!" {
            self.report.done = true;
        }
        if !line.trim().is_empty() {
            self.report.tail.push(line.to_owned());
            if self.report.tail.len() > LINES_KEPT {
                self.report.tail.remove(0);
            }
        }
    }
}

impl Case {
    fn keep(&mut self, line: &str) {
        if self.lines.len() < LINES_KEPT {
            self.lines.push(line.to_owned());
        }
        let lower = line.to_ascii_lowercase();
        if !line.starts_with("o ") && (lower.contains("skip") || lower.starts_with("ignore test")) {
            self.left_out.push(line.trim().to_owned());
        }
    }

    /// The lines that name a failed check.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &str> {
        let failed = |line: &&String| {
            let mut fields = line.splitn(3, ':');
            let (Some(file), Some(number)) = (fields.next(), fields.next()) else { return false };
            (file.ends_with(".c") || file.ends_with(".rs")) && number.parse::<u32>().is_ok()
        };
        self.lines.iter().filter(failed).map(String::as_str)
    }
}

impl Report {
    /// What is wrong, in words; nothing when everything passed and the counts agree.
    pub(crate) fn problems(&self, exited_well: bool) -> Vec<String> {
        let mut problems = Vec::new();
        for case in self.cases.iter().filter(|case| case.end != End::Passed) {
            let how = if case.end == End::Failed { "failed" } else { "did not end" };
            problems.push(format!("{} {how}", case.name));
            problems.extend(case.errors().map(|line| format!("  {line}")));
        }
        match self.counted {
            _ if !self.done => problems.push("the suite did not get to its end".to_owned()),
            None => problems.push("the suite did not count its cases".to_owned()),
            Some(counted) => {
                let failed = self.cases.iter().filter(|case| case.end == End::Failed).count();
                if (counted.all, counted.failed) != (count(self.cases.len()), count(failed)) {
                    problems.push(format!(
                        "the suite counted {} cases, {} failed; its output has {} and {failed}",
                        counted.all,
                        counted.failed,
                        self.cases.len()
                    ));
                }
            }
        }
        if self.done && self.cases.is_empty() {
            problems.push("no case ran".to_owned());
        }
        if self.checks.is_some_and(|checks| checks.failed > 0) && problems.is_empty() {
            problems.push("checks failed outside of cases".to_owned());
        }
        if !exited_well && problems.is_empty() {
            problems.push("it ended with an error".to_owned());
        }
        if self.cases.is_empty() {
            problems.extend(self.tail.iter().map(|line| format!("  {line}")));
        }
        problems
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The name and the title after a mark that begins something.
fn beginning<'a>(line: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let (name, title) = line.strip_prefix(mark)?.split_once(' ')?;
    is_name(name).then_some((name, title))
}

/// The name in a line that ends something.
fn ending(line: &str) -> Option<(&str, End)> {
    let (name, word) = line.strip_prefix("  ")?.split_once(' ')?;
    let end = match word.split(' ').next()? {
        "OK" => End::Passed,
        "FAILED" => End::Failed,
        _ => return None,
    };
    is_name(name).then_some((name, end))
}

/// `suite_1234` or `suite_1234_kind`, with sub-cases behind dots.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    number(name).is_some() && name.chars().all(plain)
}

/// The suite and the digits of a name.
pub(crate) fn number(name: &str) -> Option<(&str, &str)> {
    let (suite, rest) = name.split_once('_').filter(|(suite, _)| !suite.is_empty())?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let digits = rest.get(..end).filter(|digits| !digits.is_empty())?;
    Some((suite, digits))
}

fn is_part_of(name: &str, case: &str) -> bool {
    name.strip_prefix(case).is_some_and(|rest| rest.starts_with('.'))
}

/// `N<words>M failed`.
fn counted(line: &str, words: &str) -> Option<Count> {
    let (all, rest) = line.split_once(words)?;
    let failed = rest.strip_suffix(" failed")?;
    Some(Count { all: all.trim().parse().ok()?, failed: failed.parse().ok()? })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
