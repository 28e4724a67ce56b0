// SPDX-License-Identifier: MIT
//! What the harness promises, tried in real QEMU.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command as Process, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use strongroom_optee_qemu::{Command, Error, Image, Input, Machine, Options, Status};

use super::Tally;
use crate::{
    optee::{Made, agent},
    workspace::Workspace,
};

/// Bytes of the round trip.
const MEGABYTE: usize = 1 << 20;

/// A boot that takes longer hangs, on a busy machine too.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// How long a machine that was left alone may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Everything a check needs.
struct Bench {
    image: Image,
    folder: tempfile::TempDir,
}

type Check = fn(&Bench) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("commands", commands),
    ("overlay", overlay),
    ("storage-is-kept", storage_is_kept),
    ("hanging-command", hanging_command),
    ("command-that-ends-the-machine", ending_command),
    ("power-cut", power_cut),
    ("wrong-flash", wrong_flash),
    ("missing-kernel", missing_kernel),
    ("killed-harness-leaves-no-qemu", killed_harness),
];

/// Runs all checks.
pub(super) fn run_all(workspace: &Workspace, made: &Made, tally: &Tally) {
    let bench = (|| -> Result<Bench> {
        let image = Image::in_directory(&made.folder, agent(workspace)?);
        Ok(Bench { image, folder: tempfile::tempdir()? })
    })();
    match bench {
        Ok(bench) => {
            for (name, check) in CHECKS {
                tally.check(&format!("optee/{name}"), || check(&bench));
            }
        }
        Err(error) => tally.check("optee/prepare", || Err(error)),
    }
}

impl Bench {
    fn options(&self) -> Options {
        let mut options = Options::new(self.image.clone(), self.folder.path().join("logs"));
        options.boot_limit = BOOT_LIMIT;
        options
    }
}

/// Runs a shell script; its status and both outputs.
fn shell(machine: &mut Machine, script: &str) -> Result<(Status, String, String), Error> {
    let (status, output, errors) = run(machine, &["sh", "-c", script], Input::Empty)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((status, text(output), text(errors)))
}

fn run(
    machine: &mut Machine,
    words: &[&str],
    input: Input<'_>,
) -> Result<(Status, Vec<u8>, Vec<u8>), Error> {
    let ran = machine.capture(&Command::new(words), input)?;
    Ok((ran.status, ran.output, ran.errors))
}

/// One machine, several commands: streams, statuses, a program that is not there.
fn commands(bench: &Bench) -> Result<()> {
    let mut machine = Machine::boot(&bench.options())?;
    println!(
        "     boot: {:.1} s until the machine takes commands",
        machine.boot_time().as_secs_f64()
    );
    let (status, output, errors) = shell(&mut machine, "echo out; echo err >&2; exit 7")?;
    ensure!(status == Status::Exited(7), "a status came back as {status:?}");
    ensure!((output.as_str(), errors.as_str()) == ("out\n", "err\n"), "{output:?} {errors:?}");
    let (status, _, _) = shell(&mut machine, "kill -SEGV $$")?;
    ensure!(status == Status::Signaled(11), "a signal came back as {status:?}");
    match run(&mut machine, &["/no/such/program"], Input::Empty) {
        Err(Error::Refused(why)) => ensure!(why.contains("/no/such/program"), "{why}"),
        other => bail!("a program that is not there: {other:?}"),
    }
    round_trip(&mut machine)?;
    let (_, output, _) = shell(&mut machine, "ls /dev/tee0; cat /dev/null; id -u; pwd")?;
    ensure!(output == "/dev/tee0\n0\n/root\n", "the machine after all that: {output:?}");
    machine.power_off()?;
    Ok(())
}

