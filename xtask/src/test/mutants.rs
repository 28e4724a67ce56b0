// SPDX-License-Identifier: MIT
//! `cargo xtask test --mutants`: breaks the source in one place after the other, and looks whether
//! the test that guards the place notices.
//!
//! Nothing happens in the tree itself: its files are copied to a folder under `target`, and the
//! mutants are made, built and tried there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{
    program::{Program, read_table},
    programs,
    tally::{Outcome, Tally},
};
use crate::{
    build::Built,
    process,
    progress::Step,
    root::Set,
    tidy,
    toolchain::{PAYLOAD_TARGET, Route, cargo},
    workspace::Workspace,
};

/// A guard that takes longer hangs, and so has noticed.
const LIMIT: Duration = Duration::from_secs(60);

/// Building takes no longer than this.
const LIMIT_BUILD: Duration = Duration::from_secs(900);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

/// One change, and who has to notice.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// What is broken, in a few words.
    name: String,
    /// The file, from the root of the workspace.
    file: PathBuf,
    /// Text that is in the file exactly once.
    old: String,
    /// What it becomes.
    new: String,
    /// The test that guards it.
    guard: Guard,
}

/// A test that fails when something is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Guard {
    /// Unit tests of a package, all or those with `test` in their path.
    Unit { package: String, test: Option<String> },
    /// Cases of a program of `xtest/programs`, run in the payload.
    Program { program: String, cases: Vec<String> },
}

/// What a guard said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Noticed,
    DoesNotBuild(String),
}

/// Tries every mutant whose name fits the filters. One that nobody notices is a failure.
pub(crate) fn run(workspace: &Workspace, filters: &[String], tally: &Tally) -> Result<()> {
    let mutants = read(workspace, filters)?;
    let laboratory = Laboratory::open(workspace, &mutants)?;
    let guards: BTreeSet<&Guard> = mutants.iter().map(|mutant| &mutant.guard).collect();
    let mut unfit = BTreeSet::new();
    for guard in guards {
        let step = Step::start(&format!("without a mutant: {}", guard.shown()));
        match laboratory.ask(guard)? {
            Verdict::Fine => step.finish("passes"),
            Verdict::Noticed | Verdict::DoesNotBuild(_) => {
                step.finish("fails");
                unfit.insert(guard);
            }
        }
    }
    for mutant in &mutants {
        let started = Instant::now();
        let outcome = if unfit.contains(&mutant.guard) {
            Outcome::Failed(format!("{} fails without it", mutant.guard.shown()))
        } else {
            laboratory.try_out(mutant)?
        };
        tally.add(&format!("mutant: {}", mutant.name), &outcome, Some(started.elapsed()));
    }
    Ok(())
}

fn read(workspace: &Workspace, filters: &[String]) -> Result<Vec<Mutant>> {
    let file = workspace.root.join("xtest/mutants.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    let wanted = |mutant: &Mutant| {
        let fits = |filter: &String| mutant.name.contains(filter.as_str());
        filters.is_empty() || filters.iter().any(fits)
    };
    let mutants: Vec<Mutant> = table.mutant.into_iter().filter(wanted).collect();
    for mutant in &mutants {
        mutant.apply(&fs::read_to_string(workspace.root.join(&mutant.file))?)?;
    }
    Ok(mutants)
}

impl Mutant {
    /// The file's text with the change.
    fn apply(&self, text: &str) -> Result<String> {
        match text.matches(&self.old).count() {
            1 if self.old != self.new => Ok(text.replacen(&self.old, &self.new, 1)),
            1 => bail!("mutant {}: it changes nothing", self.name),
            count => bail!(
                "mutant {}: {} has its text {count} times, not once",
                self.name,
                self.file.display()
            ),
        }
    }
}

impl Guard {
    fn shown(&self) -> String {
        match self {
            Self::Unit { package, test: Some(test) } => format!("{package} {test}"),
            Self::Unit { package, test: None } => package.clone(),
            Self::Program { program, cases } => format!("{program} {}", cases.join(" ")),
        }
    }
}

/// A copy of the tree, and what it takes to run the guards in it.
struct Laboratory {
    /// The copy; its launcher is the real one.
    copy: Workspace,
    launcher: PathBuf,
    programs: BTreeMap<String, (Program, PathBuf)>,
}

impl Laboratory {
    fn open(workspace: &Workspace, mutants: &[Mutant]) -> Result<Self> {
        let folder = workspace.target.join("mutants");
        let copy = Workspace {
            root: folder.join("tree"),
            target: folder.join("target"),
            cache: workspace.cache.clone(),
        };
        if copy.root.exists() {
            fs::remove_dir_all(&copy.root)?;
        }
        for file in tidy::tracked_paths(workspace)? {
            let to = copy.root.join(&file);
            fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
            // Keeps the times, so that cargo builds again only what was changed.
            process::run_quietly(
                Command::new("cp").arg("-p").arg(workspace.root.join(&file)).arg(&to),
            )?;
        }
        // What an earlier run built last was a mutant: these have to be built again.
        for mutant in read(workspace, &[])? {
            let file = copy.root.join(&mutant.file);
            fs::write(&file, fs::read(&file)?)?;
        }
        let named = |program: &Program| {
            mutants.iter().any(|mutant| {
                matches!(&mutant.guard, Guard::Program { program: name, .. } if *name == program.name)
            })
        };
        let programs: Vec<Program> = read_table(workspace)?.into_iter().filter(named).collect();
        let mut found = BTreeMap::new();
        if !programs.is_empty() {
            Built::make(workspace)?;
            let roots: BTreeMap<Set, _> = programs::prepare(workspace, &programs, true)?;
            for program in programs {
                let image = roots.get(&program.root()).and_then(|(_, image)| image.clone());
                let image = image.context("its image was not made")?;
                found.insert(program.name.clone(), (program, image));
            }
        }
        Ok(Self { copy, launcher: workspace.launcher(), programs: found })
    }

