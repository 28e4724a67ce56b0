// SPDX-License-Identifier: MIT
//! How programs that never end do end: by a request to cancel, by the client's death, or not at all.
//!
//! A program that spins with hints or with system calls is cancelled, and the client is told. One
//! that does neither cannot be: nothing interrupts a trusted application but OP-TEE, which then goes
//! on with it. Its client does not die either, not even of `SIGKILL`, until the machine is switched off;
//! but sessions with other instances work beside it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
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
    process,
    workspace::Workspace,
};

const MEMORY: &str = "16M";
/// Loaded into the client, it cancels what takes long.
const CANCELLER: &str = "root/cancel.so";
/// Starts a client, kills it, looks what is left of it after some seconds.
const KILLED: &str = r#"
"$@" & client=$!
sleep 5
kill -9 $client
sleep 3
state=gone
{ read -r _ _ state _ </proc/$client/stat; } 2>/dev/null
echo "$state"
"#;

/// Runs all three spinners, and a session after each.
pub(crate) fn spinners(workspace: &Workspace, made: &Made) -> Result<()> {
    let packer = Packer::make(workspace, made)?;
    let mut packed = Vec::new();
    for (program, how) in
        [("spin", "hints"), ("spin", "calls"), ("spin", "neither"), ("fault", "none")]
    {
        let case = Case::of(how, &[program, how], MEMORY);
        packed.push(packer.pack(&case)?);
    }
    let canceller = canceller(workspace, made, packer.work.path())?;
    let mut machine = Parts::default().options(workspace, made, LIMIT)?;
    machine.files.push((CANCELLER.into(), canceller));
    install(&mut machine, &packer, &packed);
    let [hints, calls, neither, next] = packed.as_slice() else { bail!("not all were packed") };
    let mut machine = boot(&machine).map_err(explained)?;
    for spinner in [hints, calls] {
        cancelled(&mut machine, spinner)?;
        works(&mut machine, next)?;
    }
    killed(&mut machine, calls, "gone")?;
    works(&mut machine, next)?;
    // A thread of it is in the TEE for ever: its first thread has ended, and cannot be reaped.
    killed(&mut machine, neither, "Z")?;
    works(&mut machine, next)?;
    // It does not power off in an orderly way with a call that never returns.
    drop(machine);
    Ok(())
}

fn canceller(workspace: &Workspace, made: &Made, work: &Path) -> Result<PathBuf> {
    let library = work.join("cancel.so");
    let mut command = std::process::Command::new("aarch64-linux-gnu-gcc");
    command.args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-pthread"]);
    command.arg("-I").arg(made.client().join("include")).arg("-o").arg(&library);
    process::run_quietly(command.arg(workspace.root.join("xtest/enclave/client/cancel.c")))?;
    Ok(library)
}

fn run(machine: &mut Machine, command: &Command) -> Result<(u8, String)> {
    let ran = machine.capture(command, Input::Bytes(b"")).map_err(explained)?;
    let said = [ran.output, ran.errors].concat();
    Ok((ran.status.code(), String::from_utf8_lossy(&said).into_owned()))
}

fn cancelled(machine: &mut Machine, spinner: &Packed) -> Result<()> {
    let command =
        Command::new(client(spinner, IMAGE)).variable("LD_PRELOAD", &format!("/{CANCELLER}"));
    let (status, said) = run(machine, &command)?;
    if status == 0 || !said.contains("cancelled") {
        bail!("a spinner that was cancelled ended with status {status}: {said}");
    }
    Ok(())
}

/// Kills a client; in which state the process is then.
fn killed(machine: &mut Machine, spinner: &Packed, expected: &str) -> Result<()> {
    let mut words = vec!["sh".to_owned(), "-c".to_owned(), KILLED.to_owned(), "sh".to_owned()];
    words.extend(client(spinner, IMAGE));
    let (_, said) = run(machine, &Command::new(words))?;
    if said.trim() != expected {
        bail!("a client that was killed is in state {said:?}, not {expected}");
    }
    Ok(())
}

fn works(machine: &mut Machine, next: &Packed) -> Result<()> {
    let (status, said) = run(machine, &Command::new(client(next, IMAGE)))?;
    if status != 0 || said != "before\n" {
        bail!("the next session ended with status {status}: {said}");
    }
    Ok(())
}
