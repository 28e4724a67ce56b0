// SPDX-License-Identifier: MIT
//! Links between documents lead somewhere, and the book has all of its chapters.

use std::{collections::BTreeSet, path::Path};

use super::Tracked;

/// The book's table of contents.
const CONTENTS: &str = "docs/SUMMARY.md";
/// What the book does not have: decisions are for who changes the code.
const NOT_IN_THE_BOOK: &str = "docs/decisions/";

/// Links that lead nowhere, and chapters that the table of contents does not name.
pub(super) fn problems(files: &[Tracked]) -> Vec<String> {
    let mut known: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for file in files {
        known.extend(Path::new(&file.path).ancestors().filter_map(Path::to_str));
    }
    let mut problems = Vec::new();
    let mut chapters = BTreeSet::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for target in targets(&file.text) {
            let path = resolved(&file.path, target);
            if !known.contains(path.as_str()) {
                problems.push(format!("{}: the link to {target} leads nowhere", file.path));
            }
            if file.path == CONTENTS {
                chapters.insert(path);
            }
        }
    }
    let in_book = |path: &&str| {
        path.starts_with("docs/")
            && path.ends_with(".md")
            && *path != CONTENTS
            && !path.starts_with(NOT_IN_THE_BOOK)
    };
    let missing = known.iter().copied().filter(in_book).filter(|path| !chapters.contains(*path));
    problems.extend(missing.map(|path| format!("{path}: not in {CONTENTS}")));
    problems
}

/// Where links within the tree lead, without their anchors.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split_once(')')?.0;
        let path = target.split('#').next()?;
        let elsewhere = target.contains("://") || target.contains(' ');
        (!path.is_empty() && !elsewhere).then_some(path)
    })
}

/// A link's path from the root.
fn resolved(file: &str, target: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| Tracked {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        problems(&files.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let good = "[a](../README.md#x) [b](guide) [c](#here) [d](https://x.org) [e](a.md)";
        let files = [
            ("README.md", ""),
            ("docs/a.md", good),
            ("docs/guide/b.md", "[up](../a.md)"),
            (CONTENTS, "[a](a.md) [b](guide/b.md)"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
        let bad = [("README.md", "[a](docs/a.md)"), (CONTENTS, "")];
        assert_eq!(found(&bad), ["README.md: the link to docs/a.md leads nowhere"]);
    }

    #[test]
    fn chapters_that_nobody_finds_are_found() {
        let files = [("docs/a.md", ""), ("docs/decisions/1.md", ""), (CONTENTS, "")];
        assert_eq!(found(&files), ["docs/a.md: not in docs/SUMMARY.md"]);
    }
}
