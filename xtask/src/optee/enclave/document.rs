// SPDX-License-Identifier: MIT
//! `docs/programs.md`: which case of `xtest/programs` passes on which platform.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use anyhow::{Context, Result, bail};

use super::programs::{Reason, Results, run_programs};
use crate::{optee::image::Made, workspace::Workspace};

const DOCUMENT: &str = "docs/programs.md";
/// Programs that are checked in a short run: few of their cases end the session.
pub(crate) const QUICK: &[&str] = &["thread", "file", "time"];
/// The table's mark for a case that passes.
const PASSES: &str = "yes";

const HEAD: &str = "\
# Test programs by platform

Written by `cargo xtask optee programs`; do not edit. The programs of `xtest/programs` assert what system
calls do, the same sources everywhere. On native Linux and in the SNP payload all cases pass: the test
suite fails otherwise, and native Linux decides what is right. In a trusted application they are linked
position-independent for aarch64, and run one after the other in one process, since there is no `fork`;
a case that fails is run again alone, before its failure counts. What does not pass has a reason. Most
often that is `fork`; or that nothing protects memory there: program and library OS are one domain, so a
fault cannot be told to the program. Cases of what x86_64 alone has are not listed.
";

/// Runs programs, those of these names or all, and writes the document.
pub(crate) fn write(workspace: &Workspace, made: &Made, names: &[String]) -> Result<()> {
    let wanted = |name: &str| is_wanted(names, name);
    let mut results = run_programs(workspace, made, &wanted)?;
    if !names.is_empty() {
        let others = read(workspace)?.into_iter().filter(|(program, _)| !wanted(program));
        results.extend(others);
    }
    results.sort();
    let path = workspace.root.join(DOCUMENT);
    fs::write(&path, report(&results)).with_context(|| format!("write {}", path.display()))
}

/// An empty list wants all.
fn is_wanted(names: &[impl AsRef<str>], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted.as_ref() == name)
}

/// Runs programs, those of these names or all, and compares what passes with the document.
pub(crate) fn check(workspace: &Workspace, made: &Made, names: &[impl AsRef<str>]) -> Result<()> {
    let written = read(workspace)?;
    let results = run_programs(workspace, made, &|name| is_wanted(names, name))?;
    let mut wrong = Vec::new();
    for (program, cases) in &results {
        let known = written.get(program).map(Vec::as_slice).unwrap_or_default();
        wrong.extend(differences(program, known, cases));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{DOCUMENT} is not true any more; cargo xtask optee programs\n{}", wrong.join("\n"))
}

/// Fails when the document does not have exactly these cases of a program, in any order.
pub(crate) fn check_names(workspace: &Workspace, program: &str, names: &[&str]) -> Result<()> {
    let written = read(workspace)?;
    let known = written.get(program).map(Vec::as_slice).unwrap_or_default();
    let mut known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let mut names = names.to_vec();
    known.sort_unstable();
    names.sort_unstable();
    // What only one processor has is not in the document.
    names.retain(|name| !OTHER_PROCESSOR.contains(name));
    if known != names {
        bail!("{DOCUMENT} has other cases of {program}; cargo xtask optee programs writes it")
    }
    Ok(())
}

/// Cases of what x86_64 alone has: registers, instructions, old system calls.
const OTHER_PROCESSOR: &[&str] = &[
    "avx_belongs_to_the_process",
    "avx_survives_a_handler",
    "breakpoint_is_sigtrap",
    "division_by_zero_is_sigfpe_at_the_instruction",
    "handler_may_change_registers",
    "poll",
    "privileged_instructions_are_sigsegv",
    "rounding_mode_survives_a_handler",
    "select_set",
    "select_time",
    "sigreturn_cannot_enter_the_kernel",
    "sigreturn_from_nowhere_kills",
    "sse_and_x87_survive_a_handler",
    "undefined_instruction_is_sigill_at_the_instruction",
    "unmasked_float_division_by_zero_is_sigfpe",
];

fn differences(program: &str, known: &[Entry], found: &[Entry]) -> Vec<String> {
    let passes = |entries: &[Entry], name: &str| {
        entries.iter().find(|(other, _)| other == name).map(|(_, reason)| reason.is_none())
    };
    let mut wrong = Vec::new();
    for (name, reason) in found {
        if passes(known, name) != Some(reason.is_none()) {
            let now = reason.as_deref().unwrap_or("passes");
            wrong.push(format!("{program}/{name}: {now}"));
        }
    }
    let missing = known.iter().filter(|(name, _)| passes(found, name).is_none());
    wrong.extend(missing.map(|(name, _)| format!("{program}/{name}: did not run")));
    wrong
}

type Entry = (String, Reason);

fn report(results: &Results) -> String {
    let mut text = String::from(HEAD);
    text.push_str("\n| program | cases | native | SNP payload | OP-TEE |\n|:--|--:|--:|--:|--:|\n");
    let mut sum = (0, 0);
    for (program, cases) in results {
        let passed = cases.iter().filter(|(_, reason)| reason.is_none()).count();
        sum = (sum.0 + cases.len(), sum.1 + passed);
        let count = cases.len();
        let _ = writeln!(text, "| {program} | {count} | {count} | {count} | {passed} |");
    }
    let (all, passed) = sum;
    let _ = writeln!(text, "| **all** | **{all}** | **{all}** | **{all}** | **{passed}** |");
    for (program, cases) in results {
        let _ = write!(
            text,
            "\n## {program}\n\n| case | native | SNP payload | OP-TEE |\n|:--|:--|:--|:--|\n"
        );
        for (name, reason) in cases {
            let reason = reason.as_deref().unwrap_or(PASSES);
            let _ = writeln!(text, "| {name} | {PASSES} | {PASSES} | {reason} |");
        }
    }
    text
}

fn read(workspace: &Workspace) -> Result<BTreeMap<String, Vec<Entry>>> {
    let path = workspace.root.join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(parse(&text))
}

/// The cases by program.
fn parse(text: &str) -> BTreeMap<String, Vec<Entry>> {
    let mut programs: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut program = None;
    let row = format!(" | {PASSES} | {PASSES} | ");
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            program = Some(name);
        }
        let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |"));
        if let (Some(program), Some((name, last))) =
            (program, cells.and_then(|cells| cells.split_once(row.as_str())))
        {
            let reason = (last != PASSES).then(|| last.to_owned());
            programs.entry(program.to_owned()).or_default().push((name.to_owned(), reason));
        }
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let cases =
            vec![("a".to_owned(), None), ("b".to_owned(), Some("`fork`: no \\| ever".to_owned()))];
        vec![("one".to_owned(), cases)]
    }

    #[test]
    fn the_document_is_read_as_it_was_written() {
        let text = report(&results());
        assert!(text.contains("| one | 2 | 2 | 2 | 1 |"), "{text}");
        let read = parse(&text);
        assert_eq!(read.len(), 1);
        assert_eq!(read["one"], results()[0].1);
    }

    #[test]
    fn a_case_that_changed_or_is_new_or_gone_is_told() {
        let known = &results()[0].1;
        assert!(differences("one", known, known).is_empty());
        let better = vec![("a".to_owned(), None), ("b".to_owned(), None)];
        assert_eq!(differences("one", known, &better), ["one/b: passes"]);
        let worse = vec![("a".to_owned(), Some("x".to_owned())), known[1].clone()];
        assert_eq!(differences("one", known, &worse), ["one/a: x"]);
        assert_eq!(differences("one", known, &known[..1]), ["one/b: did not run"]);
        assert_eq!(differences("one", &known[..1], known).len(), 1);
    }
}
