// SPDX-License-Identifier: MIT
//! `cargo xtask bench --tee optee`: what it takes to open a session and say hello.
//!
//! A packed program and a plain trusted application of Rust, whose file has as many bytes, are opened,
//! called and closed by turns in one machine; `strongroom-xtest --start` takes the times. OP-TEE
//! reads, hashes and maps both files alike, so the ratio says what the library OS adds. It is judged
//! by processor time of the emulator: every wait of one thread for another takes longer where others
//! use the computer too.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use strongroom_optee_qemu::{Command, Input};

use super::{
    APPLICATIONS, LIMIT,
    beside::pack,
    built::{Built, library_os_cargo, sign},
    cost::{Lines, median},
    root::compile,
};
use crate::{
    optee::{
        Configuration,
        image::Made,
        parts::{Parts, explained},
        programs,
        run::boot,
        xtest::OWN_PROGRAM,
    },
    process,
    progress::Step,
    workspace::Workspace,
};

/// Sessions of each; the middle counts.
const ROUNDS: u32 = 25;
/// The same where instructions are counted: these differ little from one to the next.
const ROUNDS_COUNTED: u32 = 7;
/// The most instructions, and processor time, of a packed program's session, as a multiple of a plain
/// application's.
const RATIO_MAX: f64 = 1.3;
/// As in `xtest/optee/src/start.rs`.
const PACKED: &str = "8d1b6f27-03c5-4e98-b2fa-5a76c9e4d013";
const PLAIN: &str = "2f6a9c14-7be3-4d0a-9a51-c08d3e5b7f42";
const IMAGE: &str = "root/hello.image";
/// The plain application: its package and program.
const PACKAGE: &str = "strongroom-xtest-hello";
const PROGRAM: &str = "strongroom-xtest-hello-ta";
/// What its build is told how many bytes to add.
const PADDING: &str = "STRONGROOM_HELLO_PADDING";
/// Files differ by less: segments begin at pages.
const DIFFERENCE_MAX: u64 = 8192;

const HEAD: &str = "\
### Opening a session

To open a session, have it say hello, and close it: a packed static program of C, beside a plain trusted
application (`xtest/optee/hello`, on optee-utee) whose file is as long. The two take turns, the middle of 25
counts. Times are the normal world's, and longer where the computer has other work; processor time is
the emulator's. Instructions are those of the whole machine, both worlds, counted in a run with `-icount`,
and the same from run to run within a hundredth.

The limit of 1.3 is for instructions and for processor time, and the bench fails where either is over it: in
time a packed program is. Most of the emulator's time is not the machine's own code but QEMU, which in each
session translates code anew that has moved in memory and runs once, throws away what it translated from
memory that is written again, and looks up pages anew after each change of address spaces. A packed program
has more of all that: a kernel, a program, memory for them.
";

/// One session: microseconds until it was open, calls, microseconds until it was closed, and
/// microseconds of processor time.
type Session = [f64; 4];

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// The section of the document.
    pub(crate) section: String,
    /// Of instructions, which are what the two do.
    of_instructions: f64,
    /// Of processor time, which is also QEMU's for translating code.
    of_spent: f64,
}

impl Start {
    /// Fails when a packed program's session takes more than it may.
    pub(crate) fn check(&self) -> Result<()> {
        let ratios = [("instructions", self.of_instructions), ("processor time", self.of_spent)];
        for (what, ratio) in ratios {
            ensure!(
                ratio <= RATIO_MAX,
                "a session takes {ratio:.2} times as much of {what}, over {RATIO_MAX}"
            );
        }
        Ok(())
    }
}

/// Measures.
pub(crate) fn start(workspace: &Workspace) -> Result<Start> {
    let made = Made::of(workspace, Configuration::Big, false)?;
    let built = Built::make(workspace, &made)?;
    let folder = built.machine.with_file_name("start");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let root = folder.join("root");
    fs::create_dir_all(root.join("tmp"))?;
    let source = workspace.root.join("xtest/optee/hello/hello.c");
    compile(&source, &root.join("hello"), &["-static-pie"])?;
    pack(&built, &made, &folder, Some(PACKED), &["/hello"])?;
    let packed = folder.join(format!("{PACKED}.ta"));
    let plain = padded(workspace, &made, &folder, fs::metadata(&packed)?.len())?;
    let flags = programs::client_flags(&made);
    let driver = programs::build(workspace, OWN_PROGRAM, OWN_PROGRAM, &flags)?;

    let mut machine = Parts::default().options(workspace, &made, LIMIT)?;
    let application = |uuid: &str| Path::new(APPLICATIONS).join(format!("{uuid}.ta"));
    machine.files.push((application(PACKED), packed.clone()));
    machine.files.push((application(PLAIN), plain));
    machine.files.push((IMAGE.into(), folder.join(format!("{PACKED}.image"))));
    machine.files.push((Path::new("usr/bin").join(OWN_PROGRAM), driver));
    let timed = measure(&machine)?;
    machine.counts_instructions = true;
    let counted = measure(&machine)?;
    report(&timed, &counted, fs::metadata(&packed)?.len())
}

/// What the driver says in a machine, line by line.
fn measure(machine: &strongroom_optee_qemu::Options) -> Result<Vec<(String, Duration)>> {
    let rounds = if machine.counts_instructions { ROUNDS_COUNTED } else { ROUNDS };
    let mut booted = boot(machine).map_err(explained)?;
    let (mut output, mut errors) = (Lines::default(), Vec::new());
    let command = Command::new([OWN_PROGRAM.to_owned(), format!("--start={rounds}")]);
    let status = booted.run(&command, Input::Empty, &mut output, &mut errors).map_err(explained)?;
    booted.power_off().map_err(explained)?;
    let errors = String::from_utf8_lossy(&errors);
    ensure!(status.code() == 0, "status {}: {output:?}{errors}", status.code());
    Ok(output.whole)
}

