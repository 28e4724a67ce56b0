// SPDX-License-Identifier: MIT
//! Whether a secret that an owner sends over a session is anywhere in the memory of the launcher that
//! carries it, or of its QEMU.
//!
//! The guest's memory is left out: in the simulation it is memory of the host, and the secret has to be
//! there. A word that the launcher was started with shows that the search finds what is there.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{LIMIT, Owner};
use crate::process::{self, Running};

/// The program: has read its secret when it says so, and then waits for the end of its input.
const PROGRAM: &str = "import sys\n\
                       open('/run/secrets/greeting', 'rb').read()\n\
                       print('ready', flush=True)\nsys.stdin.read()";
/// What the launcher has in its memory in any case.
const PLANTED: &str = "planted-where-the-search-has-to-find-it";
/// The name of the guest's memory among the mappings of a process.
const GUEST_MEMORY: &str = "/memfd:guest-memory";
/// Bytes that are read at once; pieces overlap by what is searched.
const PIECE: usize = 1 << 20;
const POLL: Duration = Duration::from_millis(20);

/// Runs, attaches, and searches.
pub(super) fn search(owner: &Owner<'_>, secret: &[u8]) -> Result<()> {
    let digest = owner.pack("search", &owner.root, PROGRAM)?;
    owner.write_policies(&digest)?;
    let socket = owner.desk.path("attach.sock");
    let address = format!("unix:{}", socket.display());
    let mut command = owner.desk.run("search");
    command.args(["--attach", &address]).env("PLANTED", PLANTED);
    let mut launcher = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    wait_for(&socket)?;
    let mut attach = owner.desk.strongroom(&["attach", &address]);
    attach.arg("--policy").arg(owner.desk.path("session.toml"));
    owner.brings(&mut attach);
    process::run_quietly(&mut attach)?;
    let output = launcher.child.stdout.take().context("the launcher has an output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(line == "ready\n", "the program did not get so far: {line:?}");
    let family = family(launcher.child.id())?;
    ensure!(family.len() > 1, "a launcher without QEMU");
    let mut planted = 0;
    for process in family {
        ensure!(!found(process, secret)?, "the secret is in the memory of process {process}");
        planted += usize::from(found(process, PLANTED.as_bytes())?);
    }
    ensure!(planted > 0, "the search does not find what is there");
    drop(launcher.child.stdin.take());
    let status = launcher.child.wait()?;
    ensure!(status.success(), "the launcher ended with {status}");
    Ok(())
}

fn wait_for(path: &Path) -> Result<()> {
    let until = Instant::now() + LIMIT;
    while !path.exists() {
        if Instant::now() > until {
            bail!("{} does not come", path.display());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// A process and all below it.
fn family(first: u32) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![first];
    while let Some(process) = waiting.pop() {
        found.insert(process);
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let children = fs::read_to_string(thread?.path().join("children"))?;
            let children = children.split_whitespace().map(str::parse);
            waiting.extend(children.collect::<Result<Vec<u32>, _>>()?);
        }
    }
    Ok(found)
}

/// Whether the bytes are in the memory of a process.
fn found(process: u32, wanted: &[u8]) -> Result<bool> {
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mut buffer = vec![0; PIECE + wanted.len()];
    for range in maps.lines().filter_map(mapping) {
        let mut at = range.start;
        while at < range.end {
            let length = buffer.len().min(usize::try_from(range.end - at)?);
            let piece = buffer.get_mut(..length).unwrap_or_default();
            // Pages of devices cannot be read.
            if memory.read_exact_at(piece, at).is_ok()
                && piece.windows(wanted.len()).any(|window| window == wanted)
            {
                return Ok(true);
            }
            at += u64::try_from(PIECE)?;
        }
    }
    Ok(false)
}

/// The addresses of a line of `/proc/PID/maps` that is to be searched.
fn mapping(line: &str) -> Option<Range<u64>> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let readable = fields.next()?.starts_with('r');
    if !readable || line.contains(GUEST_MEMORY) {
        return None;
    }
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_searched_but_for_the_guests() {
        let heap = "55d0-55e0 rw-p 00000000 00:00 0                          [heap]";
        assert_eq!(mapping(heap), Some(0x55d0..0x55e0));
        assert_eq!(mapping("55d0-55e0 ---p 00000000 00:00 0"), None);
        let guest = "7f00-7f10 rw-s 00000000 00:01 1025   /memfd:guest-memory (deleted)";
        assert_eq!(mapping(guest), None);
    }

    #[test]
    fn what_this_process_holds_is_found() {
        let word = format!("held by {}", std::process::id());
        assert!(found(std::process::id(), word.as_bytes()).unwrap());
    }
}
