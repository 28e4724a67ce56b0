// SPDX-License-Identifier: MIT
//! Runs cases and prints what xtest would print.

use std::{
    fmt::Debug,
    ops::Range,
    panic::{AssertUnwindSafe, Location, catch_unwind},
};

use strongroom_tee::{Code, Origin, TeeError};

/// Cases with these numbers run only when they are named.
const ONLY_BY_NAME: Range<u32> = 9000..10_000;

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) number: u32,
    pub(crate) title: &'static str,
    pub(crate) run: fn(&mut Checks) -> Result<(), Stop>,
}

impl Case {
    pub(crate) fn name(&self) -> String {
        format!("strongroom_{}", self.number)
    }
}

/// Which cases were asked for.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) included: Vec<String>,
    pub(crate) excluded: Vec<String>,
}

impl Chosen {
    pub(crate) fn has(&self, case: &Case) -> bool {
        let (name, title) = (case.name(), case.title.to_lowercase());
        let fits = |word: &String| name.contains(word) || title.contains(&word.to_lowercase());
        let asked = if ONLY_BY_NAME.contains(&case.number) {
            self.included.iter().any(|word| name.contains(word))
        } else {
            self.included.is_empty() || self.included.iter().any(fits)
        };
        asked && !self.excluded.iter().any(fits)
    }
}

/// Ends a case or sub-case early; why was printed already.
#[derive(Debug)]
pub(crate) struct Stop;

impl From<TeeError> for Stop {
    #[track_caller]
    fn from(error: TeeError) -> Self {
        report(&format!("unexpected error: {error}"));
        Self
    }
}

impl From<std::io::Error> for Stop {
    #[track_caller]
    fn from(error: std::io::Error) -> Self {
        report(&format!("unexpected error: {error}"));
        Self
    }
}

/// Prints a failed check as xtest does: place and reason.
#[track_caller]
fn report(why: &str) {
    let place = Location::caller();
    println!("{}:{}: {why}", place.file(), place.line());
}

/// Counts the checks of a case.
#[derive(Debug)]
pub(crate) struct Checks {
    name: String,
    sub_cases: u32,
    made: u64,
    failed: u64,
}

impl Checks {
    /// Counts a check; prints why when it failed.
    #[track_caller]
    pub(crate) fn check(&mut self, holds: bool, why: &str) -> bool {
        self.made += 1;
        if !holds {
            self.failed += 1;
            report(why);
        }
        holds
    }

    /// Checks that two values are the same.
    #[track_caller]
    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, found: T, wanted: T) -> bool {
        let holds = found == wanted;
        self.check(holds, &if holds { String::new() } else { format!("{found:?}, not {wanted:?}") })
    }

    /// Checks that a call succeeded.
    #[track_caller]
    pub(crate) fn succeeds<T>(&mut self, result: Result<T, TeeError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.check(true, "");
                Some(value)
            }
            Err(error) => {
                self.check(false, &format!("it failed: {error}"));
                None
            }
        }
    }

    /// Checks that a call failed with this code.
    #[track_caller]
    pub(crate) fn fails<T>(&mut self, result: Result<T, TeeError>, code: Code) -> Option<Origin> {
        match result {
            Ok(_) => {
                self.check(false, &format!("it succeeded, and should not: {code}"));
                None
            }
            Err(error) => {
                let why = format!("{error}, not: {code}");
                self.check(error.code == code, &why).then_some(error.origin)
            }
        }
    }

    /// Checks that a call failed with this code, and who said so.
    #[track_caller]
    pub(crate) fn fails_from<T>(
        &mut self,
        result: Result<T, TeeError>,
        code: Code,
        origin: Origin,
    ) {
        if let Some(found) = self.fails(result, code) {
            self.equal(found, origin);
        }
    }

    /// Says that something was left out. The word is what the harness looks for.
    pub(crate) fn skip(&mut self, why: &str) {
        println!("skip: {why}");
    }

    /// Runs a part of the case under a title of its own.
    pub(crate) fn sub(&mut self, title: &str, body: impl FnOnce(&mut Self) -> Result<(), Stop>) {
        self.sub_cases += 1;
        let name = format!("{}.{}", self.name, self.sub_cases);
        println!("o {name} {title}");
        let failed_before = self.failed;
        self.guard(body);
        println!("  {name} {}", verdict(self.failed == failed_before));
    }

    /// Runs something that may stop early or panic: both fail.
    fn guard(&mut self, body: impl FnOnce(&mut Self) -> Result<(), Stop>) {
        match catch_unwind(AssertUnwindSafe(|| body(self))) {
            Ok(Ok(())) => {}
            Ok(Err(Stop)) | Err(_) => {
                self.made += 1;
                self.failed += 1;
            }
        }
    }
}

/// Runs cases; true when nothing failed.
pub(crate) fn run(cases: &[Case], left: usize) -> bool {
    println!("Run test suite strongroom\n");
    let (mut made, mut failed, mut failed_cases) = (0, 0, 0);
    for case in cases {
        let name = case.name();
        println!("* {name} {}", case.title);
        let mut checks = Checks { name: name.clone(), sub_cases: 0, made: 0, failed: 0 };
        checks.guard(case.run);
        println!("  {name} {}", verdict(checks.failed == 0));
        made += checks.made;
        failed += checks.failed;
        failed_cases += usize::from(checks.failed > 0);
    }
    println!("+-----------------------------------------------------");
    println!("{made} subtests of which {failed} failed");
    println!("{} test cases of which {failed_cases} failed", cases.len());
    println!("{left} test cases were skipped");
    println!("TEE test application done!");
    failed == 0
}

const fn verdict(passed: bool) -> &'static str {
    if passed { "OK" } else { "FAILED" }
}
