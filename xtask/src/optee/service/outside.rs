// SPDX-License-Identifier: MIT
//! Clients on this computer, which name a machine by its URL and start it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{EXAMPLES, LIMIT};
use crate::{
    optee::{Built, Made},
    process::{self, Running},
    toolchain::cargo,
    workspace::Workspace,
};

/// As [`super::CLIENTS`] has it, for this computer's kind of machine.
const CLIENT: &str = "strongroom-signer-client";
/// What it says when all of it holds.
const SAID: usize = 5;
/// How long a machine may outlive its client.
const LINGER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// The client of the signer calls what was signed; what it says.
pub(super) fn signer(workspace: &Workspace, made: &Made, signed: &Path) -> Result<String> {
    let mut build = cargo(workspace);
    process::run_quietly(build.args(["build", "--profile", "tool", "--package", CLIENT]))?;
    let machine = Built::make(workspace, made)?.machine;
    // Temporary files of what is started lie there, and should not be left there.
    let temporary = tempfile::tempdir()?;
    let storage = tempfile::tempdir()?;
    let [example, other, ..] = EXAMPLES else { anyhow::bail!("there are no examples") };
    let client = |uuid: &str| {
        let mut client = Command::new(workspace.target.join("tool").join(CLIENT));
        let (ta, storage) = (signed.display(), storage.path().display());
        client.arg(format!("optee-qemu:{uuid}?ta={ta}&storage={storage}"));
        client.env("STRONGROOM_OPTEE_MACHINE", &machine).env("TMPDIR", temporary.path());
        client
    };
    let called = process::capture(&mut client(example.uuid), b"", LIMIT)?;
    let said = String::from_utf8_lossy(&called.stdout).into_owned();
    let errors = String::from_utf8_lossy(&called.stderr);
    let oks = said.lines().filter(|line| line.starts_with("ok ")).count();
    ensure!(called.status == 0 && oks == SAID, "status {}: {said}{errors}", called.status);
    ensure!(fs::read_dir(storage.path())?.next().is_some(), "nothing is kept");
    left_behind(temporary.path())?;
    interrupted(&mut client(example.uuid), temporary.path())?;
    let absent = process::capture(&mut client(other.uuid), b"", LIMIT)?;
    let errors = String::from_utf8_lossy(&absent.stderr);
    ensure!(absent.status == 1 && errors.contains("the TEE answers 0xffff000f"), "{errors}");
    Ok(format!("from this computer, {:.1} s:\n{said}", called.took.as_secs_f64()))
}

/// Nothing of a machine is left.
fn left_behind(temporary: &Path) -> Result<()> {
    let left: Vec<_> = fs::read_dir(temporary)?.flatten().collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    ensure!(!runs(temporary)?, "the machine still runs");
    Ok(())
}

/// Ctrl-C ends the client, which knows nothing of signals, and the machine with it.
fn interrupted(client: &mut Command, temporary: &Path) -> Result<()> {
    let client = Running::start(client.stdout(Stdio::null()).stderr(Stdio::null()))?;
    wait_until(LIMIT, || runs(temporary)).context("the machine starts")?;
    let kill = format!("kill -INT {}", client.child.id());
    process::run_quietly(Command::new("sh").args(["-c", &kill]))?;
    wait_until(LINGER, || Ok(!runs(temporary)?)).context("the machine ends with its client")
}

fn wait_until(limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < limit, "not within {} s", limit.as_secs());
        thread::sleep(POLL);
    }
    Ok(())
}

/// Whether there is a QEMU with files in this folder.
fn runs(temporary: &Path) -> Result<bool> {
    let folder = temporary.display().to_string();
    for process in fs::read_dir("/proc")?.flatten() {
        // Most are no processes, and one may end meanwhile.
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if command.starts_with("qemu-system-aarch64") && command.contains(&folder) {
            return Ok(true);
        }
    }
    Ok(false)
}
