// SPDX-License-Identifier: MIT
//! `cargo xtask bench --tee optee`: what a system call costs in a trusted application.
//!
//! `xtest/enclave/cost.c` says when it begins and ends what; the time is taken here, outside of the
//! machine: processor time of the emulator, as others use the computer too. Under an emulator times
//! mean nothing, so all figures are ratios within one run.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use strongroom_optee_qemu::{Command, Input, Machine};

use super::{
    IMAGE, LIMIT,
    cases::Case,
    client,
    emulator::processor_time,
    install,
    packed::{Packed, Packer},
};
use crate::{
    optee::{
        Configuration,
        image::Made,
        parts::{Parts, explained},
        run::boot,
    },
    workspace::Workspace,
};

/// System calls of each kind.
const COUNT: u64 = 1_000_000;
/// The most that a call answered inside may cost, as a multiple of a plain function call.
const RATIO_MAX: f64 = 20.0;
/// Runs; the middle of each figure counts: a line may come late.
const RUNS: usize = 5;
/// What is compared: a call and a plain function of equal work.
const PAIRS: [(&str, &str); 7] = [
    ("getpid", "plain_getpid"),
    ("write", "plain_write"),
    ("getppid", "plain_getppid"),
    ("pipe", "plain_pipe"),
    ("lseek", "plain_lseek"),
    ("futex_wake", "plain_futex_wake"),
    ("sigprocmask", "plain_sigprocmask"),
];
/// Pairs that are answered at once, at the head of the list.
const AT_ONCE: usize = 2;

const HEAD: &str = "\
Written by `cargo xtask bench --tee optee`; do not edit. Time of a system call that is served inside of
the trusted application, as a multiple of a plain function call of equal work: a function in the same
program, never inlined, that comes to the same result by the same steps from data of its own
(`xtest/enclave/cost.c`). A million calls each, in processor time of the emulator, taken from outside of the
machine, the middle of five runs. `write` is 4 KiB to `/dev/null`, `pipe` 64 bytes in and 64 bytes out, and
nobody waits for `futex_wake`. All are answered at once, by a look, without the whole dispatch. Equal
work is the program's own arrays and pointers where the kernel has locks, reference counts, and memory
that it does not trust.
QEMU emulates, so these are ratios within one run. A quarter of a call's time (`perf`) is QEMU's way from one
page of code to another, which a call takes ten times and more: by a table in which two places push each other
out where they come to lie badly in memory. So a figure may be twice that of another build or run.

| system call | ratio |
|:--|--:|
";

/// Nanoseconds for one of each operation, of each run.
#[derive(Clone, Debug, Default, PartialEq)]
struct Costs(Vec<(String, Vec<f64>)>);

impl Costs {
    fn of(&self, name: &str) -> Result<f64> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found
            .and_then(|(_, costs)| median(costs))
            .with_context(|| format!("the program did not do {name}"))
    }

    fn note(&mut self, name: &str, cost: f64) {
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some((_, known)) => known.push(cost),
            None => self.0.push((name.to_owned(), vec![cost])),
        }
    }
}

pub(super) fn median(costs: &[f64]) -> Option<f64> {
    let mut costs = costs.to_vec();
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied()
}

/// Measures, and gives the section of the document.
pub(crate) fn cost(workspace: &Workspace) -> Result<String> {
    let made = Made::of(workspace, Configuration::Big, false)?;
    let mut machine = Parts::default().options(workspace, &made, LIMIT)?;
    let packer = Packer::make(workspace, &made)?;
    let packed = packer.pack(&Case::of("cost", &["cost", &COUNT.to_string()], "16M"))?;
    install(&mut machine, &packer, [&packed]);
    let mut booted = boot(&machine).map_err(explained)?;
    let mut costs = Costs::default();
    for _ in 0..RUNS {
        measure(&mut booted, &packed, &mut costs)?;
    }
    booted.power_off().map_err(explained)?;
    report(&costs)
}

fn measure(machine: &mut Machine, packed: &Packed, costs: &mut Costs) -> Result<()> {
    let command = Command::new(client(packed, IMAGE));
    let (mut lines, mut errors) = (Lines::default(), Vec::new());
    let input = Input::Bytes(b"");
    let status = machine.run(&command, input, &mut lines, &mut errors).map_err(explained)?;
    if status.code() != 0 {
        bail!("status {}: {}", status.code(), String::from_utf8_lossy(&errors));
    }
    let mut begun: Option<(&str, Duration)> = None;
    for (line, at) in &lines.whole {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), begun) {
            (["begin", name, _], _) => begun = Some((name, *at)),
            (["end", name, count], Some((other, start))) if *name == other => {
                let took = at.saturating_sub(start);
                costs.note(name, took.as_secs_f64() * 1e9 / count.parse::<f64>()?);
            }
            _ => bail!("the program said {line:?}"),
        }
    }
    Ok(())
}

/// Lines, and how much processor time the emulator had spent when their ends came.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) whole: Vec<(String, Duration)>,
    rest: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = processor_time().map_err(io::Error::other)?;
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.whole.push((String::from_utf8_lossy(&line).trim_end().to_owned(), now));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The table; fails when a call that is answered at once costs more than it may.
fn report(costs: &Costs) -> Result<String> {
    let mut text = String::from(HEAD);
    let mut worst = 0.0_f64;
    for (index, (call, plain)) in PAIRS.iter().enumerate() {
        let ratio = costs.of(call)? / costs.of(plain)?;
        if index < AT_ONCE {
            worst = worst.max(ratio);
        }
        writeln!(text, "| {call} | {ratio:.1} |")?;
    }
    for (name, _) in &costs.0 {
        eprintln!("{name}: {:.1} ns", costs.of(name)?);
    }
    if worst > RATIO_MAX {
        bail!("{worst:.1} times a plain call, over {RATIO_MAX}:\n{text}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_timed_and_the_middle_cost_counts() {
        let mut lines = Lines::default();
        lines.write_all(b"begin a 1\nen").unwrap();
        lines.write_all(b"d a 1\n").unwrap();
        let told: Vec<&str> = lines.whole.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!(told, ["begin a 1", "end a 1"]);
        assert!(lines.whole[0].1 <= lines.whole[1].1);
        let mut costs = Costs::default();
        costs.note("a", 3.0);
        costs.note("a", 2.0);
        costs.note("a", 4.0);
        assert_eq!(costs.of("a").unwrap(), 3.0);
    }

    #[test]
    fn a_call_that_costs_too_much_is_a_failure() {
        let costs = |call: f64| {
            let mut costs = Costs::default();
            for (name, plain) in PAIRS {
                costs.note(plain, 5.0);
                costs.note(name, if name == "getpid" { call } else { 90.0 });
            }
            costs
        };
        assert!(report(&costs(100.0)).unwrap().contains("| getpid | 20.0 |"));
        assert!(report(&costs(101.0)).is_err());
        assert!(report(&Costs::default()).is_err());
    }
}
