// SPDX-License-Identifier: MIT
//! The C programs of `xtest/programs`: on native Linux first, then in the payload.
//!
//! Each prints `ok NAME` or `FAIL NAME: why` a case and ends with `N passed, N failed`. What
//! native Linux fails is a mistake of the program; what only the payload fails is ours.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};

use super::{
    cases::{in_parallel, last_lines},
    fuzzer,
    native::{Network, Run},
    program::{Kind, Program},
    tally::{Outcome, Tally},
};
use crate::{
    build::Built,
    optee::enclave::check_names,
    process::{self, Finished},
    progress::Step,
    root::{Root, Set},
    workspace::Workspace,
};

/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Compiles `programs`, runs each twice, and counts every case they print; fuzzers run with as many
/// calls as are asked for.
pub(crate) fn run_all(
    workspace: &Workspace,
    built: Option<&Built>,
    programs: Vec<Program>,
    calls: u64,
    tally: &Tally,
) -> Result<()> {
    let roots = prepare(workspace, &programs, built.is_some())?;
    in_parallel(programs, |program| {
        let counted = match roots.get(&program.root()) {
            Some((root, image)) => {
                let payload = built.zip(image.as_deref());
                match program.kind {
                    Kind::Cases => count(workspace, &program, root, payload, tally),
                    Kind::Fuzzer => fuzzer::run(&program, root, payload, calls, tally),
                    Kind::Bench => Ok(()),
                }
            }
            None => Err(anyhow::anyhow!("its root was not made")),
        };
        if let Err(error) = counted {
            tally.add(&program.name, &Outcome::Failed(format!("{error:#}")), None);
        }
    });
    Ok(())
}

/// A root with the programs in it, and its image if it was wanted.
pub(super) type Prepared = (Root, Option<PathBuf>);

/// Compiles `programs` and puts them into roots.
pub(super) fn prepare(
    workspace: &Workspace,
    programs: &[Program],
    with_images: bool,
) -> Result<BTreeMap<Set, Prepared>> {
    let step = Step::start("compile test programs");
    let mut executables = BTreeMap::new();
    for program in programs {
        step.note(&program.name);
        let executable = compile(workspace, program)?;
        let files: &mut Vec<_> = executables.entry(program.root()).or_default();
        files.push((executable, program.path_inside()));
    }
    step.finish("done");
    let mut roots = BTreeMap::new();
    for (set, files) in executables {
        let name = format!("programs-{}", set.name());
        let root = Root::of_set(workspace, set)?.with_files(workspace, &name, &files)?;
        let image = with_images.then(|| root.image(workspace)).transpose()?;
        roots.insert(set, (root, image));
    }
    Ok(roots)
}

fn compile(workspace: &Workspace, program: &Program) -> Result<PathBuf> {
    let source = workspace.root.join("xtest/programs");
    let output = workspace.target.join("xtest-programs");
    fs::create_dir_all(&output)?;
    let executable = output.join(&program.name);
    let mut command = Command::new("gcc");
    command.current_dir(&source).args(&program.flags).args(program.link_flag());
    command.args(&program.sources).arg("-o").arg(&executable);
    // Same source, same bytes: the root's stamp depends on them.
    command.arg("-Wl,--build-id=none").arg(format!("-ffile-prefix-map={}=.", source.display()));
    process::run_quietly(&mut command)?;
    Ok(executable)
}

/// The cases of a program, as it lists them on native Linux.
pub(crate) fn case_names(workspace: &Workspace, program: &Program) -> Result<Vec<String>> {
    let executable = compile(workspace, program)?;
    let listed = process::run_quietly(Command::new(executable).arg("--list"))?;
    Ok(String::from_utf8_lossy(&listed).lines().map(str::to_owned).collect())
}

