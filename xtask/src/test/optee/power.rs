// SPDX-License-Identifier: MIT
//! Cuts the power while a TA writes to trusted storage; what is there after the next boot has to be
//! one of the states in between, whole, and none that is older than what was reported as written.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use strongroom_optee_qemu::{Command, Error, Image, Input, Machine, Options, PowerSwitch, Size};

use crate::{
    optee::{Made, OWN_PROGRAM, agent, own_program},
    workspace::Workspace,
};

/// A terminal makes the writer's lines come one by one.
const TERMINAL: Size = Size { rows: 24, columns: 80 };

/// When the power is cut: so long after the first of so many writes. Odd times meet other moments
/// of a write.
const CUTS: &[(u32, Duration)] = &[
    (1, Duration::from_millis(3)),
    (4, Duration::from_millis(17)),
    (9, Duration::from_millis(29)),
];

/// Reads the numbers that the writer prints and cuts the power after some of them.
struct Cutter {
    switch: PowerSwitch,
    text: String,
    writes: u32,
    after: Duration,
    last: Option<u32>,
    seen: u32,
    cut_at: Option<Instant>,
}

impl io::Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.push_str(&String::from_utf8_lossy(bytes));
        while let Some((line, rest)) = self.text.split_once('\n') {
            if let Some(number) = numbered(line, "written ") {
                self.last = Some(number);
                self.seen += 1;
            }
            self.text = rest.to_owned();
        }
        if self.seen >= self.writes && self.cut_at.is_none() {
            self.cut_at = Some(Instant::now());
            std::thread::sleep(self.after);
            self.switch.cut();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn numbered(line: &str, words: &str) -> Option<u32> {
    line.trim().strip_prefix(words)?.parse().ok()
}

/// Several cuts on the same storage.
pub(super) fn cuts(workspace: &Workspace, made: &Made) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = Image::in_directory(&made.folder, agent(workspace)?);
    let mut options = Options::new(image, folder.path().join("logs"));
    options.files.push(own_program(workspace, made)?);
    options.storage = Some(folder.path().join("storage"));
    for (writes, after) in CUTS {
        let last = write_until_cut(&options, *writes, *after)?;
        let found = read_back(&options)?;
        println!("     cut after {writes} writes: {last} was reported, {found} is there");
        // One more may have been written without its line coming through.
        ensure!(found >= last, "{last} was reported as written, {found} is there");
    }
    ensure!(Path::new(&folder.path().join("storage")).read_dir()?.next().is_some(), "no storage");
    Ok(())
}

fn write_until_cut(options: &Options, writes: u32, after: Duration) -> Result<u32> {
    let mut machine = Machine::boot(options)?;
    let mut cutter = Cutter {
        switch: machine.power_switch(),
        text: String::new(),
        writes,
        after,
        last: None,
        seen: 0,
        cut_at: None,
    };
    let command = Command::new([OWN_PROGRAM, "strongroom_9001"]).on_terminal(TERMINAL);
    match machine.run(&command, Input::Empty, &mut cutter, &mut io::sink()) {
        Err(Error::PowerCut) => cutter.last.context("the power was cut before the first write"),
        Ok(status) => bail!("the writer ended with {status:?}: {}", cutter.text),
        Err(error) => Err(error.into()),
    }
}

fn read_back(options: &Options) -> Result<u32> {
    let mut machine = Machine::boot(options)?;
    let mut output = Vec::new();
    let command = Command::new([OWN_PROGRAM, "strongroom_9002"]);
    let status = machine.run(&command, Input::Empty, &mut output, &mut io::sink())?;
    machine.power_off()?;
    let text = String::from_utf8_lossy(&output);
    ensure!(status.code() == 0, "{text}");
    text.lines().find_map(|line| numbered(line, "found ")).context("the reader says no number")
}
