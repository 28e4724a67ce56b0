// SPDX-License-Identifier: MIT
//! Results for machines, as JUnit XML.

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::{
    Run,
    parse::{Case, End},
};

/// One suite a run.
pub(super) fn document(runs: &[Run]) -> Document {
    let mut document = Document::new("strongroom-optee");
    for run in runs {
        let mut suite = TestSuite::new(run.name.as_str());
        suite.set_time(run.report.took);
        suite.add_property(("image", run.image.as_str()));
        for case in &run.report.cases {
            suite.add_test_case(test_case(case));
        }
        let all_passed = run.report.cases.iter().all(|case| case.end == End::Passed);
        if all_passed && !run.problems.is_empty() {
            suite.add_test_case(whole(run));
        }
        document.add_test_suite(suite);
    }
    document
}

fn test_case(case: &Case) -> TestCase {
    let status = match case.end {
        End::Passed => TestCaseStatus::success(),
        End::Failed => failure(NonSuccessKind::Failure, "failed", &case.lines),
        End::Missing => failure(NonSuccessKind::Error, "did not end", &case.lines),
    };
    let mut result = TestCase::new(format!("{} {}", case.name, case.title), status);
    result.set_classname(case.name.split('_').next().unwrap_or_default());
    result.set_time(case.took);
    if !case.left_out.is_empty() {
        result.set_system_out(case.left_out.join("\n"));
    }
    result
}

/// A run that failed without a case that did.
fn whole(run: &Run) -> TestCase {
    TestCase::new(
        "the run as a whole",
        failure(NonSuccessKind::Error, "did not end well", &run.problems),
    )
}

fn failure(kind: NonSuccessKind, message: &str, lines: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message).set_description(lines.join("\n"));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optee::xtest::parse::Parser;
    use std::time::Duration;

    fn run(lines: &[&str], problems: &[&str]) -> Run {
        let mut parser = Parser::default();
        for line in lines {
            parser.line(line, Duration::ZERO);
        }
        Run {
            name: "xtest-big".into(),
            image: "big".into(),
            report: parser.finish(Duration::from_millis(1500)),
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
        }
    }

    #[test]
    fn failures_and_what_did_not_end_are_told_apart() {
        let lines = [
            "* a_1 <One>",
            "./a.c:1: x < y & z",
            "  a_1 FAILED",
            "* a_2 Two",
            "  a_2 OK",
            "* a_3 T",
        ];
        let xml = document(&[run(&lines, &["a_1 failed"])]).to_string().unwrap();
        assert!(xml.contains(r#"tests="3" failures="1" errors="1""#), "{xml}");
        assert!(xml.contains("a_1 &lt;One&gt;") && xml.contains("x &lt; y &amp; z"), "{xml}");
    }

    #[test]
    fn a_run_that_failed_as_a_whole_is_no_success() {
        let xml = document(&[run(&["* a_1 One", "  a_1 OK"], &["time"])]).to_string().unwrap();
        assert!(xml.contains(r#"errors="1""#) && xml.contains("the run as a whole"), "{xml}");
    }
}
