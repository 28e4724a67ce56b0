// SPDX-License-Identifier: MIT
//! `strongroom run --tee optee-qemu`, from this computer: streams, files, sockets, signals, faults.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::Tally;
use crate::{
    optee::{Built, Made, programs_root},
    process::{self, Finished},
    workspace::Workspace,
};

const LIMIT: Duration = Duration::from_secs(180);

/// Everything a check needs.
struct Bench {
    built: Built,
    root: std::path::PathBuf,
    /// Temporary files of what is started lie there, and should not be left there.
    folder: tempfile::TempDir,
}

type Check = fn(&Bench) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("streams-status-and-a-directory", streams),
    ("a-socket-from-outside", socket),
    ("a-fault-is-explained", fault),
    ("an-interrupt-while-it-boots", early_interrupt),
    ("an-interrupt-is-the-programs", interrupt),
];

/// Runs all checks.
pub(super) fn run_all(workspace: &Workspace, made: &Made, tally: &Tally) {
    let bench = (|| -> Result<Bench> {
        let (built, root) = (Built::make(workspace, made)?, programs_root(workspace)?);
        Ok(Bench { built, root, folder: tempfile::tempdir()? })
    })();
    match bench {
        Ok(bench) => {
            for (name, check) in CHECKS {
                tally.check(&format!("optee-run/{name}"), || check(&bench));
            }
        }
        Err(error) => tally.check("optee-run/prepare", || Err(error)),
    }
}

impl Bench {
    /// `strongroom run` with these options and that program.
    fn run(&self, options: &[&str], program: &[&str]) -> Command {
        let mut command = Command::new(&self.built.launcher);
        command.args(["run", "--tee", "optee-qemu", "--memory", "16M", "--squash-owner"]);
        command.arg("--machine").arg(&self.built.machine).arg("--root").arg(&self.root);
        command.args(options).arg("--").args(program).env("TMPDIR", self.folder.path());
        command
    }

    fn finish(&self, options: &[&str], program: &[&str], input: &[u8]) -> Result<Finished> {
        process::capture(&mut self.run(options, program), input, LIMIT)
    }

    fn is_clean(&self) -> Result<()> {
        let left: Vec<_> = fs::read_dir(self.folder.path())?.flatten().collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }
}

fn streams(bench: &Bench) -> Result<()> {
    let shared = tempfile::tempdir()?;
    fs::write(shared.path().join("in"), "from the host\n")?;
    let grant = format!("dir:{}=/data:rw", shared.path().display());
    let script =
        "read a; read b </data/in; echo \"$a, $b\" >/data/out; echo \"$a\"; echo e >&2; exit 9";
    let ran = bench.finish(&["-v", "--grant", &grant], &["bash", "-c", script], b"typed\n")?;
    let errors = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status == 9 && ran.stdout == b"typed\n", "status {}: {errors}", ran.status);
    for words in ["\ne\n", "platform simulated (OP-TEE ", "insecure: signed with OP-TEE's"] {
        ensure!(errors.contains(words), "{words:?} is not in: {errors}");
    }
    let written = fs::read_to_string(shared.path().join("out"))?;
    ensure!(written == "typed, from the host\n", "it wrote {written:?}");
    bench.is_clean()
}

/// A server in the enclave, its client here.
fn socket(bench: &Bench) -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let grant = format!("listen:{port}=7000");
    let mut command = bench.run(&["--grant", &grant], &["tcp", "serve", "7000"]);
    let server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut server = Killed(server);
    let started = Instant::now();
    // The host listens before the program does: who comes early is heard later, or turned away.
    let answer = loop {
        if let Ok(answer) = ask(port) {
            break answer;
        }
        ensure!(started.elapsed() < LIMIT, "nobody answers");
        thread::sleep(Duration::from_millis(100));
    };
    ensure!(answer == "OVER A SOCKET\n", "the answer is {answer:?}");
    let status = server.0.wait()?;
    ensure!(status.success(), "the server ended with {status}");
    bench.is_clean()
}

fn ask(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"over a socket\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() {
        bail!("nothing was said");
    }
    Ok(answer)
}

fn fault(bench: &Bench) -> Result<()> {
    let ran = bench.finish(&[], &["fault", "write"], b"")?;
    let errors = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status == 125, "status {}: {errors}", ran.status);
    for words in ["the trusted application has died", "data-abort at address 0x8", "hint: --logs"] {
        ensure!(errors.contains(words), "{words:?} is not in: {errors}");
    }
    bench.is_clean()
}

/// A child that does not outlive its check.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It has ended where everything is as it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Killed {
    fn interrupt(&mut self) -> Result<i32> {
        let pid = self.0.id().to_string();
        process::run_quietly(Command::new("sh").args(["-c", &format!("kill -INT {pid}")]))?;
        self.0.wait()?.code().context("a signal ended it")
    }
}

fn early_interrupt(bench: &Bench) -> Result<()> {
    let mut command = bench.run(&[], &["bash", "-c", "echo never"]);
    let mut child = Killed(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let started = Instant::now();
    // QEMU's files are there: it boots, which takes seconds.
    while fs::read_dir(bench.folder.path())?.count() < 2 {
        ensure!(started.elapsed() < LIMIT, "nothing is started");
        thread::sleep(Duration::from_millis(20));
    }
    let status = child.interrupt()?;
    ensure!(status == 130, "status {status}");
    bench.is_clean()
}

fn interrupt(bench: &Bench) -> Result<()> {
    let script = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do read -t 1 x; done";
    let mut command = bench.run(&[], &["bash", "-c", script]);
    // Its input is ours, which stays open and silent.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Killed(command.spawn()?);
    let mut output = child.0.stdout.take().context("a pipe is missing")?;
    let mut ready = [0; 6];
    output.read_exact(&mut ready)?;
    ensure!(&ready == b"ready\n", "it said {ready:?}");
    let status = child.interrupt()?;
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    ensure!(status == 3 && rest == "interrupted\n", "status {status}, {rest:?}");
    bench.is_clean()
}