fn count(
    workspace: &Workspace,
    program: &Program,
    root: &Root,
    payload: Option<(&Built, &Path)>,
    tally: &Tally,
) -> Result<()> {
    let command = [program.path_inside().to_string_lossy().into_owned()];
    let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    let limit = LIMIT;
    let native = Run {
        root: &root.folder,
        command: &command,
        env: &env,
        stdin: b"",
        limit,
        network: Network::Own,
    }
    .finish()?;
    let oracle = Report::parse(&native);
    if let Some(problem) = oracle.problem(&native) {
        bail!("on native Linux: {problem}");
    }
    let names: Vec<&str> = oracle.cases.keys().map(String::as_str).collect();
    check_names(workspace, &program.name, &names)?;
    let Some((built, image)) = payload else {
        tally.add(&format!("{} (native)", program.name), &Outcome::Passed, Some(native.took));
        return Ok(());
    };
    let mut launcher = built.run(image);
    launcher.args(["-q", "--env", "PATH=/usr/bin:/bin", "--"]).args(&command);
    let shown = built.shown(&launcher);
    let finished = process::capture(&mut launcher, b"", limit)?;
    let report = Report::parse(&finished);
    for name in oracle.cases.keys() {
        tally.add(&format!("{}/{name}", program.name), &report.outcome(name, &shown), None);
    }
    let whole = match report.problem(&finished) {
        None => Outcome::Passed,
        Some(problem) => Outcome::Failed(format!("{problem}again: {shown}\n")),
    };
    tally.add(&program.name, &whole, Some(finished.took));
    Ok(())
}

/// What a program printed, by case: `None` is ok.
#[derive(Debug, Default)]
struct Report {
    cases: BTreeMap<String, Option<String>>,
    finished: bool,
}

impl Report {
    fn parse(run: &Finished) -> Self {
        let mut report = Self::default();
        let output = String::from_utf8_lossy(&run.stdout);
        for line in output.lines() {
            report.finished = line.ends_with(" failed") && line.contains(" passed, ");
            if let Some(name) = line.strip_prefix("ok ") {
                report.cases.insert(name.trim().to_owned(), None);
            } else if let Some(rest) = line.strip_prefix("FAIL ") {
                let (name, why) = rest.split_once(':').unwrap_or((rest, "no reason given"));
                report.cases.insert(name.trim().to_owned(), Some(why.trim().to_owned()));
            }
        }
        report
    }

    fn outcome(&self, name: &str, shown: &str) -> Outcome {
        match self.cases.get(name) {
            Some(None) => Outcome::Passed,
            Some(Some(why)) => Outcome::Failed(format!("{why}\nagain: {shown}\n")),
            None => {
                Outcome::Failed(format!("it printed nothing about this case\nagain: {shown}\n"))
            }
        }
    }

    /// What is wrong with the run as a whole.
    fn problem(&self, run: &Finished) -> Option<String> {
        let failed: Vec<&str> = self
            .cases
            .iter()
            .filter_map(|(name, why)| why.as_ref().map(|_| name.as_str()))
            .collect();
        let what = if run.timed_out {
            "it hangs\n".to_owned()
        } else if !self.finished {
            format!("it ended early, with status {}\n", run.status)
        } else if run.status != 0 || !failed.is_empty() {
            format!("status {}, failed: {}\n", run.status, failed.join(", "))
        } else {
            return None;
        };
        let output = last_lines("last output", &run.stdout);
        Some(format!("{what}{output}{}", last_lines("standard error", &run.stderr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(status: i32, stdout: &str) -> Finished {
        Finished {
            status,
            stdout: stdout.as_bytes().to_vec(),
            stderr: Vec::new(),
            timed_out: false,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_report_is_read_by_case() {
        let finished = run(1, "ok a\nFAIL b: errno 3\nnoise\n1 passed, 1 failed\n");
        let report = Report::parse(&finished);
        assert_eq!(report.outcome("a", ""), Outcome::Passed);
        assert!(matches!(report.outcome("b", ""), Outcome::Failed(why) if why.contains("errno 3")));
        assert!(matches!(report.outcome("c", ""), Outcome::Failed(_)));
        assert!(report.problem(&finished).unwrap().contains("failed: b"));
    }

    #[test]
    fn a_program_that_stops_early_is_a_problem_whatever_its_status() {
        let finished = run(0, "ok a\n");
        assert!(Report::parse(&finished).problem(&finished).unwrap().contains("ended early"));
        let finished = run(0, "ok a\n1 passed, 0 failed\n");
        assert_eq!(Report::parse(&finished).problem(&finished), None);
    }
}