/// Every byte value in both directions, faster than a command reads it.
fn round_trip(machine: &mut Machine) -> Result<()> {
    // A multiplicative generator: no pattern that is as long as a buffer.
    let mut state: u32 = 1;
    let bytes: Vec<u8> = (0..MEGABYTE)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    let (status, output, errors) = run(machine, &["cat"], Input::Bytes(&bytes))?;
    ensure!(status == Status::Exited(0) && errors.is_empty(), "cat ended with {status:?}");
    ensure!(output == bytes, "of {MEGABYTE} bytes {} came back, or others", output.len());
    let (_, output, _) = run(machine, &["sh", "-c", "sleep 1; wc -c"], Input::Bytes(&bytes))?;
    let counted = String::from_utf8_lossy(&output).trim().to_owned();
    ensure!(counted == MEGABYTE.to_string(), "a slow reader counted {counted}");
    // A command that leaves its input alone must not leave us waiting.
    let (status, _, _) = run(machine, &["true"], Input::Bytes(&bytes))?;
    ensure!(status == Status::Exited(0), "{status:?}");
    Ok(())
}

/// Short and long names of folders lead to the same place, and the root's own links stay.
fn overlay(bench: &Bench) -> Result<()> {
    let folder = bench.folder.path().join("overlay");
    for (path, text) in
        [("lib/optee_armtz/x.ta", "a"), ("usr/lib/y", "b"), ("bin/z", "c"), ("etc/deep/er", "d")]
    {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        fs::write(path, text)?;
    }
    let mut options = bench.options();
    options.overlays.push(folder.clone());
    options.files.push((PathBuf::from("opt/new/file"), folder.join("usr/lib/y")));
    let mut machine = Machine::boot(&options)?;
    let script = "cd /; cat usr/lib/optee_armtz/x.ta lib/y usr/bin/z etc/deep/er opt/new/file; \
                  readlink lib; ls lib/optee_armtz | grep -c ta";
    let (_, output, errors) = shell(&mut machine, script)?;
    machine.power_off()?;
    let (start, rest) = output.split_at_checked(5).unwrap_or((&output, ""));
    ensure!(start == "abcdb" && rest.starts_with("usr/lib\n"), "{output:?} {errors:?}");
    Ok(())
}

/// What is stored in one boot is there in the next, and not where it was not asked for.
fn storage_is_kept(bench: &Bench) -> Result<()> {
    let folder = bench.folder.path().join("storage");
    let mut options = bench.options();
    options.storage = Some(folder.clone());
    let mut machine = Machine::boot(&options)?;
    let (status, output, _) = shell(&mut machine, "echo kept >/var/lib/tee/note; mount")?;
    ensure!(status == Status::Exited(0), "{output}");
    machine.power_off()?;
    ensure!(fs::read_to_string(folder.join("note"))? == "kept\n", "the folder has another note");
    let mut machine = Machine::boot(&options)?;
    let (_, output, _) = shell(&mut machine, "cat /var/lib/tee/note")?;
    machine.power_off()?;
    ensure!(output == "kept\n", "in the second boot: {output:?}");
    let mut machine = Machine::boot(&bench.options())?;
    let (_, output, _) = shell(&mut machine, "ls /var/lib/tee")?;
    machine.power_off()?;
    ensure!(!output.contains("note"), "storage that was not asked for: {output:?}");
    Ok(())
}

fn hanging_command(bench: &Bench) -> Result<()> {
    let mut options = bench.options();
    options.limit = Duration::from_secs(2);
    let mut machine = Machine::boot(&options)?;
    let started = Instant::now();
    match shell(&mut machine, "echo begun; sleep 600") {
        Err(Error::TimedOut { limit, .. }) => ensure!(limit == options.limit, "{limit:?}"),
        other => bail!("instead of a time limit: {other:?}"),
    }
    ensure!(started.elapsed() < END_LIMIT, "it took {:?}", started.elapsed());
    Ok(())
}

