// SPDX-License-Identifier: MIT
//! `cargo xtask bench --tee optee`: what it takes to open a session and say hello.
//!
//! A packed program and a plain trusted application of Rust, whose file has as many bytes, are opened,
//! called and closed by turns in one machine; `strongroom-xtest --start` takes the times. OP-TEE
//! reads, hashes and maps both files alike, so the ratio says what the library OS adds.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
};

use anyhow::{Context, Result, bail, ensure};
use strongroom_optee_qemu::{Command, Input};

use super::{
    APPLICATIONS, LIMIT,
    beside::pack,
    built::{self, Built, library_os_cargo, target},
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
    toolchain::APPLICATION_TARGET,
    workspace::Workspace,
};

/// Sessions of each; the middle counts.
const ROUNDS: u32 = 25;
/// The most that a packed program's session may take, as a multiple of a plain application's.
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

Time to open a session, have it say hello, and close it: a packed static program of C, beside a plain
trusted application (`xtest/optee/hello`, on optee-utee) whose file is as long. The normal world takes the
times, the two take turns, the middle of 25 counts.
";

/// One session: microseconds until it was open, calls, and microseconds until it was closed.
type Times = [f64; 3];

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// The section of the document.
    pub(crate) section: String,
    ratio: f64,
}

impl Start {
    /// Fails when a packed program's session takes longer than it may.
    pub(crate) fn check(&self) -> Result<()> {
        let ratio = self.ratio;
        ensure!(ratio <= RATIO_MAX, "a session takes {ratio:.2} times as long, over {RATIO_MAX}");
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
    let plain = padded(workspace, &made, &built, &folder, fs::metadata(&packed)?.len())?;
    let flags = programs::client_flags(&made);
    let driver = programs::build(workspace, OWN_PROGRAM, OWN_PROGRAM, &flags)?;

    let mut machine = Parts::default().options(workspace, &made, LIMIT)?;
    let application = |uuid: &str| Path::new(APPLICATIONS).join(format!("{uuid}.ta"));
    machine.files.push((application(PACKED), packed.clone()));
    machine.files.push((application(PLAIN), plain));
    machine.files.push((IMAGE.into(), folder.join(format!("{PACKED}.image"))));
    machine.files.push((Path::new("usr/bin").join(OWN_PROGRAM), driver));
    let mut booted = boot(&machine).map_err(explained)?;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let command = Command::new([OWN_PROGRAM.to_owned(), format!("--start={ROUNDS}")]);
    let status = booted.run(&command, Input::Empty, &mut output, &mut errors).map_err(explained)?;
    booted.power_off().map_err(explained)?;
    let output = String::from_utf8_lossy(&output);
    ensure!(
        status.code() == 0,
        "status {}: {output}{}",
        status.code(),
        String::from_utf8_lossy(&errors)
    );
    report(&output, fs::metadata(&packed)?.len())
}

/// Builds and signs the plain application, so that its file has about so many bytes.
fn padded(
    workspace: &Workspace,
    made: &Made,
    built: &Built,
    folder: &Path,
    length: u64,
) -> Result<PathBuf> {
    let step = Step::start("build the application to compare with");
    let alone = fs::metadata(plain(workspace, made, built, folder, 0)?)?.len();
    let padding = length.checked_sub(alone).context("it is longer by itself")?;
    let file = plain(workspace, made, built, folder, padding)?;
    let is = fs::metadata(&file)?.len();
    ensure!(is.abs_diff(length) < DIFFERENCE_MAX, "it has {is} bytes, the other one {length}");
    step.finish("built and signed");
    Ok(file)
}

fn plain(
    workspace: &Workspace,
    made: &Made,
    built: &Built,
    folder: &Path,
    padding: u64,
) -> Result<PathBuf> {
    let mut command = library_os_cargo(workspace, made, "build")?;
    command.env(PADDING, padding.to_string());
    command.args(["--release", "--package", PACKAGE, "--bin", PROGRAM]);
    process::run_quietly(&mut command)?;
    let elf = target(workspace, made).join(APPLICATION_TARGET).join("release").join(PROGRAM);
    let mut command = Process::new(&built.launcher);
    command.arg("sign-ta").arg(elf).args(["--uuid", PLAIN, "--key"]).arg(built::key(made));
    process::run_quietly(command.arg("--output").arg(folder))?;
    Ok(folder.join(format!("{PLAIN}.ta")))
}

/// The lines of one of the two, in order of what the whole session took.
fn sessions(output: &str, name: &str) -> Result<Vec<Times>> {
    let mut all = Vec::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [who, opened, calls, closed] if *who == name => {
                all.push([opened.parse()?, calls.parse()?, closed.parse()?]);
            }
            ["packed" | "plain", _, _, _] => {}
            _ => bail!("the driver said {line:?}"),
        }
    }
    all.sort_by(|[.., one]: &Times, [.., other]| one.total_cmp(other));
    Ok(all)
}

fn middle(output: &str, name: &str) -> Result<Times> {
    let all = sessions(output, name)?;
    all.get(all.len() / 2).copied().with_context(|| format!("no sessions of {name}"))
}

fn report(output: &str, length: u64) -> Result<Start> {
    let (packed, plain) = (middle(output, "packed")?, middle(output, "plain")?);
    let ([.., packed_all], [.., plain_all]) = (packed, plain);
    let ratio = packed_all / plain_all;
    let mut text =
        format!("{HEAD}\nBoth files have {length} bytes. The ratio is **{ratio:.2}**.\n\n");
    text.push_str("| | open | calls | all |\n|:--|--:|--:|--:|\n");
    for (name, [opened, calls, all]) in [("packed program", packed), ("plain application", plain)] {
        writeln!(text, "| {name} | {:.1} ms | {calls} | {:.1} ms |", opened / 1e3, all / 1e3)?;
    }
    Ok(Start { section: text, ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_session_counts_and_too_long_a_one_is_a_failure() {
        let lines = |all: u32| {
            format!(
                "packed 1 2 9\nplain 1 2 100\npacked 70 80 {all}\nplain 1 1 1\npacked 1 2 999\nplain 9 9 999\n"
            )
        };
        let start = report(&lines(130), 4096).unwrap();
        let text = &start.section;
        assert!(text.contains("**1.30**") && text.contains("| 0.1 ms |"), "{text}");
        assert!(start.check().is_ok());
        assert!(report(&lines(131), 4096).unwrap().check().is_err());
        assert!(report("packed 1 2 3\n", 4096).is_err());
        assert!(report("what 1 2 3\n", 4096).is_err());
    }
}