/// Builds and signs the plain application, so that its file has about so many bytes.
fn padded(workspace: &Workspace, made: &Made, folder: &Path, length: u64) -> Result<PathBuf> {
    let step = Step::start("build the application to compare with");
    let alone = fs::metadata(plain(workspace, made, folder, 0)?)?.len();
    let padding = length.checked_sub(alone).context("it is longer by itself")?;
    let file = plain(workspace, made, folder, padding)?;
    let is = fs::metadata(&file)?.len();
    ensure!(is.abs_diff(length) < DIFFERENCE_MAX, "it has {is} bytes, the other one {length}");
    step.finish("built and signed");
    Ok(file)
}

fn plain(workspace: &Workspace, made: &Made, folder: &Path, padding: u64) -> Result<PathBuf> {
    let mut command = library_os_cargo(workspace, made, "build")?;
    command.env(PADDING, padding.to_string());
    command.args(["--release", "--package", PACKAGE, "--bin", PROGRAM]);
    process::run_quietly(&mut command)?;
    sign(workspace, made, PROGRAM, PLAIN, folder)
}

/// The middle of all sessions of one of the two, column by column.
fn middle(lines: &[(String, Duration)], name: &str) -> Result<Session> {
    let mut columns: [Vec<f64>; 4] = Default::default();
    let before = std::iter::once(None).chain(lines.iter().map(|(_, at)| Some(*at)));
    for ((line, at), before) in lines.iter().zip(before) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [who, opened, calls, closed] = words.as_slice() else {
            bail!("the driver said {line:?}")
        };
        if *who != name {
            continue;
        }
        let spent = before.map(|before| at.saturating_sub(before).as_secs_f64() * 1e6);
        let values = [opened.parse()?, calls.parse()?, closed.parse()?];
        for (column, value) in columns.iter_mut().zip(values.into_iter().chain(spent)) {
            column.push(value);
        }
    }
    let mut middle = Session::default();
    for (to, column) in middle.iter_mut().zip(&columns) {
        *to = median(column).with_context(|| format!("no sessions of {name}"))?;
    }
    Ok(middle)
}

fn report(
    timed: &[(String, Duration)],
    counted: &[(String, Duration)],
    length: u64,
) -> Result<Start> {
    let (packed, plain) = (middle(timed, "packed")?, middle(timed, "plain")?);
    let (packed_counted, plain_counted) = (middle(counted, "packed")?, middle(counted, "plain")?);
    let ratio_of = |[.., packed_time, packed_spent]: Session, [.., time, spent]: Session| {
        (packed_time / time, packed_spent / spent)
    };
    let (of_time, of_spent) = ratio_of(packed, plain);
    let (of_instructions, _) = ratio_of(packed_counted, plain_counted);
    let rows =
        [("packed program", packed, packed_counted), ("plain application", plain, plain_counted)];
    let mut text = format!(
        "{HEAD}\nBoth files have {length} bytes. The ratio is **{of_instructions:.2}** of instructions, \
         {of_spent:.2} of processor time, {of_time:.2} of time.\n\n",
    );
    text.push_str("| | calls | instructions | processor time | time until open | all |\n");
    text.push_str("|:--|--:|--:|--:|--:|--:|\n");
    for (name, [opened, calls, all, spent], [_, _, count, _]) in rows {
        let [opened, all, spent, count] = [opened, all, spent, count].map(|time| time / 1e3);
        writeln!(
            text,
            "| {name} | {calls} | {count:.1} million | {spent:.1} ms | {opened:.1} ms | {all:.1} ms |"
        )?;
    }
    Ok(Start { section: text, of_instructions, of_spent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_session_counts_and_too_much_for_one_is_a_failure() {
        let lines = |spent: u64| {
            let mut at = Duration::ZERO;
            let mut line = |text: &str, spent| {
                at += Duration::from_millis(spent);
                (text.to_owned(), at)
            };
            vec![
                line("packed 1 2 3", 7),
                line("plain 1000 1 2000", 100),
                line("packed 1000 7 4000", spent),
                line("plain 1000 1 2000", 100),
                line("packed 1000 7 4000", spent),
            ]
        };
        let start = report(&lines(170), &lines(1), 4096).unwrap();
        let text = &start.section;
        let ratios = "**2.00** of instructions, 1.70 of processor time, 2.00 of time";
        assert!(text.contains(ratios), "{text}");
        let row = "| packed program | 7 | 4.0 million | 170.0 ms | 1.0 ms | 4.0 ms |";
        assert!(text.contains(row), "{text}");
        assert!(start.check().is_err());
        let counted = |packed: &str| {
            let mut lines = lines(1);
            lines.iter_mut().for_each(|(line, _)| *line = line.replace("4000", packed));
            lines
        };
        let quicker = counted("2600");
        let checked = |spent, counted: &[_]| report(&lines(spent), counted, 4096).unwrap().check();
        assert!(checked(130, &quicker).is_ok());
        assert!(checked(131, &quicker).is_err(), "processor time");
        assert!(checked(130, &counted("2620")).is_err(), "instructions");
        assert!(report(&lines(1)[..1], &quicker, 4096).is_err());
        assert!(report(&[("what".to_owned(), Duration::ZERO)], &quicker, 4096).is_err());
    }
}