    fn try_out(&self, mutant: &Mutant) -> Result<Outcome> {
        let file = self.copy.root.join(&mutant.file);
        let before = fs::read_to_string(&file)?;
        fs::write(&file, mutant.apply(&before)?)?;
        let verdict = self.ask(&mutant.guard);
        fs::write(&file, before)?;
        Ok(match verdict? {
            Verdict::Noticed => Outcome::Passed,
            Verdict::Fine => {
                Outcome::Failed(format!("it survived: {} passes", mutant.guard.shown()))
            }
            Verdict::DoesNotBuild(why) => Outcome::Failed(format!("it does not build\n{why}")),
        })
    }

    fn ask(&self, guard: &Guard) -> Result<Verdict> {
        match guard {
            Guard::Unit { package, test } => self.ask_unit(package, test.as_deref()),
            Guard::Program { program, cases } => {
                let (program, image) =
                    self.programs.get(program).context("no program of that name")?;
                self.ask_program(program, image, cases)
            }
        }
    }

    fn ask_unit(&self, package: &str, test: Option<&str>) -> Result<Verdict> {
        let command = || {
            let mut command = self.in_copy(cargo(&self.copy));
            command.args(["test", "--quiet", "--package", package, "--lib", "--tests"]);
            command
        };
        if let Some(why) = build_error(command().arg("--no-run"))? {
            return Ok(Verdict::DoesNotBuild(why));
        }
        let finished = process::capture(command().args(test), b"", LIMIT)?;
        if finished.status != 0 {
            return Ok(Verdict::Noticed);
        }
        let ran = tests_passed(&String::from_utf8_lossy(&finished.stdout));
        ensure!(ran > 0, "no test of {package} is called {}", test.unwrap_or("anything"));
        Ok(Verdict::Fine)
    }

    fn ask_program(&self, program: &Program, image: &Path, cases: &[String]) -> Result<Verdict> {
        let route = Route::to(PAYLOAD_TARGET).context("no compiler for the payload")?;
        let mut build = self.in_copy(route.cargo(&self.copy, "build", PAYLOAD_TARGET));
        build.args(["--release", "--package", "strongroom-snp", "--bin", "strongroom-snp"]);
        if let Some(why) = build_error(&mut build)? {
            return Ok(Verdict::DoesNotBuild(why));
        }
        let mut run = Command::new(&self.launcher);
        run.env("STRONGROOM_PAYLOAD", self.copy.payload());
        run.args(["run", "-q", "--env", "PATH=/usr/bin:/bin", "--root"]).arg(image);
        run.arg("--").arg(program.path_inside()).args(cases);
        let finished = process::capture(&mut run, b"", LIMIT)?;
        let output = String::from_utf8_lossy(&finished.stdout);
        let passed = |case: &String| output.lines().any(|line| line == format!("ok {case}"));
        let fine = finished.status == 0 && cases.iter().all(passed);
        Ok(if fine { Verdict::Fine } else { Verdict::Noticed })
    }

    /// Builds in the copy, and quickly: whole-program optimisation finds no mutants.
    fn in_copy(&self, mut command: Command) -> Command {
        command.env("CARGO_TARGET_DIR", &self.copy.target);
        command.env("CARGO_PROFILE_RELEASE_LTO", "false");
        command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        command.env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true");
        command
    }
}

/// The end of what the compiler said, if it failed.
fn build_error(command: &mut Command) -> Result<Option<String>> {
    let finished = process::capture(command, b"", LIMIT_BUILD)?;
    let failed = finished.status != 0;
    Ok(failed.then(|| super::cases::last_lines("compiler", &finished.stderr)))
}

/// How many tests passed, by the summaries of `cargo test`, one a test binary.
fn tests_passed(output: &str) -> usize {
    let summaries = output.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    summaries.filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[mutant]]\nname = \"m\"\nfile = \"f\"\nold = \"a\"\nnew = \"b\"\n";

    fn mutant(guard: &str) -> Mutant {
        toml::from_str::<Table>(&format!("{ONE}guard = {guard}\n")).unwrap().mutant.remove(0)
    }

    #[test]
    fn guards_are_unit_tests_or_programs() {
        let unit = mutant("{ package = \"p\" }").guard;
        assert_eq!(unit, Guard::Unit { package: "p".to_owned(), test: None });
        let program = mutant("{ program = \"p\", cases = [\"c\"] }").guard;
        assert_eq!(program.shown(), "p c");
        assert!(toml::from_str::<Table>(&format!("{ONE}guard = {{ case = \"c\" }}\n")).is_err());
    }

    #[test]
    fn a_guard_that_runs_nothing_is_told_from_one_that_passes() {
        let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored\n";
        let some = "running 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
        assert_eq!(tests_passed(none), 0);
        assert_eq!(tests_passed(&[none, some, some].concat()), 4);
    }

    #[test]
    fn a_mutant_changes_one_place() {
        let mutant = mutant("{ package = \"p\" }");
        assert_eq!(mutant.apply("xax").unwrap(), "xbx");
        assert!(mutant.apply("aa").is_err());
        assert!(mutant.apply("x").is_err());
    }

    #[test]
    fn the_table_fits_the_source() {
        let workspace = Workspace::find().unwrap();
        assert!(read(&workspace, &[]).unwrap().len() >= 30);
    }
}
