// SPDX-License-Identifier: MIT
//! `cargo xtask bench`: what each operation costs in guest instructions, here and in Linux.
//!
//! QEMU runs with `-icount shift=0,sleep=off`: one guest instruction is one nanosecond of guest
//! time, so the program's own clock counts instructions and every run gives the same figures.

mod linux;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    build::Built,
    optee::{self, Configuration},
    process::{self, Finished},
    progress::Step,
    root::{Root, Set},
    setup::{self, Wants},
    workspace::Workspace,
};

/// QEMU's options on both sides.
const COUNTING: &[&str] = &["-accel", "tcg", "-icount", "shift=0,sleep=off"];

/// How much of its usual number of iterations the program does: instructions are slow to count.
const SCALE: &str = "0.02";

/// What is written.
const DOCUMENT: &str = "docs/performance.md";

/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(900);

/// Where the library OS is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tee {
    /// The SNP guest payload, beside a Debian kernel, in instructions.
    #[default]
    Snp,
    /// The OP-TEE trusted application, beside plain function calls, in time.
    Optee,
}

/// Measures, prints, and writes its part of `docs/performance.md`.
pub(crate) fn bench(workspace: &Workspace, tee: Tee, no_install: bool) -> Result<()> {
    match tee {
        Tee::Snp => payload(workspace, no_install),
        Tee::Optee => {
            setup::setup(workspace, Wants::optee(&[Configuration::Big]), no_install)?;
            let cost = optee::enclave::cost(workspace)?;
            let start = optee::enclave::start(workspace)?;
            let section = format!("{cost}\n{}", start.section);
            println!("{section}");
            let document = table::with_section(&read(workspace)?, &section);
            write(workspace, &document)?;
            start.check()
        }
    }
}

fn payload(workspace: &Workspace, no_install: bool) -> Result<()> {
    setup::setup(workspace, Wants::BENCH, no_install)?;
    let program = compile(workspace)?;
    let small = Root::of_set(workspace, Set::Small)?;
    let linux = linux::measure(workspace, &small, &program)?;
    let built = Built::make(workspace)?;
    let strongroom = measure_payload(workspace, &built, &small, &program)?;
    let rows = table::join(&table::parse(&linux.output), &table::parse(&strongroom));
    let report = table::report(&rows, &linux.kernel, COUNTING);
    println!("{report}");
    let section = table::section_of(&read(workspace)?).to_owned();
    write(workspace, &table::with_section(&report, &section))
}

/// The document as it is.
fn read(workspace: &Workspace) -> Result<String> {
    let document = workspace.root.join(DOCUMENT);
    fs::read_to_string(&document).with_context(|| format!("read {}", document.display()))
}

fn write(workspace: &Workspace, text: &str) -> Result<()> {
    let document = workspace.root.join(DOCUMENT);
    fs::write(&document, text).with_context(|| format!("write {}", document.display()))
}

fn compile(workspace: &Workspace) -> Result<PathBuf> {
    let output = workspace.target.join("xtest-bench");
    fs::create_dir_all(workspace.target.as_path())?;
    let mut command = Command::new("gcc");
    command.args(["-O2", "-static", "-pthread", "-Wl,--build-id=none", "-o"]).arg(&output);
    command.arg(workspace.root.join("xtest/bench/bench.c"));
    process::run_quietly(&mut command)?;
    Ok(output)
}

fn measure_payload(
    workspace: &Workspace,
    built: &Built,
    small: &Root,
    program: &Path,
) -> Result<String> {
    let files = [(program.to_path_buf(), PathBuf::from("/bin/bench"))];
    let image = small.with_files(workspace, "bench", &files)?.image(workspace)?;
    let mut output = String::new();
    for operations in [&[][..], &["fork"]] {
        let step = Step::start(&format!("measure Strongroom {}", operations.join(" ")));
        let mut command = built.run(&image);
        command.env("STRONGROOM_QEMU_ARGS", COUNTING.join(" "));
        command.args(["-q", "--", "/bin/bench", SCALE]).args(operations);
        let finished = process::capture(&mut command, b"", LIMIT)?;
        output.push_str(&checked("the payload", &finished)?);
        step.finish("done");
    }
    Ok(output)
}

/// The output of a run that ended well.
fn checked(who: &str, finished: &Finished) -> Result<String> {
    let output = String::from_utf8_lossy(&finished.stdout).into_owned();
    if finished.timed_out || finished.status != 0 {
        bail!(
            "{who} ended with status {}{}:\n{output}{}",
            finished.status,
            if finished.timed_out { " (timed out)" } else { "" },
            String::from_utf8_lossy(&finished.stderr)
        );
    }
    Ok(output)
}
