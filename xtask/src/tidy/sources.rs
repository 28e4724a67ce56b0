// SPDX-License-Identifier: MIT
//! Rules of single files: licence, length, words that have no place in committed code.

use std::{borrow::Cow, collections::BTreeMap};

use regex::Regex;

use super::Tracked;

/// Longer files are hard to hold in the head.
const LINES_MAX: usize = 700;

const LICENCE: &str = "SPDX-License-Identifier: MIT";

/// Endings of files that people write and machines compile or run.
const SOURCE_ENDINGS: &[&str] =
    &[".rs", ".c", ".h", ".S", ".s", ".ld", ".lds", ".sh", ".py", ".awk"];

/// Rust that says a thing is not finished, or is for the author's eyes.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// Violations in `files`.
pub(super) fn problems(files: &[Tracked], long: &BTreeMap<String, String>) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        if is_source(file) {
            problems.extend(licence(file));
            problems.extend(length(file, long));
        }
        if file.path.ends_with(".rs") {
            problems.extend(unfinished(file));
        }
        if file.path.ends_with("Cargo.toml") {
            problems.extend(lints(file));
        }
        problems.extend(machine_paths(file));
    }
    for (path, reason) in long {
        let length = files.iter().find(|file| file.path == *path).map(|file| file.text.lines());
        if length.is_none_or(|lines| lines.count() <= LINES_MAX) || reason.is_empty() {
            problems.push(format!("{path}: its entry in long_files has no use or no reason"));
        }
    }
    problems
}

fn is_source(file: &Tracked) -> bool {
    SOURCE_ENDINGS.iter().any(|ending| file.path.ends_with(ending)) || file.text.starts_with("#!/")
}

fn licence(file: &Tracked) -> Option<String> {
    // The second line, where the first has to say which interpreter it is.
    let lines = if file.text.starts_with("#!/") { 2 } else { 1 };
    let named = file.text.lines().take(lines).any(|line| line.contains(LICENCE));
    (!named).then(|| format!("{}: does not begin with {LICENCE}", file.path))
}

fn length(file: &Tracked, long: &BTreeMap<String, String>) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > LINES_MAX && !long.contains_key(&file.path))
        .then(|| format!("{}: {lines} lines, over {LINES_MAX}", file.path))
}

fn unfinished(file: &Tracked) -> Vec<String> {
    let code = without_comments_and_strings(&file.text);
    let found = UNFINISHED.iter().filter(|word| code.contains(**word));
    found.map(|word| format!("{}: has `{word}`", file.path)).collect()
}

/// Every package is under the workspace's lints; a workspace of its own cannot be.
fn lints(file: &Tracked) -> Option<String> {
    let manifest: toml::Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return Some(format!("{}: {error}", file.path)),
    };
    let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    let exempt = !manifest.contains_key("package") || manifest.contains_key("workspace");
    (!exempt && inherits != Some(&toml::Value::Boolean(true)))
        .then(|| format!("{}: lacks `[lints] workspace = true`", file.path))
}

/// Paths that only exist on the machine of whoever wrote them.
fn machine_paths(file: &Tracked) -> Option<String> {
    let pattern = r#"(?m)(?:^|[\s"'`(=:])(/(?:home|Users|wor[k])/\w[^\s"'`)]*|/root/\.(?:cargo|cache|rustup|config)[^\s"'`)]*)"#;
    let found = Regex::new(pattern).ok()?.captures(&file.text)?.get(1)?;
    Some(format!("{}: names a path of one machine: {}", file.path, found.as_str()))
}

/// Rust code with comments and literals blanked out.
pub(super) fn without_comments_and_strings(text: &str) -> Cow<'_, str> {
    let pattern = r###"(?s)//[^\n]*|/\*.*?\*/|\bb?r"[^"]*"|\bb?r#".*?"#|\bb?r##".*?"##|"(?:\\.|[^"\\])*"|'(?:\\[^\n]{1,8}?|[^'\\\n])'"###;
    match Regex::new(pattern) {
        Ok(pattern) => pattern.replace_all(text, " "),
        Err(_) => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        problems(&[Tracked { path: path.to_owned(), text: text.to_owned() }], &BTreeMap::new())
    }

    #[test]
    fn sources_begin_with_their_licence() {
        assert!(found("a.rs", "// SPDX-License-Identifier: MIT\n").is_empty());
        assert!(found("run", "#!/bin/sh\n# SPDX-License-Identifier: MIT\n").is_empty());
        assert_eq!(found("a.c", "int x;\n").len(), 1);
        assert_eq!(found("run", "#!/bin/sh\nexit\n").len(), 1);
        assert!(found("README.md", "text").is_empty());
    }

    #[test]
    fn long_files_need_a_reason() {
        let text = format!("// {LICENCE}\n{}", "x\n".repeat(LINES_MAX));
        assert_eq!(found("a.rs", &text).len(), 1);
        let file = Tracked { path: "a.rs".to_owned(), text };
        let long = BTreeMap::from([("a.rs".to_owned(), "a table".to_owned())]);
        assert!(problems(&[file], &long).is_empty());
        assert_eq!(problems(&[], &long).len(), 1, "an entry without its file");
    }

    #[test]
    fn unfinished_code_is_found_but_not_talk_about_it() {
        let with = |line: &str| found("a.rs", &format!("// {LICENCE}\n{line}\n")).len();
        assert_eq!(with(&format!("fn f() {{ {}() }}", "todo!")), 1);
        assert_eq!(with("#[ignore]\nfn f() {}"), 1);
        assert_eq!(with("// todo! later"), 0);
        assert_eq!(with("let s = \"dbg!\"; let c = '\"'; /* todo! */"), 0);
    }

    #[test]
    fn manifests_inherit_the_lints() {
        let package = "[package]\nname = \"a\"\n";
        assert_eq!(found("a/Cargo.toml", package).len(), 1);
        assert!(found("a/Cargo.toml", &format!("{package}[lints]\nworkspace = true\n")).is_empty());
        assert!(found("Cargo.toml", "[workspace]\n").is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for path in [["/home", "me/x"], ["/Users", "me"], ["/root", ".cargo/bin"]] {
            assert_eq!(found("a.md", &format!("see {}", path.join("/"))).len(), 1, "{path:?}");
        }
        assert!(found("a.md", "HOME=/root and /usr/home/x and $work/root").is_empty());
    }
}
