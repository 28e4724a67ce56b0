// SPDX-License-Identifier: MIT
//! Child processes: captured with a time limit, in a group of their own, killed with us.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    num::NonZeroUsize,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

/// Leaders of the process groups that are running now.
static GROUPS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// How often a captured child is looked at.
const POLL: Duration = Duration::from_millis(10);

/// How long output may stay open after the child itself has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// What a captured process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// The exit status, or 128 plus the signal that ended it.
    pub(crate) status: i32,
    /// Everything it wrote to standard output.
    pub(crate) stdout: Vec<u8>,
    /// Everything it wrote to standard error.
    pub(crate) stderr: Vec<u8>,
    /// True when the time limit ended it.
    pub(crate) timed_out: bool,
    /// Wall-clock time it took.
    pub(crate) took: Duration,
}

fn groups() -> MutexGuard<'static, BTreeSet<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes Ctrl-C and SIGTERM kill the children and end this process with status 130.
pub(crate) fn kill_children_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        for group in groups().iter() {
            kill_group(*group);
        }
        crate::optee::restore_terminal();
        std::process::exit(130);
    })
    .context("install the Ctrl-C handler")
}

/// A child that runs beside us, in a group of its own, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    /// It.
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("start {}", shown(command)))?;
        groups().insert(child.id());
        Ok(Self { child })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let leader = self.child.id();
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_group(leader);
            // A killed child ends; there is nobody to tell if not.
            let _ = self.child.wait();
        }
        groups().remove(&leader);
    }
}

/// The shell's own `kill`: no `unsafe`, and `procps` need not be installed.
fn kill_group(leader: u32) {
    let script = format!("kill -KILL -{leader} 2>/dev/null");
    let killed = Command::new("sh").args(["-c", &script]).status();
    if let Err(error) = killed {
        eprintln!("cannot kill process group {leader}: {error}");
    }
}

/// How many processors builds may use.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Runs with inherited input and output; an error unless the status is 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    if status.success() {
        return Ok(());
    }
    bail!("`{}` failed with status {}", shown(command), status_number(status))
}

/// Runs quietly; shows the last lines of the output only in the error.
pub(crate) fn run_quietly(command: &mut Command) -> Result<Vec<u8>> {
    let finished = capture(command, &[], Duration::from_secs(3600))?;
    if finished.status == 0 {
        return Ok(finished.stdout);
    }
    let mut output = finished.stdout;
    output.extend_from_slice(&finished.stderr);
    let text = String::from_utf8_lossy(&output);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n");
    bail!("`{}` failed with status {}:\n{tail}", shown(command), finished.status)
}

/// Runs in a process group of its own, feeds `stdin`, collects output, ends it at `limit`.
pub(crate) fn capture(command: &mut Command, stdin: &[u8], limit: Duration) -> Result<Finished> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {}", shown(command)))?;
    let leader = child.id();
    groups().insert(leader);
    let feeder = feed(&mut child, stdin.to_vec())?;
    let stdout = collect(child.stdout.take())?;
    let stderr = collect(child.stderr.take())?;
    let (status, timed_out) = wait_until(&mut child, started + limit)?;
    let drained = Instant::now() + DRAIN;
    while !(stdout.is_finished() && stderr.is_finished()) && Instant::now() < drained {
        thread::sleep(POLL);
    }
    if !(stdout.is_finished() && stderr.is_finished()) {
        kill_group(leader);
    }
    groups().remove(&leader);
    let stdout = stdout.join().map_err(|_| anyhow!("reader of standard output died"))?;
    let stderr = stderr.join().map_err(|_| anyhow!("reader of standard error died"))?;
    feeder.join().map_err(|_| anyhow!("writer of standard input died"))?;
    let took = started.elapsed();
    Ok(Finished { status: status_number(status), stdout, stderr, timed_out, took })
}

fn wait_until(child: &mut Child, deadline: Instant) -> Result<(ExitStatus, bool)> {
    loop {
        if let Some(status) = child.try_wait().context("wait for child")? {
            return Ok((status, false));
        }
        if Instant::now() >= deadline {
            kill_group(child.id());
            return Ok((child.wait().context("wait for child")?, true));
        }
        thread::sleep(POLL);
    }
}

fn feed(child: &mut Child, bytes: Vec<u8>) -> Result<JoinHandle<()>> {
    let mut pipe = child.stdin.take().context("child has standard input")?;
    Ok(thread::spawn(move || {
        // A child that does not read its input closes the pipe: that is its right.
        let _ = pipe.write_all(&bytes);
    }))
}

fn collect<R: Read + Send + 'static>(pipe: Option<R>) -> Result<JoinHandle<Vec<u8>>> {
    let mut pipe = pipe.context("child has output")?;
    Ok(thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the output as end of file does.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    }))
}

/// A shell's view of an exit status: 128+N for signal N.
fn status_number(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A command as one could type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// One word, quoted for a POSIX shell when it has to be.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn captures_both_outputs_and_the_status() {
        let finished =
            capture(&mut sh("cat; echo err >&2; exit 3"), b"in", Duration::from_secs(10)).unwrap();
        assert_eq!(finished.status, 3);
        assert_eq!(finished.stdout, b"in");
        assert_eq!(finished.stderr, b"err\n");
        assert!(!finished.timed_out);
    }

    #[test]
    fn a_signal_reads_as_128_plus_n() {
        let finished = capture(&mut sh("kill -TERM $$"), b"", Duration::from_secs(10)).unwrap();
        assert_eq!(finished.status, 143);
    }

    #[test]
    fn the_time_limit_ends_the_whole_group() {
        let finished =
            capture(&mut sh("sleep 60 & sleep 60"), b"", Duration::from_millis(200)).unwrap();
        assert!(finished.timed_out);
        assert!(finished.took < Duration::from_secs(20));
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_does_not_hang_us() {
        let finished = capture(&mut sh("sleep 60 & echo x"), b"", Duration::from_secs(30)).unwrap();
        assert_eq!((finished.status, finished.stdout.as_slice()), (0, &b"x\n"[..]));
        assert!(finished.took < Duration::from_secs(20));
    }

    #[test]
    fn words_are_quoted_when_needed() {
        assert_eq!(quoted("a/b=c"), "a/b=c");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
