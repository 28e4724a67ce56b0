// SPDX-License-Identifier: MIT
//! `cargo xtask optee programs`: the asserting programs of `xtest/programs` in a trusted application.
//!
//! On Linux and on SNP each case has a process of its own. Here is no `fork`, so all cases of a
//! program run in one process, one after the other. One that ends it is noted, and a new session goes
//! on behind it; one that fails is run once more, alone, since others may have left it something.

use anyhow::{Result, ensure};
use strongroom_optee_qemu::{Command, Input, Machine};

use super::{
    IMAGE, LIMIT,
    cases::Case,
    client, install,
    packed::{Packed, Packer},
};
use crate::{
    optee::{
        image::Made,
        parts::{Parts, explained},
        run::boot,
    },
    progress::Step,
    test::{Kind, Program, case_names, read_table},
    workspace::Workspace,
};

/// Memory of each program: stacks of threads are there as a whole from the start.
const MEMORY: &str = "64M";
/// What the C library opens when a thread is cancelled.
const UNWINDER: &str = "/lib/aarch64-linux-gnu/libgcc_s.so.1";
/// Sessions for one program, one after the other, at most.
const SESSIONS_MAX: usize = 100;

/// This case has a thread that only computes until another one tells it to stop.
const NEVER_ENDS: &str = "spinning_thread_does_not_starve_others";
/// Status of a session that does not end: then its client cannot be killed either.
const HANGS: u8 = 124;
/// Runs a client, and ends with its status, or with [`HANGS`].
const WATCHED: &str = r#"
exec 3<&0
rm -f /tmp/status
{ "$@" <&3; echo $? >/tmp/status; } &
for second in $(seq 200); do
    [ -s /tmp/status ] && exit $(cat /tmp/status)
    sleep 1
done
exit 124
"#;

/// Why a case does not pass; none when it does.
pub(crate) type Reason = Option<String>;

/// What came of each case of each program, in the order they ran.
pub(crate) type Results = Vec<(String, Vec<(String, Reason)>)>;

