// SPDX-License-Identifier: MIT
//! Inside the enclave nothing panics on input: no word that can end it stands in code that ships.
//!
//! Clippy denies some of the same (`unwrap_used`, `expect_used`, `indexing_slicing`); here it is
//! made sure that nobody switches that off, and that the library's panicking macros stay out.

use std::collections::BTreeMap;

use regex::Regex;

use super::{Tracked, sources::without_comments_and_strings};

/// Folders whose code runs inside.
const FOLDERS: &[&str] = &[
    "enclave-core/abi/src/",
    "enclave-core/kernel/src/",
    "enclave-core/south/src/",
    "enclave-core/wire/src/",
    "sdk/optee/src/",
    "sdk/service/src/",
    "sdk/strongroom/src/",
    "ta/optee/image/src/",
    "ta/optee/package/src/",
    "ta/snp/src/",
];

/// The payload's self-test: a program of its own, which ends when it finds something.
const SELF_TEST: &str = "ta/snp/src/bin/probe/";

/// What can end an enclave, and what permits more of it. `debug_assert!` is not in what ships.
const PATTERN: &str = r"\.unwrap\(\)|\.expect\(|\bpanic!|\bunreachable!|\bassert(?:_eq|_ne)?!|clippy::(?:unwrap_used|expect_used|indexing_slicing|string_slice|panic)\b";

/// Assertions that the compiler evaluates.
const EVALUATED: &[&str] = &["const _: () = assert!", "const { assert!"];

/// Violations in `files`.
pub(super) fn problems(files: &[Tracked]) -> Vec<String> {
    let Ok(pattern) = Regex::new(PATTERN) else {
        return vec!["the pattern of panicking words is no regular expression".to_owned()];
    };
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| runs_inside(&file.path)) {
        let mut code = without_comments_and_strings(shipped(&file.text)).into_owned();
        for evaluated in EVALUATED {
            code = code.replace(evaluated, "");
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for found in pattern.find_iter(&code) {
            *counts.entry(found.as_str()).or_default() += 1;
        }
        let problem = |(word, count)| format!("{}: `{word}`, {count} times", file.path);
        problems.extend(counts.into_iter().map(problem));
    }
    problems
}

fn runs_inside(path: &str) -> bool {
    FOLDERS.iter().any(|folder| path.starts_with(folder))
        && path.ends_with(".rs")
        && !path.starts_with(SELF_TEST)
        && !path.ends_with("tests.rs")
        && !path.contains("/tests/")
}

/// The part of a file before its tests, which come last.
fn shipped(text: &str) -> &str {
    text.split_once("#[cfg(test)]\nmod ").map_or(text, |(shipped, _)| shipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        problems(&[Tracked { path: path.to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn words_that_panic_are_found_inside_only() {
        let path = "enclave-core/wire/src/a.rs";
        assert_eq!(found(path, "fn f() { x.unwrap(); unreachable!() }"), 2);
        assert_eq!(found(path, "// x.unwrap()\nconst _: () = assert!(true);"), 0);
        assert_eq!(found(path, "x.unwrap_or(1); x.expect_err(2); debug_assert!(x)"), 0);
        assert_eq!(found(path, "#[expect(clippy::indexing_slicing, reason = \"\")]"), 1);
        assert_eq!(found(path, "#[cfg(test)]\nmod tests { x.unwrap() }"), 0);
        assert_eq!(found("host/client/src/a.rs", "x.unwrap()"), 0);
        assert_eq!(found("enclave-core/kernel/src/a/tests.rs", "x.unwrap()"), 0);
    }
}
