// SPDX-License-Identifier: MIT
//! Clients on this computer, which name a machine by its URL and start it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{LIMIT, PROBING, STREAMED, Signed};
use crate::{
    build::program,
    optee::{Built, Made},
    process::{self, Running},
    workspace::Workspace,
};

const SIGNER: &str = "strongroom-signer-client";
/// Lines of each client, when all of it holds.
const SIGNER_SAYS: usize = 5;
const PROBE_SAYS: usize = 7;
/// How long a machine may outlive its client.
const LINGER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Calls the signer, and interrupts a client of it; with a probe, calls that too. What clients say.
pub(super) fn call(
    workspace: &Workspace,
    made: &Made,
    signer: &Signed,
    probe: Option<&Signed>,
) -> Result<String> {
    let desk = Desk {
        machine: Built::make(workspace, made)?.machine,
        temporary: tempfile::tempdir()?,
        storage: tempfile::tempdir()?,
    };
    let client = program(workspace, SIGNER)?;
    let mut said = desk.says(&mut desk.client(&client, signer), SIGNER_SAYS)?;
    ensure!(fs::read_dir(desk.storage.path())?.next().is_some(), "nothing is kept");
    interrupted(&mut desk.client(&client, signer), desk.temporary.path())?;
    if let Some(probe) = probe {
        let client = program(workspace, PROBING)?;
        said += &desk.says(desk.client(&client, probe).arg(STREAMED), PROBE_SAYS)?;
    }
    Ok(said)
}

/// What clients find here.
struct Desk {
    machine: PathBuf,
    /// Temporary files of what is started lie there, and should not be left there.
    temporary: tempfile::TempDir,
    storage: tempfile::TempDir,
}

impl Desk {
    fn client(&self, program: &Path, service: &Signed) -> Command {
        let mut client = Command::new(program);
        let (ta, storage) = (service.file.display(), self.storage.path().display());
        client.arg(format!("optee-qemu:{}?ta={ta}&storage={storage}", service.uuid));
        client.env("STRONGROOM_OPTEE_MACHINE", &self.machine);
        client.env("TMPDIR", self.temporary.path());
        client
    }

    /// A client that says `ok` so often, and leaves nothing behind.
    fn says(&self, client: &mut Command, oks: usize) -> Result<String> {
        let called = process::capture(client, b"", LIMIT)?;
        let said = String::from_utf8_lossy(&called.stdout);
        let errors = String::from_utf8_lossy(&called.stderr);
        let found = said.lines().filter(|line| line.starts_with("ok ")).count();
        ensure!(called.status == 0 && found == oks, "status {}: {said}{errors}", called.status);
        let left: Vec<_> = fs::read_dir(self.temporary.path())?.flatten().collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
        ensure!(!runs(self.temporary.path())?, "the machine still runs");
        Ok(format!("from this computer, {:.1} s:\n{said}", called.took.as_secs_f64()))
    }
}

/// Ctrl-C ends the client, which knows nothing of signals, and the machine with it.
fn interrupted(client: &mut Command, temporary: &Path) -> Result<()> {
    let client = Running::start(client.stdout(Stdio::null()).stderr(Stdio::null()))?;
    wait_until(LIMIT, || runs(temporary)).context("the machine starts")?;
    let kill = format!("kill -INT {}", client.child.id());
    process::run_quietly(Command::new("sh").args(["-c", &kill]))?;
    wait_until(LINGER, || Ok(!runs(temporary)?)).context("the machine ends with its client")?;
    // The files of a machine that boots are left: see docs/sdk.md.
    for left in fs::read_dir(temporary)?.flatten() {
        fs::remove_dir_all(left.path())?;
    }
    Ok(())
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