/// Runs the cases of the programs whose names are wanted.
pub(crate) fn run_programs(
    workspace: &Workspace,
    made: &Made,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Results> {
    let mut programs = read_table(workspace)?;
    programs.retain(|program| program.kind == Kind::Cases && wanted(&program.name));
    let (mut machine, packed) = prepare(workspace, made, &programs)?;
    let mut results = Vec::new();
    for (program, packed) in programs.iter().zip(&packed) {
        let step = Step::start(&program.name);
        let cases = match packed {
            Ok(packed) => {
                let mut results = run_program(&mut machine, packed)?;
                if case_names(workspace, program)?.iter().any(|name| name == NEVER_ENDS) {
                    results.push((NEVER_ENDS.to_owned(), Some(ending(HANGS).to_owned())));
                }
                results
            }
            Err(refused) => {
                let names = case_names(workspace, program)?;
                names.into_iter().map(|name| (name, Some(refused.clone()))).collect()
            }
        };
        let passed = cases.iter().filter(|(_, reason)| reason.is_none()).count();
        step.finish(&format!("{passed} of {} cases pass", cases.len()));
        results.push((program.name.clone(), cases));
    }
    Ok(results)
}

/// A machine that is started anew when a session hangs: nothing else ends that.
struct Rebooting {
    machine: Option<Machine>,
    options: strongroom_optee_qemu::Options,
    /// Its files are read whenever the machine starts.
    _packer: Packer,
}

impl Rebooting {
    fn run(&mut self, command: &Command, input: &str) -> Result<(u8, String)> {
        let mut machine = match self.machine.take() {
            Some(machine) => machine,
            None => boot(&self.options).map_err(explained)?,
        };
        let ran = machine.capture(command, Input::Bytes(input.as_bytes())).map_err(explained)?;
        if ran.status.code() != HANGS {
            self.machine = Some(machine);
        }
        Ok((ran.status.code(), String::from_utf8_lossy(&ran.output).into_owned()))
    }
}

fn prepare(
    workspace: &Workspace,
    made: &Made,
    programs: &[Program],
) -> Result<(Rebooting, Vec<Result<Packed, String>>)> {
    let mut machine = Parts::default().options(workspace, made, 2 * LIMIT)?;
    let packer = Packer::make(workspace, made)?;
    let mut packed: Vec<Result<Packed, String>> = Vec::new();
    for program in programs {
        let path = program.path_inside().to_string_lossy().into_owned();
        let mut case = Case::of(&program.name, &[&path, "--one-process"], MEMORY);
        if program.position_independent_flag().is_none() {
            case.libraries.push(UNWINDER.to_owned());
        }
        let one = packer.pack(&case);
        packed.push(one.map_err(|error| refusal(&format!("{error:#}"))));
    }
    ensure!(packed.iter().any(Result::is_ok), "no program was packed");
    install(&mut machine, &packer, packed.iter().flatten());
    Ok((Rebooting { machine: None, options: machine, _packer: packer }, packed))
}

fn run_program(machine: &mut Rebooting, packed: &Packed) -> Result<Vec<(String, Reason)>> {
    let mut results: Vec<(String, Reason)> = Vec::new();
    let mut request = format!("not {NEVER_ENDS}\n");
    for _ in 0..SESSIONS_MAX {
        let session = Session::run(machine, packed, &request)?;
        let ended = session.ended_in.clone();
        results.extend(session.results);
        let Some(name) = ended else { break };
        request = format!("after {name}\nnot {NEVER_ENDS}\n");
    }
    for (name, reason) in &mut results {
        if reason.as_deref().is_some_and(|reason| ![NO_FORK, ending(HANGS)].contains(&reason)) {
            let alone = Session::run(machine, packed, &format!("only {name}\n"))?;
            *reason = alone.results.into_iter().next().and_then(|(_, reason)| reason);
        }
    }
    Ok(results)
}

/// What the packer says of a program that it refuses, in a line.
fn refusal(error: &str) -> String {
    let line = error.lines().find_map(|line| line.strip_prefix("strongroom: "));
    let what =
        line.and_then(|line| line.split_once(": ")).map_or("no reason given", |(_, what)| what);
    format!("refused by the packer: {what}")
}

/// What a case says that cannot be had here.
const NO_FORK: &str = "`fork`: `ENOSYS`";

/// What a program said in one session.
#[derive(Debug, Default, PartialEq)]
struct Session {
    results: Vec<(String, Reason)>,
    /// The case that ended it too early.
    ended_in: Option<String>,
}

impl Session {
    fn run(machine: &mut Rebooting, packed: &Packed, request: &str) -> Result<Self> {
        let words = ["sh", "-c", WATCHED, "sh"].map(str::to_owned).into_iter();
        let words = words.chain(client(packed, IMAGE));
        let (status, output) = machine.run(&Command::new(words), request)?;
        Ok(Self::parse(&output, status))
    }

    fn parse(output: &str, status: u8) -> Self {
        let mut session = Self::default();
        let mut begun = None;
        let mut finished = false;
        for line in output.lines() {
            finished |= line.ends_with(" failed") && line.contains(" passed, ");
            if let Some(name) = line.strip_prefix("begin ") {
                begun = Some(name.to_owned());
            } else if let Some(name) = line.strip_prefix("ok ") {
                session.results.push((name.to_owned(), None));
                begun = None;
            } else if let Some((name, why)) =
                line.strip_prefix("FAIL ").and_then(|rest| rest.split_once(": "))
            {
                session.results.push((name.to_owned(), Some(shortened(why))));
                begun = None;
            }
        }
        if let Some(name) = &begun {
            session.results.push((name.clone(), Some(ending(status).to_owned())));
        }
        // Between two cases, what one has left behind may end it too.
        let last = session.results.last().map(|(name, _)| name.clone());
        session.ended_in = begun.or(last.filter(|_| !finished));
        session
    }
}

/// A failed expectation without its place.
fn shortened(why: &str) -> String {
    let text = match why.split_once(": ") {
        Some((place, text)) if place.contains(".c:") => text,
        Some(_) | None => why,
    };
    if text.contains("fork (got ENOSYS)") {
        return NO_FORK.to_owned();
    }
    // It goes into a table.
    format!("`{}`", text.replace('|', "\\|").replace('`', "'"))
}

/// Why a session ended in the middle of a case.
fn ending(status: u8) -> &'static str {
    match status {
        HANGS => "it spins without calls or hints, and nothing can interrupt that",
        125 => "a fault ends the trusted application",
        142 => "not finished in time",
        129..=192 => "a signal ends the process, and there is one only",
        _ => "the process exits, and there is one only",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_ends_early_names_the_case() {
        let output = "begin a\nok a\nbegin b\nFAIL b: x.c:3: fork (got ENOSYS)\nbegin c\n";
        let session = Session::parse(output, 125);
        let reasons: Vec<Option<&str>> =
            session.results.iter().map(|(_, reason)| reason.as_deref()).collect();
        assert_eq!(reasons, [None, Some(NO_FORK), Some("a fault ends the trusted application")]);
        assert_eq!(session.ended_in.as_deref(), Some("c"));
        let between = Session::parse("begin a\nok a\n", 138);
        assert_eq!((between.results.len(), between.ended_in.as_deref()), (1, Some("a")));
        let whole = Session::parse("begin a\nok a\n1 passed, 0 failed\n", 0);
        assert_eq!((whole.results.len(), whole.ended_in), (1, None));
    }

    #[test]
    fn a_refusal_is_one_line() {
        let error = "x: `pack-ta` failed with status 125:\nstrongroom: /a: svc #1: no\nstrongroom: hint: b\n";
        assert_eq!(refusal(error), "refused by the packer: svc #1: no");
    }

    #[test]
    fn reasons_lose_their_place_and_fit_into_a_table() {
        assert_eq!(shortened("f.c:12: a | b (got 1)"), "`a \\| b (got 1)`");
        assert_eq!(shortened("no place here: x"), "`no place here: x`");
    }
}