fn ending_command(bench: &Bench) -> Result<()> {
    for script in ["poweroff -f; sleep 60", "echo c >/proc/sysrq-trigger; sleep 60"] {
        let mut machine = Machine::boot(&bench.options())?;
        match shell(&mut machine, script) {
            Err(Error::Stopped { words, .. }) => ensure!(words.contains("linux.log"), "{words}"),
            other => bail!("after `{script}`: {other:?}"),
        }
    }
    Ok(())
}

fn power_cut(bench: &Bench) -> Result<()> {
    let mut machine = Machine::boot(&bench.options())?;
    let switch = machine.power_switch();
    let cutter = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        switch.cut();
    });
    let ended = shell(&mut machine, "sleep 600");
    cutter.join().map_err(|_| anyhow::anyhow!("the cutter died"))?;
    match ended {
        Err(Error::PowerCut) => Ok(()),
        other => bail!("instead of a power cut: {other:?}"),
    }
}

/// A flash image that looks right from outside and has nothing in it.
fn wrong_flash(bench: &Bench) -> Result<()> {
    let flash = bench.folder.path().join("flash.bin");
    let mut file = fs::File::create(&flash)?;
    file.write_all(&vec![0; 0x4_0000])?;
    file.write_all(&0xaa64_0001_u32.to_le_bytes())?;
    drop(file);
    let mut options = bench.options();
    options.image.flash = flash.clone();
    options.boot_limit = Duration::from_secs(3);
    match Machine::boot(&options) {
        Err(error @ Error::BootTimedOut { .. }) => {
            ensure!(error.hint().is_some_and(|hint| hint.contains("flash")), "{error}");
        }
        other => bail!("an empty flash image: {other:?}"),
    }
    fs::write(&flash, "text")?;
    match Machine::boot(&options) {
        Err(Error::Image(error)) => {
            ensure!(error.to_string().contains("is no flash image"), "{error}");
        }
        other => bail!("a text file as flash image: {other:?}"),
    }
    Ok(())
}

fn missing_kernel(bench: &Bench) -> Result<()> {
    let mut options = bench.options();
    options.image.kernel = bench.folder.path().join("no-kernel");
    match Machine::boot(&options) {
        Err(Error::Image(error)) => ensure!(error.to_string().contains("no-kernel"), "{error}"),
        other => bail!("without a kernel: {other:?}"),
    }
    let mut options = bench.options();
    options.qemu = bench.folder.path().join("no-qemu");
    match Machine::boot(&options) {
        Err(Error::NoQemu(path)) => ensure!(path == options.qemu, "{}", path.display()),
        other => bail!("without QEMU: {other:?}"),
    }
    Ok(())
}

/// The harness is killed the hard way, in the middle of a command: QEMU ends too.
fn killed_harness(bench: &Bench) -> Result<()> {
    let logs = bench.folder.path().join("killed");
    let own = std::env::current_exe().context("find this program")?;
    let mut child = Process::new(own)
        .args(["optee", "run", "--no-install", "--logs"])
        .arg(&logs)
        .args(["--", "sleep", "600"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let ready = wait_for(BOOT_LIMIT, || {
        fs::read_to_string(logs.join("linux.log")).is_ok_and(|log| log.contains("agent: ready"))
    });
    let alive = machine_with(&logs)?;
    kill(&mut child)?;
    ensure!(ready, "the machine did not come up");
    ensure!(alive, "its QEMU was not found among the processes");
    let ended = wait_for(END_LIMIT, || matches!(machine_with(&logs), Ok(false)));
    ensure!(ended, "QEMU goes on without the harness");
    Ok(())
}

fn kill(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(|_| ())
}

fn wait_for(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
    true
}

/// True when a QEMU runs that writes its logs there.
fn machine_with(logs: &Path) -> Result<bool> {
    let logs = logs.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc")?.flatten();
    let mut arguments = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    Ok(arguments.any(|line| {
        let line = String::from_utf8_lossy(&line);
        line.contains(&logs) && line.contains("-bios")
    }))
}
