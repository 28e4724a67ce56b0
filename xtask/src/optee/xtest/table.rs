// SPDX-License-Identifier: MIT
//! The summary of a run, for people.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    Run,
    parse::{Case, End, number},
};
use crate::progress::seconds;

/// Cases that took longest, named below the table.
const SLOWEST: usize = 5;

#[derive(Default)]
struct Row {
    cases: u64,
    sub_cases: u64,
    failed: u64,
    left_out: u64,
    took: Duration,
}

impl Row {
    fn add(&mut self, case: &Case) {
        self.cases += 1;
        self.sub_cases += case.sub_cases.all;
        self.failed += u64::from(case.end != End::Passed);
        self.left_out += u64::from(!case.left_out.is_empty());
        self.took += case.took;
    }

    fn print(&self, name: &str, table: &mut String) {
        let Self { cases, sub_cases, failed, left_out, took } = self;
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "{name:<20} {cases:>6} {sub_cases:>10} {failed:>7} {left_out:>8} {:>9}",
            seconds(*took)
        );
    }
}

/// The run as text.
pub(super) fn table(run: &Run) -> String {
    let mut groups: BTreeMap<String, Row> = BTreeMap::new();
    let mut total = Row::default();
    for case in &run.report.cases {
        groups.entry(group(&case.name)).or_default().add(case);
        total.add(case);
    }
    let mut text = format!("{} ({})\n", run.name, run.image);
    let heads = ("cases", "sub-cases", "failed", "skipped*", "time");
    let _ = writeln!(
        text,
        "{:<20} {:>6} {:>10} {:>7} {:>8} {:>9}",
        "group", heads.0, heads.1, heads.2, heads.3, heads.4
    );
    for (name, row) in &groups {
        row.print(name, &mut text);
    }
    total.print("total", &mut text);
    if let Some(checks) = run.report.checks {
        let _ = writeln!(text, "checks: {}, failed: {}", checks.all, checks.failed);
    }
    slowest(run, &mut text);
    left_out(run, &mut text);
    for problem in &run.problems {
        let _ = writeln!(text, "FAIL {problem}");
    }
    text
}

fn slowest(run: &Run, text: &mut String) {
    let mut cases: Vec<&Case> = run.report.cases.iter().collect();
    cases.sort_by_key(|case| std::cmp::Reverse(case.took));
    let named: Vec<String> = cases
        .iter()
        .take(SLOWEST)
        .map(|case| format!("{} {}", case.name, seconds(case.took)))
        .collect();
    if !named.is_empty() {
        let _ = writeln!(text, "slowest: {}", named.join(", "));
    }
}

fn left_out(run: &Run, text: &mut String) {
    let mut first = true;
    for case in &run.report.cases {
        for what in &case.left_out {
            if first {
                text.push_str("* cases that passed and left something out:\n");
                first = false;
            }
            let _ = writeln!(text, "  {}: {what}", case.name);
        }
    }
}

/// `regression_1006` is one of `regression_1xxx`.
fn group(name: &str) -> String {
    let Some((suite, digits)) = number(name) else { return name.to_owned() };
    let thousands = digits.len().checked_sub(3).and_then(|length| digits.get(..length));
    format!("{suite}_{}xxx", thousands.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optee::xtest::parse::Parser;

    #[test]
    fn cases_are_grouped_by_thousands() {
        assert_eq!(group("regression_1006"), "regression_1xxx");
        assert_eq!(group("regression_4007_ed25519"), "regression_4xxx");
        assert_eq!(group("strongroom_12001"), "strongroom_12xxx");
    }

    #[test]
    fn the_table_adds_up_and_names_what_failed() {
        let mut parser = Parser::default();
        for (line, second) in [
            ("* a_1001 One", 0),
            ("o a_1001.1 Sub", 0),
            ("skip test, no TA", 1),
            ("  a_1001.1 OK", 1),
            ("  a_1001 OK", 2),
            ("* a_2001 Two", 2),
            ("  a_2001 FAILED", 5),
        ] {
            parser.line(line, Duration::from_secs(second));
        }
        let report = parser.finish(Duration::from_secs(5));
        let problems = vec!["a_2001 failed".to_owned()];
        let run = Run { name: "xtest-big".into(), image: "big".into(), report, problems };
        let text = table(&run);
        let rows: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[2], ["a_1xxx", "1", "1", "0", "1", "2.0", "s"]);
        assert_eq!(rows[3], ["a_2xxx", "1", "0", "1", "0", "3.0", "s"]);
        assert_eq!(rows[4], ["total", "2", "1", "1", "1", "5.0", "s"]);
        assert!(text.contains("a_1001: skip test, no TA\n"), "{text}");
        assert!(text.ends_with("FAIL a_2001 failed\n"), "{text}");
    }
}
