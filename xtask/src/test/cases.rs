// SPDX-License-Identifier: MIT
//! Runs cases in the payload and holds them against the oracle, two machines at a time.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};

use super::{
    case::{Case, Expected},
    client,
    compare::difference,
    native::{Network, Run},
    tally::{Outcome, Tally},
};
use crate::{
    build::Built,
    process::{self, Finished},
    root::{Root, Set},
    workspace::Workspace,
};

/// Each machine takes a core and some hundred MiB.
pub(crate) const MACHINES_MAX: usize = 2;

/// A root with its image.
#[derive(Clone, Debug)]
pub(crate) struct Rooted {
    /// The folder, for the oracle.
    pub(crate) root: Root,
    /// The image, for the payload.
    pub(crate) image: PathBuf,
}

/// Runs `cases` and counts them.
pub(crate) fn run_all(
    workspace: &Workspace,
    built: &Built,
    cases: Vec<Case>,
    tally: &Tally,
) -> Result<()> {
    let mut roots: BTreeMap<Set, Rooted> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.skip.is_none()) {
        if let Entry::Vacant(entry) = roots.entry(case.root) {
            let root = Root::of_set(workspace, case.root)?;
            let image = root.image(workspace)?;
            entry.insert(Rooted { root, image });
        }
    }
    in_parallel(cases, |case| {
        let started = Instant::now();
        let outcome = outcome_of(&case, built, roots.get(&case.root));
        tally.add(&case.name, &outcome, Some(started.elapsed()));
    });
    Ok(())
}

/// Calls `work` on every item, on as many threads as machines may run.
pub(crate) fn in_parallel<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let queue = Mutex::new(VecDeque::from(items));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..MACHINES_MAX {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}

fn outcome_of(case: &Case, built: &Built, rooted: Option<&Rooted>) -> Outcome {
    if let Some(why) = &case.skip {
        return Outcome::Skipped(why.clone());
    }
    let compared =
        rooted.context("its root was not made").and_then(|rooted| compare(case, built, rooted));
    match compared {
        Ok(None) => Outcome::Passed,
        Ok(Some(how)) => Outcome::Failed(how),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

fn compare(case: &Case, built: &Built, rooted: &Rooted) -> Result<Option<String>> {
    let mut command = launcher(case, built, rooted);
    let shown = built.shown(&command);
    let problem = match &case.client {
        Some(client) => client::serve(case, client, &mut command, rooted)?,
        None => {
            let expected = expectation(case, rooted)?;
            let actual = process::capture(&mut command, case.stdin.as_bytes(), case.limit())?;
            judge(case, &expected, &actual)?
        }
    };
    Ok(problem
        .map(|problem| format!("{problem}again: cargo xtask test {}\n   or: {shown}\n", case.name)))
}

/// `strongroom run` for this case.
fn launcher(case: &Case, built: &Built, rooted: &Rooted) -> Command {
    let mut command = built.run(&rooted.image);
    command.arg("-q");
    if let Some(memory) = &case.memory {
        command.args(["--memory", memory]);
    }
    for grant in &case.grants {
        command.args(["--grant", grant]);
    }
    for (name, value) in &case.env {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    command.arg("--").args(&case.command);
    command
}

/// What the payload's run will be held against.
fn expectation(case: &Case, rooted: &Rooted) -> Result<Finished> {
    match (case.expected, &case.stdout) {
        (Expected::Literal, Some(stdout)) => Ok(Finished {
            status: case.status,
            stdout: stdout.clone().into_bytes(),
            stderr: Vec::new(),
            timed_out: false,
            took: case.limit(),
        }),
        (Expected::Native | Expected::Literal, _) => natively(case, &rooted.root),
    }
}

/// The oracle's run; an error when it is not what the case says native Linux does.
pub(crate) fn natively(case: &Case, root: &Root) -> Result<Finished> {
    let finished = Run {
        root: &root.folder,
        command: &case.command,
        env: &case.env,
        stdin: case.stdin.as_bytes(),
        limit: case.limit(),
        network: Network::Own,
    }
    .finish()?;
    let trouble = if finished.timed_out {
        "hangs".to_owned()
    } else if finished.status != case.status {
        format!("has status {}, the case says {}", finished.status, case.status)
    } else {
        return Ok(finished);
    };
    Err(anyhow::anyhow!(
        "the case is wrong: on native Linux it {trouble}\n{}{}",
        String::from_utf8_lossy(&finished.stdout),
        String::from_utf8_lossy(&finished.stderr)
    ))
}

/// How the payload's run differs from what was expected, if it does.
fn judge(case: &Case, expected: &Finished, actual: &Finished) -> Result<Option<String>> {
    let mut problem = String::new();
    if actual.timed_out {
        problem.push_str(&format!("no end after {} s\n", case.limit().as_secs()));
    } else if actual.status != expected.status {
        problem.push_str(&format!("exit status {}, expected {}\n", actual.status, expected.status));
    }
    let expected = case.normalized(&expected.stdout)?;
    if let Some(difference) = difference(&expected, &case.normalized(&actual.stdout)?) {
        problem.push_str(&difference);
    }
    if problem.is_empty() {
        return Ok(None);
    }
    problem.push_str(&last_lines("standard error", &actual.stderr));
    Ok(Some(problem))
}

/// The end of an output, labelled; nothing when it is empty.
pub(crate) fn last_lines(label: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(10)..).unwrap_or_default();
    if tail.is_empty() {
        return String::new();
    }
    format!("{label}:\n  {}\n", tail.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    fn finished(status: i32, stdout: &[u8]) -> Finished {
        Finished {
            status,
            stdout: stdout.to_vec(),
            stderr: b"complaint\n".to_vec(),
            timed_out: false,
            took: Duration::ZERO,
        }
    }

    fn case() -> Case {
        toml::from_str("name = \"a\"\nroot = \"small\"\ncommand = [\"true\"]").unwrap()
    }

    #[test]
    fn status_and_output_are_both_judged() {
        let native = finished(0, b"x\n");
        assert_eq!(judge(&case(), &native, &finished(0, b"x\n")).unwrap(), None);
        let problem = judge(&case(), &native, &finished(1, b"x\n")).unwrap().unwrap();
        assert!(problem.contains("exit status 1, expected 0"), "{problem}");
        assert!(problem.contains("complaint"), "{problem}");
        assert!(judge(&case(), &native, &finished(0, b"y\n")).unwrap().is_some());
    }

    #[test]
    fn every_item_is_worked_on_once() {
        let sum = AtomicUsize::new(0);
        in_parallel((1..=100).collect(), |item: usize| {
            sum.fetch_add(item, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 5050);
    }
}
