// SPDX-License-Identifier: MIT
//! Snippets of output that xtest of OP-TEE 4.5 and 4.10 wrote in this harness.

use super::*;

fn read(text: &str) -> Report {
    let mut parser = Parser::default();
    for (second, line) in text.lines().enumerate() {
        parser.line(line, Duration::from_secs(count(second)));
    }
    parser.finish(Duration::from_secs(1000))
}

/// Case 1006 without its TA: it fails, the others pass.
const FAILING: &str = r#"Test ID: 1006
Test ID: 1001
Run test suite with level=0

TEE test application started over default TEE instance
######################################################
#
# regression
#
######################################################
 
* regression_1001 Core self tests
o regression_1001.1 Core self tests
  regression_1001.1 OK
o regression_1001.2 Core dt_driver self tests
  regression_1001.2 OK
o regression_1001.3 Core transfer list self tests
Transfer List tests not supported, skipping
  regression_1001.3 OK
  regression_1001 OK
 
* regression_1006 Test Basic OS features
./host/xtest/regression_1000.c:631: xtest_teec_open_session(&session, &os_test_ta_uuid, ((void *)0), &ret_orig) has an unexpected value: 0xffff0008 = TEEC_ERROR_ITEM_NOT_FOUND, expected 0x0 = TEEC_SUCCESS
  regression_1006 FAILED
+-----------------------------------------------------
Result of testsuite regression filtered by "1006":
Result of testsuite regression filtered by "1001":
regression_1001 OK
regression_1006 FAILED first error at ./host/xtest/regression_1000.c:631
+-----------------------------------------------------
10 subtests of which 1 failed
2 test cases of which 1 failed
110 test cases were skipped
TEE test application done!
"#;

const PASSING: &str = r#"* regression_1029 Test __thread attribute
o regression_1029.1 TLS variables (main program)
 - 1029 -   skip test, TA returned TEEC_ERROR_NOT_SUPPORTED
  regression_1029.1 OK
o regression_1029.2 TLS variables (shared library)
 - 1029 -   skip test, TA returned TEEC_ERROR_NOT_SUPPORTED
  regression_1029.2 OK
  regression_1029 OK
 
* regression_8002 Secure Storage Key Manager API Self Test
Ignore test due to TA does not exist
  regression_8002 OK
+-----------------------------------------------------
Result of testsuite regression:
regression_1029 OK
regression_8002 OK
+-----------------------------------------------------
6 subtests of which 0 failed
2 test cases of which 0 failed
0 test cases were skipped
TEE test application done!
"#;

#[test]
fn a_failed_case_is_found_with_its_reason() {
    let report = read(FAILING);
    let ends: Vec<(&str, End, Count)> =
        report.cases.iter().map(|case| (case.name.as_str(), case.end, case.sub_cases)).collect();
    assert_eq!(
        ends,
        [
            ("regression_1001", End::Passed, Count { all: 3, failed: 0 }),
            ("regression_1006", End::Failed, Count::default()),
        ]
    );
    assert_eq!(report.cases[1].title, "Test Basic OS features");
    assert_eq!(report.cases[1].took, Duration::from_secs(2));
    assert_eq!(report.checks, Some(Count { all: 10, failed: 1 }));
    let problems = report.problems(false);
    assert_eq!(problems[0], "regression_1006 failed");
    assert!(problems[1].contains("regression_1000.c:631: xtest_teec_open_session"));
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn what_passes_may_have_left_something_out() {
    let report = read(PASSING);
    assert_eq!(report.problems(true), Vec::<String>::new());
    assert_eq!(report.cases[0].left_out.len(), 2);
    assert_eq!(report.cases[1].left_out, ["Ignore test due to TA does not exist"]);
    assert_eq!(report.counted, Some(Count { all: 2, failed: 0 }));
}

#[test]
fn output_that_breaks_off_is_a_failure() {
    let (begun, _) = FAILING.split_once("./host").unwrap();
    let report = read(begun);
    assert_eq!(report.cases[1].end, End::Missing);
    let problems = report.problems(true);
    assert_eq!(problems, ["regression_1006 did not end", "the suite did not get to its end"]);
}

#[test]
fn counts_that_do_not_agree_are_a_failure() {
    let text = PASSING.replace("  regression_8002 OK\n", "").replace("* regression_8002", "x");
    let problems = read(&text).problems(true);
    assert_eq!(
        problems,
        ["the suite counted 2 cases, 0 failed; its output has 1 and 0"],
        "a case whose lines were lost"
    );
    let text = PASSING.replace("6 subtests of which 0", "6 subtests of which 3");
    assert_eq!(read(&text).problems(true), ["checks failed outside of cases"]);
}

#[test]
fn a_suite_that_runs_nothing_fails_and_says_what_it_said() {
    let nothing = "0 subtests of which 0 failed\n0 test cases of which 0 failed\n\
                   112 test cases were skipped\nTEE test application done!\n";
    assert_eq!(read(nothing).problems(true)[0], "no case ran");
    let problems = read("Usage: xtest <options>\n").problems(false);
    assert_eq!(problems, ["the suite did not get to its end", "  Usage: xtest <options>"]);
    assert_eq!(read(PASSING).problems(false), ["it ended with an error"]);
}

#[test]
fn a_case_may_have_a_word_behind_its_number() {
    let text = "* regression_4007_ed25519 Test TEE Internal API Generate Ed25519 key\n\
                o regression_4007_ed25519.1 Generate Ed25519-256 key\n\
                \x20 regression_4007_ed25519.1 OK\n  regression_4007_ed25519 OK\n";
    let report = read(text);
    assert_eq!((report.cases[0].name.as_str(), report.cases.len()), ("regression_4007_ed25519", 1));
    assert_eq!(report.cases[0].end, End::Passed);
    assert_eq!(report.cases[0].sub_cases, Count { all: 1, failed: 0 });
}

#[test]
fn names_and_results_in_other_lines_do_not_count() {
    for line in ["* not a case", "*regression_1 x", "regression_1001 OK", "  some words OK"] {
        let report = read(line);
        assert!(report.cases.is_empty(), "{line}");
    }
    let report = read("* a_1 One\n  a_2 OK\n  a_1x OK\n  a_1 done\n  a_1 OK first\n");
    assert_eq!((report.cases.len(), report.cases[0].end), (1, End::Passed));
    assert_eq!(report.cases[0].sub_cases, Count::default());
}
